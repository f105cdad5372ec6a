"""Sessions: CREATE_SESSION, SEQUENCE, BIND_CONN_TO_SESSION, DESTROY_SESSION (RFC 8881 2.10, 18.34 to 18.37, 18.46)."""

from __future__ import annotations

from dataclasses import dataclass

from labemu_nfs.limits import (
    MAX_CACHED_REPLY,
    MAX_OPERATIONS,
    MAX_RECORD,
    MAX_SESSION_CONNECTIONS,
    MAX_SESSIONS,
    MAX_SLOTS,
)
from labemu_nfs.nfs4.state.clients41 import Clients41
from labemu_nfs.nfs4.state.core import Core
from labemu_nfs.nfs4.state.grace import Grace, name_of
from labemu_nfs.nfs4.state.model import CallbackPath, Client, Principal, Session
from labemu_nfs.nfs4.state.slots import Slot
from labemu_nfs.nfs4.status import Nfs4Error, Status
from labemu_nfs.rpc.link import Link

PERSIST, CONN_BACK_CHAN, CONN_RDMA = 1, 2, 4
"""CREATE_SESSION4_FLAG_*."""

CB_PATH_DOWN = 0x1
RECALLABLE_STATE_REVOKED = 0x40
RESTART_RECLAIM_NEEDED = 0x100
"""SEQ4_STATUS_* (RFC 8881 18.46.3)."""

FORE, BACK, FORE_OR_BOTH, BACK_OR_BOTH = 1, 2, 3, 7
"""CDFC4_*; as an answer 3 says both."""

_MIN_SIZE = 128
"""Bytes below which no COMPOUND with SEQUENCE can be answered: TOOSMALL."""

_REPLAY = b"create"
"""Requests of the one slot that CREATE_SESSION has are told apart by their number alone."""


@dataclass(frozen=True, slots=True)
class Channel:
    """channel_attrs4 (RFC 8881 18.36.1): sizes in bytes."""

    max_request: int
    max_reply: int
    max_cached: int
    max_operations: int
    max_requests: int

    def require_useful(self) -> None:
        """Raise Nfs4Error TOOSMALL for a backchannel through which no CB_SEQUENCE with another operation can go (RFC 8881 18.36.3)."""
        if min(self.max_request, self.max_reply) < _MIN_SIZE or self.max_operations < 2 or not self.max_requests:
            raise Nfs4Error(Status.TOOSMALL)

    def granted(self) -> Channel:
        """What the server gives of it. Raises Nfs4Error TOOSMALL."""
        if min(self.max_request, self.max_reply) < _MIN_SIZE or not self.max_operations or not self.max_requests:
            raise Nfs4Error(Status.TOOSMALL)
        return Channel(
            min(self.max_request, MAX_RECORD),
            min(self.max_reply, MAX_RECORD),
            min(self.max_cached, MAX_CACHED_REPLY),
            min(self.max_operations, MAX_OPERATIONS),
            min(self.max_requests, MAX_SLOTS),
        )


class Sessions:
    """The sessions."""

    def __init__(self, core: Core, clients: Clients41, grace: Grace) -> None:
        self._core = core
        self._clients = clients
        self._grace = grace

    def create(
        self, number: int, seqid: int, flags: int, channels: tuple[Channel, Channel], principal: Principal, now: float
    ) -> tuple[Session, Channel] | bytes:
        """CREATE_SESSION; `channels` are the fore and the back one that are asked for.

        Returns:
            the new session and what was granted, upon which `created` must follow; or the answer where it is sent again.

        Raises:
            Nfs4Error: STALE_CLIENTID, SEQ_MISORDERED, INVAL, TOOSMALL, CLID_INUSE, NOSPC for too many sessions.
        """
        client = self._clients.get(number, now)
        if seqid == client.creation.seqid:
            again = client.creation.begin(seqid, _REPLAY)
            if again is not None:
                return again
        if seqid != client.creation.seqid + 1 & 0xFFFF_FFFF:
            raise Nfs4Error(Status.SEQ_MISORDERED)
        if flags & ~(PERSIST | CONN_BACK_CHAN | CONN_RDMA):
            raise Nfs4Error(Status.INVAL)
        fore, back = channels
        granted = fore.granted()
        back.require_useful()
        if len(client.sessions) >= MAX_SESSIONS:
            raise Nfs4Error(Status.NOSPC)
        self._clients.confirm(client, principal, now)
        client.creation.begin(seqid, _REPLAY)
        session = Session(
            self._core.session_number(client),
            client,
            slots=granted.max_requests,
            max_request=granted.max_request,
            max_reply=granted.max_reply,
            max_cached=granted.max_cached,
            max_operations=granted.max_operations,
        )
        client.sessions[session.number] = self._core.sessions[session.number] = session
        return session, granted

    def created(self, session: Session, answer: bytes) -> None:
        """CREATE_SESSION was answered thus."""
        session.client.creation.end(answer)

    def get(self, number: bytes) -> Session:
        """The session of a sessionid. Raises Nfs4Error BADSESSION."""
        session = self._core.sessions.get(number)
        if session is None:
            raise Nfs4Error(Status.BADSESSION)
        return session

    def slot(self, session: Session, slot: int, highest: int) -> Slot:
        """The slot of a SEQUENCE. Raises Nfs4Error BADSLOT, BAD_HIGH_SLOT (RFC 8881 18.46.3)."""
        if slot >= len(session.slots):
            raise Nfs4Error(Status.BADSLOT)
        if highest < slot:
            raise Nfs4Error(Status.BAD_HIGH_SLOT)
        return session.slots[slot]

    def renew(self, session: Session, connection: Link | None, now: float) -> None:
        """A SEQUENCE has come over a connection: it renews the lease and is bound to the session (RFC 8881 2.10.3.1)."""
        session.client.renewed = now
        self.bind(session, connection)

    def bind(self, session: Session, connection: Link | None) -> None:
        """Requests of the session may come over the connection; None is for one that cannot be told from others."""
        bound = session.connections
        if connection is None or connection in bound:
            return
        if len(bound) >= MAX_SESSION_CONNECTIONS:
            session.connections = bound = {each for each in bound if each.open}
        if len(bound) < MAX_SESSION_CONNECTIONS:
            bound.add(connection)

    def flags(self, client: Client, now: float) -> int:
        """sr_status_flags."""
        flags = RECALLABLE_STATE_REVOKED if client.revoked else 0
        if not client.reclaimed and self._grace.active(now) and self._grace.expects(name_of(client)):
            flags |= RESTART_RECLAIM_NEEDED
        path = client.callback
        if client.delegated and (path is None or not path.up):
            flags |= CB_PATH_DOWN
        return flags

    def bind_back(self, session: Session, path: CallbackPath) -> None:
        """A connection carries calls to the client now; whatever session it is of, the client's callbacks may take it."""
        session.callback = path
        session.client.callback = path

    def destroy(self, session: Session) -> None:
        """DESTROY_SESSION."""
        self._core.drop_session(session)
        client = session.client
        if client.callback is session.callback:
            paths = (each.callback for each in client.sessions.values() if each.callback is not None)
            client.callback = next(paths, None)
