"""Several connections in one session (RFC 7143 4.4.3.1, 6.3.1): who may join, who takes whose place, and what a lost one leaves behind.

A command's data, status and data-in travel on the connection that the command came on (4.2.5.1, connection allegiance), and status is
numbered for each connection; only CmdSN is the session's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from labemu_iscsi.errors import CannotInclude, ProtocolError, SessionDoesNotExist, TooManyConnections

if TYPE_CHECKING:
    from labemu_iscsi.node import Node
    from labemu_iscsi.session import Connection, Session, Target


def check(node: Node, tsih: int, isid: bytes, initiator: str, target: Target | None, cid: int) -> Session:
    """The session that a login with this TSIH joins (RFC 7143 6.3.1, the table of ISID, TSIH and CID).

    Raises:
        SessionDoesNotExist: there is none of that ISID and TSIH from this initiator.
        CannotInclude: it is of another target.
        TooManyConnections: it is full.
    """
    session = node.sessions.get(tsih)
    if session is None or (session.isid, session.initiator) != (isid, initiator):
        raise SessionDoesNotExist(f"no session {tsih:#06x} takes another connection")
    if session.target is not target:
        raise CannotInclude(f"session {tsih:#06x} is of another target")
    others = [each for each in session.connections if each.cid != cid]
    if len(others) >= session.parameters.max_connections:
        raise TooManyConnections(f"session {tsih:#06x} has {len(others)} connections already")
    return session


def join(session: Session, connection: Connection) -> None:
    """Take a connection into a session; one of the same CID is reinstated: the old one is closed first (RFC 7143 6.3.4)."""
    connections = session.connections
    connections.append(connection)  # first, so that the session outlives its only connection
    for old in [each for each in connections if each.cid == connection.cid and each is not connection]:
        old.abort("connection reinstated")


def check_allegiance(session: Session, connection: Connection, itt: int) -> None:
    """Data-out comes on its command's connection (RFC 7143 4.2.5.1).

    Raises:
        ProtocolError: it does not.
    """
    task = session.tasks.get(itt)
    if task is not None and task.carrier is not connection:
        raise ProtocolError("data for a command of another connection")


def leave(session: Session, connection: Connection) -> bool:
    """A connection is gone, and its tasks are terminated (RFC 7143 7.5); whether others are left."""
    session.connections.remove(connection)
    if not session.connections:
        return False
    for task in [task for task in session.tasks.values() if task.carrier is connection]:
        session.abort(task)
    for cmd_sn in [cmd_sn for cmd_sn, (holder, _) in session.held.items() if holder is connection]:
        del session.held[cmd_sn]  # the initiator sends it again elsewhere, or plugs the gap (RFC 7143 7.2.1)
    return True
