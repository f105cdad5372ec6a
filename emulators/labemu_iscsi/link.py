"""A connection's state, which the rare requests share with the hot path of `connection.TargetConnection`.

What is done on them lives in modules of their own, as functions that take a `Link`: the receive path stays short, and none of
them needs to know it.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from labemu_iscsi.errors import LocalError
from labemu_iscsi.events import Event
from labemu_iscsi.framing import Framer
from labemu_iscsi.login import Login
from labemu_iscsi.node import Node
from labemu_iscsi.sender import Sender
from labemu_iscsi.session import Session
from labemu_iscsi.text import TextExchange


class Phase(Enum):
    """RFC 7143 8.1, as far as a target's engine sees it."""

    LOGIN = "login"
    FULL_FEATURE = "full feature"
    CLOSED = "closed"


class Link:
    """What one connection is made of.

    Args:
        node: the node that it belongs to.
        peer: the initiator's address, for messages.
        portal: the address that it came in at.
        wake: called when there is output, or an end, that did not come of a call to this connection.
    """

    def __init__(self, node: Node, *, peer: str, portal: str, wake: Callable[[], None]) -> None:
        self.node = node
        self.peer = peer
        self.portal = portal
        self.wake = wake
        self.phase = Phase.LOGIN
        self.error: str = ""
        self.session: Session | None = None
        self.cid = 0
        self.framer = Framer()
        self.sender = Sender()
        self.login: Login | None = Login(node)
        self.text = TextExchange(node)
        self.events: list[Event] = []

    @property
    def closed(self) -> bool:
        """Whether it ends once the output is sent."""
        return self.phase is Phase.CLOSED

    @property
    def full(self) -> Session:
        """The session.

        Raises:
            LocalError: the login is not through.
        """
        if self.session is None:
            raise LocalError("there is no session")
        return self.session

    def close(self, reason: str) -> None:
        """End it; what waits to be sent still goes out."""
        if self.phase is Phase.CLOSED:
            return
        self.phase = Phase.CLOSED
        self.error = reason
        session = self.session
        if session is not None:
            session.connections.remove(self)
            if not session.connections:
                self.node.close_session(session)

    def abort(self, reason: str) -> None:
        """End it from outside."""
        self.close(reason)
        self.wake()
