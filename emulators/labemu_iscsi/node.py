"""The target node (RFC 7143 4.4): its targets, its portals, its sessions, and what a login may have of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from labemu_iscsi.budget import Budget
from labemu_iscsi.errors import AuthorizationFailed, LoginRefused, OutOfResources, TargetMoved, TargetNotFound
from labemu_iscsi.limits import PING_AFTER, PING_TIMEOUT
from labemu_iscsi.management import abort_tasks
from labemu_iscsi.session import Connection, Parameters, Session, Target
from labemu_scsi.nexus import NEXUS_LOSS, POWER_ON, Nexus

if TYPE_CHECKING:
    from labemu_iscsi.auth import Credentials

_MAX_PORT = 0xFFFF
_MAX_SESSIONS = 0xFFFF - 1  # a TSIH is 16 bits and not zero

Refusal = Callable[[str, str, str, str], tuple[int, int] | None]
"""Asked of each login (see Node.admit) while faults refuse logins: the status to refuse it with, or None."""


class Node:
    """Targets and sessions of one network entity.

    `ping_after` is how many seconds an initiator may be silent until it is asked whether it is there, 0 for ever; `ping_timeout` is how
    many it then has to answer.

    Args:
        entropy: so many random bytes, for CHAP.
    """

    def __init__(self, *, entropy: Callable[[int], bytes]) -> None:
        self.entropy = entropy
        self.targets: dict[str, Target] = {}
        self.sessions: dict[int, Session] = {}
        self.portals: Sequence[str] = ()  # host:port
        self.tags: Mapping[str, int] = {}  # of portals that are not in group 1
        self.refusal: Refusal | None = None
        self.discovery_credentials: Credentials | None = None  # to see the targets; None lets everybody look
        self.ping_after = PING_AFTER
        self.ping_timeout = PING_TIMEOUT
        self._last_tsih = 0
        self._budget = Budget()

    def admit(self, initiator: str, target: str, peer: str, portal: str) -> None:
        """Whether an ordered fault lets a login through.

        Args:
            initiator: its name.
            target: the target's name, empty in discovery.
            peer: the initiator's address and port.
            portal: where it came in.

        Raises:
            LoginRefused: with the status that was ordered.
        """
        status = None if self.refusal is None else self.refusal(initiator, target, peer, portal)
        if status is not None:
            raise LoginRefused(status)

    def tag_at(self, portal: str) -> int:
        """The tag of the portal group that an address belongs to, also where a portal listens at every address."""
        if not self.tags:
            return 1
        host, _, port = portal.rpartition(":")
        everywhere = f"[::]:{port}" if host.startswith("[") else f"0.0.0.0:{port}"
        return self.tags.get(portal, self.tags.get(everywhere, 1))

    def free_ports(self, count: int) -> int:
        """The first of so many relative port identifiers in a row that no target has.

        Raises:
            OutOfResources: there are no more.
        """
        used = sorted(number for target in self.targets.values() for number in target.device.groups)
        first = 1
        for number in used:
            if number - first >= count:
                break
            first = number + 1
        if first + count > _MAX_PORT + 1:
            raise OutOfResources("no relative port identifier is free")
        return first

    def find(self, name: str, initiator: str, *, peer: str = "", tag: int = 1) -> Target:
        """The target that an initiator asked for, from an address and at a portal group.

        Raises:
            TargetNotFound: there is none of that name.
            AuthorizationFailed: it may not use it.
            TargetMoved: it is to ask elsewhere.
        """
        target = self.targets.get(name)
        if target is None or tag not in target.groups:
            raise TargetNotFound(f"no target {name}")
        if not target.admits(initiator, peer):
            raise AuthorizationFailed(f"{initiator} may not use {name} from {peer}")
        if target.redirect:
            raise TargetMoved(target.redirect)
        return target

    def visible(self, initiator: str, *, peer: str = "", tag: int = 1) -> list[Target]:
        """What discovery shows to an initiator at a portal group."""
        return [each for each in self.targets.values() if tag in each.groups and each.admits(initiator, peer)]

    def open_session(
        self,
        connection: Connection,
        *,
        initiator: str,
        isid: bytes,
        target: Target | None,
        parameters: Parameters,
        cmd_sn: int,
    ) -> Session:
        """A new session; one with the same initiator, ISID and target is reinstated: closed first (RFC 7143 6.3.5).

        Raises:
            OutOfResources: all handles are taken.
        """
        code = POWER_ON
        tag = self.tag_at(connection.portal)
        nexus = None
        if target is not None:
            group = target.groups[tag]
            port = group.ports[0]
            for old in self._same(initiator, isid, target, tag):
                code = NEXUS_LOSS
                self.drop(old, "session reinstated")
            nexus = Nexus(
                f"{initiator},i,0x{isid.hex()}",
                port.name,
                target_name=target.name,
                relative_port=port.relative,
                group=group,
                address=connection.peer.rpartition(":")[0].strip("[]"),
            )
            target.device.attach(nexus, code)
            target.device.abort = partial(abort_tasks, target)
        session = Session(
            initiator=initiator,
            isid=isid,
            tsih=self._new_tsih(),
            target=target,
            nexus=nexus,
            parameters=parameters,
            exp_cmd_sn=cmd_sn,
            budget=self._budget,
        )
        session.tag = tag
        session.connections.append(connection)
        self.sessions[session.tsih] = session
        if target is not None:
            target.sessions.add(session)
        return session

    def _same(self, initiator: str, isid: bytes, target: Target, tag: int) -> list[Session]:
        return [each for each in target.sessions if (each.initiator, each.isid, each.tag) == (initiator, isid, tag)]

    def _new_tsih(self) -> int:
        if len(self.sessions) >= _MAX_SESSIONS:
            raise OutOfResources("no session handle is free")
        while True:
            self._last_tsih = self._last_tsih % _MAX_SESSIONS + 1
            if self._last_tsih not in self.sessions:
                return self._last_tsih

    def drop(self, session: Session, reason: str) -> None:
        """End a session and its connections at once."""
        for connection in list(session.connections):
            connection.abort(reason)
        self.close_session(session)

    def close_session(self, session: Session) -> None:
        """Forget a session; its nexus is lost."""
        if self.sessions.get(session.tsih) is not session:
            return
        del self.sessions[session.tsih]
        self._budget.forget(session)
        for task in list(session.tasks.values()):
            session.abort(task)
        if session.target is not None and session.nexus is not None:
            session.target.sessions.discard(session)
            session.target.device.detach(session.nexus)
