"""The tables of everything that is remembered, and how things end: by the client, by time, by a client's restart.

Theory: a lease that has run out does not end a client (RFC 7530 9.5 allows it to; clients that send no RENEW, libnfs among them, would lose
their opens). Its state is kept until it stands in somebody's way or room is needed, and only then taken, all of it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from struct import Struct
from typing import TypeVar

from labemu_nfs.limits import LEASE_TIME, MAX_CLIENTS, MAX_GHOSTS, MAX_STATES
from labemu_nfs.nfs4.state.model import (
    Client,
    Delegation,
    FileId,
    FileState,
    Lock,
    Open,
    OpenOwner,
    Principal,
    Session,
    State,
)
from labemu_nfs.nfs4.state.stateids import Stateid, boot_of, check_seqid, make_other
from labemu_nfs.nfs4.status import Nfs4Error, Status

_VERIFIER = Struct(">II")
_SESSION = Struct(">QII")
S = TypeVar("S", bound=State)


class Core:
    """The tables.

    Args:
        boot: the number of this start of the server, other than those before (32 bits).
        lease: seconds.
        opened: called before a file is first opened by or delegated to anybody; it may raise OSError.
        closed: called when a file that was is so no longer.
        freed: called when bytes of a file that were locked may be free.
        forgotten: called when a client's state was taken or given up, so that it may not be reclaimed after a restart.
    """

    def __init__(
        self,
        boot: int,
        *,
        lease: float = LEASE_TIME,
        opened: Callable[[FileId], None] = lambda _: None,
        closed: Callable[[FileId], None] = lambda _: None,
        freed: Callable[[FileId], None] = lambda _: None,
        forgotten: Callable[[Client], None] = lambda _: None,
    ) -> None:
        self.boot = boot
        self.lease = lease
        self._opened = opened
        self._closed = closed
        self.freed = freed
        self._forgotten = forgotten
        self.clients: dict[int, Client] = {}
        self.sessions: dict[bytes, Session] = {}
        self.states: dict[bytes, State] = {}
        self.files: dict[FileId, FileState] = {}
        self.closed: dict[bytes, Open] = {}
        self._ghosts: OrderedDict[bytes, Status] = OrderedDict()
        self._count = 0

    def _next(self) -> int:
        self._count += 1
        return self._count

    # --- clients ---------------------------------------------------------------------------------------------------------------

    def new_client(self, name: bytes, verifier: bytes, principal: Principal, minor: int, now: float) -> Client:
        """An unconfirmed client. Raises Nfs4Error RESOURCE (4.0) or DELAY where there are too many with a lease."""
        if len(self.clients) >= MAX_CLIENTS:
            self._make_room(minor, now)
        client = Client(self.boot << 32 | self._next() & 0xFFFF_FFFF, name, verifier, principal, minor, now)
        self.clients[client.number] = client
        return client

    def _make_room(self, minor: int, now: float) -> None:
        eldest = min(self.clients.values(), key=lambda client: (client.confirmed, client.renewed))
        if eldest.confirmed and not self.lapsed(eldest, now):
            raise full(minor)
        self.drop_client(eldest)
        self._forgotten(eldest)

    def alive(self, client: Client) -> bool:
        """Whether it is still remembered: it may have had to make room."""
        return self.clients.get(client.number) is client

    def confirmation(self) -> bytes:
        """A verifier for SETCLIENTID_CONFIRM, as no other was or will be."""
        return _VERIFIER.pack(self.boot, self._next() & 0xFFFF_FFFF)

    def session_number(self, client: Client) -> bytes:
        """A new sessionid4."""
        return _SESSION.pack(client.number, self.boot, self._next() & 0xFFFF_FFFF)

    def lapsed(self, client: Client, now: float) -> bool:
        """Whether its lease is over."""
        return now - client.renewed > self.lease

    def has_state(self, client: Client, now: float) -> bool:
        """Whether it holds anything that its lease still protects."""
        return bool(client.states or client.sessions) and not self.lapsed(client, now)

    def drop_client(self, client: Client) -> None:
        """Forget a client with all that it has; its stateids are EXPIRED from now on."""
        self._release_all(client)
        for session in tuple(client.sessions.values()):
            self.drop_session(session)
        self.clients.pop(client.number, None)

    def expire(self, client: Client) -> None:
        """The lease is over and the state stands in the way (RFC 7530 9.6.3, RFC 8881 8.4.3)."""
        self._release_all(client)
        self._forgotten(client)
        client.expired = True
        if client.minor:
            self.drop_client(client)

    def _release_all(self, client: Client) -> None:
        for state in tuple(client.states.values()):
            if state.other in client.states:
                self.release(state, Status.EXPIRED)
        for owner in client.open_owners.values():
            self.settle(owner)
        client.open_owners.clear()
        client.lock_owners.clear()

    def give_way(self, clients: Iterable[Client], now: float) -> bool:
        """Expire those of the clients whose lease is over; whether that was all of them."""
        still = False
        for client in set(clients):
            if self.lapsed(client, now):
                self.expire(client)
            else:
                still = True
        return not still

    def drop_session(self, session: Session) -> None:
        """End a session."""
        session.client.sessions.pop(session.number, None)
        self.sessions.pop(session.number, None)

    # --- states ----------------------------------------------------------------------------------------------------------------

    def new_other(self, client: Client, now: float) -> bytes:
        """For a new state. Raises Nfs4Error RESOURCE (4.0) or DELAY where there are too many."""
        if len(self.states) >= MAX_STATES:
            for other in sorted(self.clients.values(), key=lambda each: each.renewed):
                if other is not client and other.states and self.lapsed(other, now):
                    self.expire(other)
                    break
            else:
                raise full(client.minor)
        return make_other(self.boot, self._next())

    def add(self, state: S) -> S:
        """Put a new state in the table."""
        self.states[state.other] = state
        return state

    def file_state(self, file: FileId) -> FileState:
        """What is known of a file that is about to be opened or delegated. Raises OSError where it is gone."""
        found = self.files.get(file) or FileState(file)
        if not found.kept:
            self._opened(file)
            found.kept = True
        self.files[file] = found
        return found

    def settle_file(self, file: FileState) -> None:
        """Something of a file was given back: forget what is not in use."""
        if file.kept and not file.in_use:
            file.kept = False
            self._closed(file.file)
        if file.idle and self.files.get(file.file) is file:  # a revoked delegation may be of one long replaced
            del self.files[file.file]

    def release(self, state: State, becomes: Status = Status.BAD_STATEID) -> None:
        """End a state; an open's locks with it.

        Args:
            state: it.
            becomes: what is answered to its stateid from now on.
        """
        if isinstance(state, Open):
            for lock in tuple(state.locks):
                self.release(lock, becomes)
        self._detach(state)
        state.client.states.pop(state.other, None)
        self.states.pop(state.other, None)
        if becomes is not Status.BAD_STATEID:
            self._ghosts[state.other] = becomes
            if len(self._ghosts) > MAX_GHOSTS:
                self._ghosts.popitem(last=False)

    def settle(self, owner: OpenOwner, closed: Open | None = None) -> None:
        """Remember the open that an owner of 4.0 has just closed, in place of the one before: CLOSE may be sent again (RFC 7530 9.1.10)."""
        if owner.closed is not None:
            self.closed.pop(owner.closed.other, None)
        owner.closed = closed
        if closed is not None:
            self.closed[closed.other] = closed

    def revoke(self, delegation: Delegation) -> None:
        """Take a delegation away; in 4.1 its stateid lives until FREE_STATEID (RFC 8881 10.2.1)."""
        if not delegation.client.minor:
            self.release(delegation, Status.EXPIRED)
            return
        self._detach(delegation)
        delegation.dead = Status.DELEG_REVOKED
        delegation.client.revoked += 1

    def _detach(self, state: State) -> None:
        file = state.file
        if isinstance(state, Open):
            state.owner.opens.pop(file.file, None)
            if state in file.opens:
                file.opens.remove(state)
        elif isinstance(state, Lock):
            file.locks.unlock(state.owner)
            state.owner.locks.pop(state.open, None)
            if state in state.open.locks:
                state.open.locks.remove(state)
        elif isinstance(state, Delegation) and state in file.delegations:
            file.delegations.remove(state)
            state.client.delegated -= 1
        self.settle_file(file)
        if isinstance(state, Lock):
            self.freed(file.file)

    def find(self, stateid: Stateid, minor: int, *, client: Client | None, file: FileId | None) -> State:
        """The state of a stateid.

        Args:
            stateid: not a special one.
            minor: of the COMPOUND.
            client: whose it must be, in 4.1.
            file: what it must be of, or None for any.

        Raises:
            Nfs4Error: STALE_STATEID (4.0 only), BAD_STATEID, OLD_STATEID, EXPIRED, DELEG_REVOKED (RFC 7530 9.1.4.4, RFC 8881 8.2.4).
        """
        state = self.states.get(stateid.other)
        if state is None:
            raise Nfs4Error(self._missing(stateid, minor))
        if (minor > 0) != (state.client.minor > 0) or (client is not None and state.client is not client):
            raise Nfs4Error(Status.BAD_STATEID)
        if state.dead:
            raise Nfs4Error(state.dead)
        if file is not None and state.file.file != file:
            raise Nfs4Error(Status.BAD_STATEID)
        check_seqid(stateid.seqid, state.seqid, any_allowed=minor > 0)
        return state

    def _missing(self, stateid: Stateid, minor: int) -> Status:
        if minor:
            return Status.BAD_STATEID
        ghost = self._ghosts.get(stateid.other)
        if ghost is not None:
            return ghost
        boot = boot_of(stateid.other)
        return Status.STALE_STATEID if boot != self.boot and boot else Status.BAD_STATEID


def full(minor: int) -> Nfs4Error:
    """No room: 4.1 has no RESOURCE (RFC 8881 15.1), so its client tries again."""
    return Nfs4Error(Status.DELAY if minor else Status.RESOURCE)
