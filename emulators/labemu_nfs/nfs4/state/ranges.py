"""Byte-range locks of one file: who holds which bytes; split and merged as POSIX does (RFC 7530 9.2, 9.4).

Rules: ends are exclusive and reach 2^64, the end of any file. The locks of one owner never overlap and touching ones of one
type are one. A lock of the other type over an owner's own replaces it: upgrade and downgrade are atomic (RFC 7530 9.5).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Hashable, Iterator
from dataclasses import dataclass

from labemu_nfs.nfs4.status import Nfs4Error, Status

TO_EOF = 1 << 64
"""The exclusive end of a lock without one."""


def span(offset: int, length: int) -> tuple[int, int]:
    """The bytes of a request, as start and exclusive end.

    Raises:
        Nfs4Error: INVAL for no byte at all or for an end beyond 64 bits; all ones as length is the end of the file (RFC 7530 16.10.4).
    """
    if length == 0:
        raise Nfs4Error(Status.INVAL)
    if length == TO_EOF - 1:
        return offset, TO_EOF
    if offset + length > TO_EOF:
        raise Nfs4Error(Status.INVAL)
    return offset, offset + length


@dataclass(frozen=True, slots=True)
class Range:
    """Bytes that an owner holds; an owner is whatever its equals are."""

    start: int
    end: int
    write: bool
    owner: Hashable

    @property
    def length(self) -> int:
        """As on the wire: all ones up to the end of the file."""
        return TO_EOF - 1 if self.end == TO_EOF else self.end - self.start


def _start(held: Range) -> int:
    return held.start


class RangeLocks:
    """The locks of one file."""

    __slots__ = ("_by_owner",)

    def __init__(self) -> None:
        self._by_owner: dict[Hashable, list[Range]] = {}

    def __iter__(self) -> Iterator[Range]:
        for held in self._by_owner.values():
            yield from held

    def __len__(self) -> int:
        return sum(map(len, self._by_owner.values()))

    def held_by(self, owner: Hashable) -> tuple[Range, ...]:
        """The locks of an owner, in order."""
        return tuple(self._by_owner.get(owner, ()))

    def conflict(self, owner: Hashable, start: int, end: int, *, write: bool) -> Range | None:
        """The first lock of another owner that forbids this one (RFC 7530 9.1.1): they overlap and one of them is for writing."""
        found: Range | None = None
        for other, held in self._by_owner.items():
            if other == owner:
                continue
            for lock in held:
                if lock.start >= end:
                    break
                if lock.end > start and (write or lock.write) and (found is None or lock.start < found.start):
                    found = lock
        return found

    def lock(self, owner: Hashable, start: int, end: int, *, write: bool) -> None:
        """Take what `conflict` does not forbid; what the owner held there before is replaced."""
        self.unlock(owner, start, end)
        held = self._by_owner.setdefault(owner, [])
        at = bisect_left(held, start, key=_start)
        if at and held[at - 1].end == start and held[at - 1].write == write:
            at -= 1
            start = held.pop(at).start
        if at < len(held) and held[at].start == end and held[at].write == write:
            end = held.pop(at).end
        insort(held, Range(start, end, write, owner), key=_start)

    def unlock(self, owner: Hashable, start: int = 0, end: int = TO_EOF) -> None:
        """Give bytes back, held or not (RFC 7530 16.12.4); a lock that reaches beyond both ends is split."""
        held = self._by_owner.get(owner)
        if held is None:
            return
        kept: list[Range] = []
        for lock in held:
            if lock.end <= start or lock.start >= end:
                kept.append(lock)
                continue
            if lock.start < start:
                kept.append(Range(lock.start, start, lock.write, owner))
            if lock.end > end:
                kept.append(Range(end, lock.end, lock.write, owner))
        if kept:
            self._by_owner[owner] = kept
        else:
            del self._by_owner[owner]
