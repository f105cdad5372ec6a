"""Byte-range locks: LOCK, LOCKT, LOCKU, RELEASE_LOCKOWNER, FREE_STATEID (RFC 7530 16.10 to 16.12, 16.37; RFC 8881 18.38)."""

from __future__ import annotations

from labemu_nfs.limits import MAX_OWNERS, MAX_STATES
from labemu_nfs.nfs4.state.core import Core, full
from labemu_nfs.nfs4.state.model import Client, FileId, Lock, LockOwner, Open
from labemu_nfs.nfs4.state.ranges import Range, span
from labemu_nfs.nfs4.state.shares import READ, WRITE
from labemu_nfs.nfs4.state.stateids import Stateid
from labemu_nfs.nfs4.status import Nfs4Error, Status

READ_LT, WRITE_LT, READW_LT, WRITEW_LT = 1, 2, 3, 4
"""nfs_lock_type4; those that would wait are as those that would not: the client asks again (RFC 7530 9.4)."""


class DeniedError(Nfs4Error):
    """DENIED: `held` is in the way, of the lock-owner `name` of the client `number`; 0 and nothing for a holder of another protocol."""

    def __init__(self, held: Range) -> None:
        super().__init__(Status.DENIED)
        self.held = held
        owner = held.owner if isinstance(held.owner, LockOwner) else None
        self.number = owner.client.number if owner is not None else 0
        self.name = owner.name if owner is not None else b""


class Locks:
    """Takes and gives back bytes."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._ranges = 0

    def owner(self, client: Client, name: bytes) -> LockOwner:
        """The lock-owner of a name, known or new. Raises Nfs4Error RESOURCE, DELAY where there are too many.

        One that has no lock state is new whatever it has tried before: a client forgets an owner whose first LOCK failed, and may give
        its name, with a sequence from 0 on, to the next (RFC 7530 9.1.5; Linux does).
        """
        owner = client.lock_owners.get(name)
        if owner is not None and not owner.locks:
            del client.lock_owners[name]
            owner = None
        if owner is None:
            if len(client.lock_owners) >= MAX_OWNERS:
                idle = next((each for each in client.lock_owners.values() if not each.locks), None)
                if idle is None:
                    raise full(client.minor)
                del client.lock_owners[idle.name]
            owner = client.lock_owners[name] = LockOwner(client, name)
        return owner

    def owner_of(self, stateid: Stateid) -> LockOwner:
        """Whose a lock of 4.0 is, whatever its seqid. Raises Nfs4Error BAD_STATEID, STALE_STATEID, EXPIRED."""
        return self.find(Stateid(self._seqid(stateid), stateid.other), 0, client=None, file=None).owner

    def _seqid(self, stateid: Stateid) -> int:
        state = self._core.states.get(stateid.other)
        return state.seqid if state is not None else stateid.seqid

    def find(self, stateid: Stateid, minor: int, *, client: Client | None, file: FileId | None) -> Lock:
        """The lock state of a stateid. Raises Nfs4Error as Core.find; BAD_STATEID for another kind of state."""
        state = self._core.find(stateid, minor, client=client, file=file)
        if not isinstance(state, Lock):
            raise Nfs4Error(Status.BAD_STATEID)
        return state

    def _denied(self, file: FileId, owner: LockOwner | None, start: int, end: int, now: float, *, write: bool) -> None:
        while True:
            state = self._core.files.get(file)
            held = state.locks.conflict(owner, start, end, write=write) if state else None
            if held is None:
                return
            if not self.give_way(held, now):
                raise DeniedError(held)

    def give_way(self, held: Range, now: float) -> bool:
        """A range is in the way: whether its holder's lease is over, so that all its state was taken."""
        return isinstance(held.owner, LockOwner) and self._core.give_way((held.owner.client,), now)

    def test(self, client: Client, name: bytes, file: FileId, kind: int, offset: int, length: int, now: float) -> None:
        """LOCKT. Raises Nfs4Error INVAL, DeniedError."""
        start, end = span(offset, length)
        self._denied(file, client.lock_owners.get(name), start, end, now, write=_is_write(kind))

    def lock(self, opened: Open, owner: LockOwner, kind: int, offset: int, length: int, now: float) -> Lock:
        """LOCK, of an owner on a file that is open.

        Raises:
            Nfs4Error: INVAL, OPENMODE, RESOURCE or DELAY where there are too many; DeniedError.
        """
        start, end = span(offset, length)
        write = _is_write(kind)
        if not opened.access & (WRITE if write else READ):  # RFC 7530 16.10.5
            raise Nfs4Error(Status.OPENMODE)
        self._require_room(opened.client)
        self._denied(opened.file.file, owner, start, end, now, write=write)
        lock = owner.locks.get(opened)
        if lock is None:
            lock = Lock(self._core.new_other(opened.client, now), owner, opened)
            self._core.add(lock)
        else:
            lock.bump()
        self._ranges += 1
        before = lock.file.locks.held_by(owner)
        lock.file.locks.lock(owner, start, end, write=write)
        if before and not write:  # it may have been one for writing
            self._core.freed(lock.file.file)
        return lock

    def _require_room(self, client: Client) -> None:
        """For one more range. They are counted upwards alone, and anew once there seem to be too many."""
        if self._ranges >= MAX_STATES:
            self._ranges = sum(len(file.locks) for file in self._core.files.values())
            if self._ranges >= MAX_STATES:
                raise full(client.minor)

    def unlock(self, lock: Lock, offset: int, length: int) -> Stateid:
        """LOCKU. Raises Nfs4Error INVAL; RESOURCE, DELAY where a lock would be split and there are too many."""
        start, end = span(offset, length)
        if any(held.start < start and end < held.end for held in lock.file.locks.held_by(lock.owner)):
            self._require_room(lock.client)
            self._ranges += 1
        lock.file.locks.unlock(lock.owner, start, end)
        self._core.freed(lock.file.file)
        return lock.bump()

    def release_owner(self, client: Client, name: bytes) -> None:
        """RELEASE_LOCKOWNER. Raises Nfs4Error LOCKS_HELD (RFC 7530 16.37.4)."""
        owner = client.lock_owners.get(name)
        if owner is None:
            return
        if any(lock.file.locks.held_by(owner) for lock in owner.locks.values()):
            raise Nfs4Error(Status.LOCKS_HELD)
        for lock in tuple(owner.locks.values()):
            self._core.release(lock)
        del client.lock_owners[name]

    def free(self, stateid: Stateid, client: Client) -> None:
        """FREE_STATEID. Raises Nfs4Error LOCKS_HELD while it is good for anything, BAD_STATEID, OLD_STATEID (RFC 8881 18.38.4)."""
        state = self._core.states.get(stateid.other)
        if state is not None and state.client is client and state.dead:
            client.revoked -= 1
            self._core.release(state)
            return
        state = self._core.find(stateid, 1, client=client, file=None)
        if not isinstance(state, Lock) or state.file.locks.held_by(state.owner):
            raise Nfs4Error(Status.LOCKS_HELD)
        self._core.release(state)

    def test_stateid(self, stateid: Stateid, client: Client) -> Status:
        """One of TEST_STATEID's answers (RFC 8881 18.48.3)."""
        try:
            self._core.find(stateid, 1, client=client, file=None)
        except Nfs4Error as error:
            return error.status
        return Status.OK


def _is_write(kind: int) -> bool:
    if not READ_LT <= kind <= WRITEW_LT:
        raise Nfs4Error(Status.BADXDR)
    return kind in (WRITE_LT, WRITEW_LT)
