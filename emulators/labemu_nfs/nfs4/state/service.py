"""All of the state of a server, and the questions of api.FileStates."""

from __future__ import annotations

from collections.abc import Callable

from labemu_nfs.limits import LEASE_TIME
from labemu_nfs.nfs4.state.api import CHANGE, READ, WRITE, Asker
from labemu_nfs.nfs4.state.clients40 import Clients40
from labemu_nfs.nfs4.state.clients41 import Clients41
from labemu_nfs.nfs4.state.core import Core
from labemu_nfs.nfs4.state.delegations import Delegations
from labemu_nfs.nfs4.state.grace import Grace, NoRecords, Records
from labemu_nfs.nfs4.state.locks import Locks
from labemu_nfs.nfs4.state.model import Client, Dialer, FileId, FileState, Open
from labemu_nfs.nfs4.state.offloads import Offloads
from labemu_nfs.nfs4.state.opens import Opens
from labemu_nfs.nfs4.state.ranges import Range, RangeLocks
from labemu_nfs.nfs4.state.sessions import Sessions
from labemu_nfs.nfs4.state.stateids import ANONYMOUS, BYPASS, CURRENT, Stateid, is_special
from labemu_nfs.nfs4.status import Nfs4Error, Status


class NfsState:
    """The state.

    Args:
        boot: the number of this start of the server, other than those before (32 bits).
        now: seconds, at the start.
        records: stable storage for the clients' names.
        lease: seconds.
        grace: seconds after a restart in which only those of `records` get something: what they had; a lease if not given.
        delegations: whether any are given.
        opened: called before a file is first opened; it may raise OSError.
        closed: called when nobody has a file open any more.
        identity: what a client knows this server by across restarts and addresses (RFC 8881 2.10.4, 2.10.5), unlike any other's.
        dialer: connects to clients of 4.0; without one they get no delegations.

    Whoever shares the locks sets `freed`, to be called when bytes of a file were given back, and `foreign_grace`, which tells whether its
    own clients are still reclaiming.
    """

    def __init__(
        self,
        boot: int,
        now: float,
        records: Records | None = None,
        *,
        lease: float = LEASE_TIME,
        grace: float | None = None,
        delegations: bool = True,
        opened: Callable[[FileId], None] = lambda _: None,
        closed: Callable[[FileId], None] = lambda _: None,
        identity: bytes = b"",
        dialer: Dialer | None = None,
    ) -> None:
        self.identity = identity or b"labemu_nfs-%08x" % boot
        self.dialer = dialer
        self.grace = Grace(NoRecords() if records is None else records, now, lease if grace is None else grace)
        self.freed: Callable[[FileId], None] = lambda _: None
        self.foreign_grace: Callable[[float], bool] = lambda _: False
        self.core = Core(
            boot,
            lease=lease,
            opened=opened,
            closed=closed,
            freed=lambda file: self.freed(file),
            forgotten=self.grace.forget,
        )
        self.clients40 = Clients40(self.core, self.grace)
        self.clients41 = Clients41(self.core, self.grace)
        self.sessions = Sessions(self.core, self.clients41, self.grace)
        self.opens = Opens(self.core)
        self.locks = Locks(self.core)
        self.delegations = Delegations(self.core, enabled=delegations)
        self.offloads = Offloads(self.core)

    def check_io(self, asker: Asker, stateid: Stateid, access: int) -> None:
        """See api.FileStates."""
        client = client_of(asker)
        stateid = actual(asker, stateid)
        if is_special(stateid):
            if self.grace.active(asker.now):
                raise Nfs4Error(Status.GRACE)
            self._check_special(asker.file, stateid, access, client, asker.now)
            return
        state = self.core.find(stateid, asker.minor, client=client, file=asker.file)
        if isinstance(state, Open) and not state.owner.confirmed:
            raise Nfs4Error(Status.BAD_STATEID)
        if access & ~state.access:  # RFC 7530 9.1.6
            raise Nfs4Error(Status.OPENMODE)
        state.client.renewed = asker.now

    def may_io(self, asker: Asker, seqid: int, other: bytes, access: int) -> bool:
        """See api.FileStates."""
        core = self.core
        state = core.states.get(other)
        if state is None:
            anonymous = not seqid and other == ANONYMOUS.other
            return anonymous and asker.file not in core.files and not self.grace.active(asker.now)
        client = state.client
        if seqid != state.seqid and (seqid or not asker.minor):  # RFC 8881 8.2.2: 0 stands for whatever it is
            return False
        if state.dead or access & ~state.access or state.file.file != asker.file:
            return False
        if client.minor if asker.session is None else asker.session.client is not client:
            return False
        if isinstance(state, Open) and not state.owner.confirmed:
            return False
        client.renewed = asker.now
        return True

    def _check_special(self, file: FileId, stateid: Stateid, access: int, client: Client | None, now: float) -> None:
        if stateid == BYPASS and access == READ:  # RFC 7530 9.1.4.3
            self.delegations.require_none(file, client, access, now)
            return
        state = self.core.files.get(file)
        if state is None:
            return
        denying = [opened.client for opened in state.opens if opened.share[1] & access]
        if denying and not self.core.give_way(denying, now):
            raise Nfs4Error(Status.LOCKED)
        self.delegations.require_none(file, client, access, now)

    def check_change(self, asker: Asker, file: FileId) -> None:
        """See api.FileStates."""
        self.delegations.require_none(file, client_of(asker), WRITE, asker.now)

    def changed_elsewhere(self, asker: Asker, file: FileId) -> tuple[int, int] | None:
        """See api.FileStates."""
        return self.delegations.attributes(file, client_of(asker), asker.now)

    def is_open(self, file: FileId) -> bool:
        """See api.FileStates."""
        state = self.core.files.get(file)
        return state is not None and bool(state.opens)

    def check_foreign(self, file: FileId, access: int, now: float) -> bool:
        """See api.FileStates."""
        if file not in self.core.files:
            return True
        try:
            if access == CHANGE:
                self.delegations.require_none(file, None, WRITE, now)
            else:
                self._check_special(file, ANONYMOUS, access, None, now)
        except Nfs4Error:
            return False
        return True

    # -- nlm.manager.LockedFiles: the ranges are those of NFSv4's locks ------------------------------------------------

    def ranges(self, file: FileId) -> RangeLocks:
        """The locks of a file, to be looked at and changed."""
        state = self.core.files.get(file)
        if state is None:
            state = self.core.files[file] = FileState(file)
        return state.locks

    def settle(self, file: FileId) -> None:
        """Something may have been given back: forget the file if nothing is left of it."""
        state = self.core.files.get(file)
        if state is not None:
            self.core.settle_file(state)

    def give_way(self, held: Range, now: float) -> bool:
        """A range is in the way: whether its holder is gone, and the range with it."""
        return self.locks.give_way(held, now)

    def close(self) -> None:
        """The server stops. Raises OSError where that cannot be noted."""
        self.grace.settle(client for client in self.core.clients.values() if client.states)


def client_of(asker: Asker) -> Client | None:
    """Whose the COMPOUND is, where that is known."""
    return asker.session.client if asker.session is not None else None


def actual(asker: Asker, stateid: Stateid) -> Stateid:
    """The stateid, or the current one where that is meant (RFC 8881 16.2.3.1.2). Raises Nfs4Error BAD_STATEID where there is none."""
    if not asker.minor or stateid != CURRENT:
        return stateid
    if asker.stateid is None:
        raise Nfs4Error(Status.BAD_STATEID)
    return asker.stateid
