"""Who holds and who waits for the locks of NFSv3; pure, with the clock passed in.

The ranges themselves are the file's, shared with NFSv4: both versions' locks exclude one another. A waiter whose range becomes free
gets it at once, before it is told, so that nobody comes between; if its host then says that it no longer wants it, it is taken back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from labemu_nfs.limits import MAX_LOCKS_OF_HOST, MAX_WAITING_LOCKS
from labemu_nfs.nfs4.state.ranges import Range, RangeLocks
from labemu_nfs.nlm.types import TO_EOF, LockArguments, Locker, Stat

FileId = tuple[int, bytes]
"""A file: its export's fsid, and its key in the store."""


class LockedFiles(Protocol):
    """Where the ranges are."""

    def ranges(self, file: FileId) -> RangeLocks:
        """The locks of a file, to be looked at and changed."""

    def settle(self, file: FileId) -> None:
        """Something may have been given back: forget the file if nothing is left of it."""

    def give_way(self, held: Range, now: float) -> bool:
        """A range of another protocol is in the way: whether its holder is gone, and the range with it."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A lock that is waited for."""

    file: FileId
    lock: LockArguments
    exclusive: bool
    cookie: bytes


@dataclass(slots=True)
class _Host:
    files: dict[FileId, set[Locker]] = field(default_factory=dict)

    @property
    def lockers(self) -> int:
        return sum(map(len, self.files.values()))


class LockManager:
    """The locks of all hosts.

    Args:
        files: where the ranges are.
        granted: is told of each waiter that has got its lock.
        grace_until: seconds on the clock; until then locks are only reclaimed.
        foreign_grace: whether another protocol's clients are still reclaiming, so that nothing new may be given.
    """

    def __init__(
        self,
        files: LockedFiles,
        granted: Callable[[Waiting], None],
        *,
        grace_until: float = 0.0,
        foreign_grace: Callable[[float], bool] = lambda _: False,
    ) -> None:
        self._files = files
        self._granted = granted
        self.grace_until = grace_until
        self._foreign_grace = foreign_grace
        self._hosts: dict[str, _Host] = {}
        self._waiting: dict[FileId, deque[Waiting]] = {}
        self._waiters = 0

    @property
    def holders(self) -> set[str]:
        """The addresses of the hosts that hold any lock."""
        return set(self._hosts)

    def in_grace(self, now: float) -> bool:
        """Whether nothing new may be given."""
        return now < self.grace_until or self._foreign_grace(now)

    def test(self, file: FileId, lock: LockArguments, *, exclusive: bool, now: float) -> Range | None:
        """Who forbids a lock, or None."""
        while (held := self._conflict(file, lock, exclusive=exclusive)) is not None:
            if not self._files.give_way(held, now):
                break
        self._files.settle(file)
        return held

    def _conflict(self, file: FileId, lock: LockArguments, *, exclusive: bool) -> Range | None:
        return self._files.ranges(file).conflict(lock.locker, lock.start, lock.end, write=exclusive)

    def lock(
        self,
        file: FileId,
        lock: LockArguments,
        *,
        exclusive: bool,
        block: bool,
        reclaim: bool,
        cookie: bytes,
        now: float,
    ) -> Stat:
        """Take a lock, or wait for it where `block` says so."""
        if (now >= self.grace_until) if reclaim else self.in_grace(now):
            return Stat.DENIED_GRACE_PERIOD
        if lock.end > TO_EOF:
            return Stat.FBIG
        host = self._hosts.get(lock.locker.address)
        if host is not None and host.lockers >= MAX_LOCKS_OF_HOST:
            return Stat.DENIED_NOLOCKS
        if self.test(file, lock, exclusive=exclusive, now=now) is None:
            self._forget_waiting(file, lock)
            self._take(file, lock, exclusive=exclusive)
            return Stat.GRANTED
        if not block:
            return Stat.DENIED
        return self._wait(Waiting(file, lock, exclusive, cookie))

    def _wait(self, waiting: Waiting) -> Stat:
        queue = self._waiting.setdefault(waiting.file, deque())
        for index, other in enumerate(queue):
            if other.lock == waiting.lock:  # asked again, with another cookie
                queue[index] = waiting
                return Stat.BLOCKED
        if self._waiters >= MAX_WAITING_LOCKS:
            return Stat.DENIED_NOLOCKS
        self._waiters += 1
        queue.append(waiting)
        return Stat.BLOCKED

    def _take(self, file: FileId, lock: LockArguments, *, exclusive: bool) -> None:
        self._files.ranges(file).lock(lock.locker, lock.start, lock.end, write=exclusive)
        host = self._hosts.setdefault(lock.locker.address, _Host())
        host.files.setdefault(file, set()).add(lock.locker)

    def cancel(self, file: FileId, lock: LockArguments) -> Stat:
        """Wait no more (RFC 1813 appendix II, NLMPROC4_CANCEL)."""
        return Stat.GRANTED if self._forget_waiting(file, lock) else Stat.DENIED

    def _forget_waiting(self, file: FileId, lock: LockArguments) -> bool:
        queue = self._waiting.get(file)
        if queue is None:
            return False
        kept = deque(each for each in queue if each.lock != lock)
        gone = len(queue) - len(kept)
        self._waiters -= gone
        if kept:
            self._waiting[file] = kept
        else:
            del self._waiting[file]
        return gone > 0

    def unlock(self, file: FileId, lock: LockArguments) -> None:
        """Give bytes back, held or not."""
        ranges = self._files.ranges(file)
        ranges.unlock(lock.locker, lock.start, min(lock.end, TO_EOF))
        if not ranges.held_by(lock.locker):
            self._drop(file, lock.locker)
        self.released(file)

    def _drop(self, file: FileId, locker: Locker) -> None:
        host = self._hosts.get(locker.address)
        lockers = host.files.get(file) if host is not None else None
        if host is None or lockers is None:
            return
        lockers.discard(locker)
        if not lockers:
            del host.files[file]
        if not host.files:
            del self._hosts[locker.address]

    def released(self, file: FileId) -> None:
        """Something of a file was given back, by whatever protocol: who waits may have it now, the eldest first."""
        for waiting in tuple(self._waiting.get(file, ())):
            if self._conflict(file, waiting.lock, exclusive=waiting.exclusive) is None:
                self._forget_waiting(file, waiting.lock)
                self._take(file, waiting.lock, exclusive=waiting.exclusive)
                self._granted(waiting)
        self._files.settle(file)

    def refused(self, waiting: Waiting) -> None:
        """Whoever was granted a lock does not want it any more, or is gone."""
        self.unlock(waiting.file, waiting.lock)

    def free(self, address: str) -> None:
        """A host was restarted: nothing of what it held or waited for is left (C702 11.4)."""
        for file in [file for file, queue in self._waiting.items() if any(_is_from(each, address) for each in queue)]:
            for each in [each for each in self._waiting[file] if _is_from(each, address)]:
                self._forget_waiting(file, each.lock)
        host = self._hosts.pop(address, None)
        if host is None:
            return
        for file, lockers in host.files.items():
            for locker in lockers:
                self._files.ranges(file).unlock(locker)
        for file in host.files:
            self.released(file)


def _is_from(waiting: Waiting, address: str) -> bool:
    return waiting.lock.locker.address == address
