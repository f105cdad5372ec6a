"""Counting: how many operations and bytes of each kind went by, and how many failed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from labemu_store.block.api import BlockStore, Buffer, Operation
from labemu_store.block.filters.base import Filter

_Result = TypeVar("_Result")


@dataclass(kw_only=True, slots=True)
class Counter:
    """One kind's totals since the filter was made."""

    operations: int = 0
    bytes: int = 0
    errors: int = 0


class StatsFilter(Filter):
    """Counts what passes through it.

    Args:
        next_store: the store behind.
    """

    def __init__(self, next_store: BlockStore) -> None:
        super().__init__(next_store)
        self._counters = {operation: Counter() for operation in Operation}

    def counters(self) -> dict[Operation, Counter]:
        """A copy of the totals."""
        return {operation: replace(counter) for operation, counter in self._counters.items()}

    def _count(self, operation: Operation, length: int, call: Callable[[], _Result]) -> _Result:
        counter = self._counters[operation]
        counter.operations += 1
        try:
            result = call()
        except OSError:
            counter.errors += 1
            raise
        counter.bytes += length
        return result

    def read(self, offset: int, length: int) -> Buffer:
        """Count, and pass on."""
        return self._count(Operation.READ, length, lambda: self.next.read(offset, length))

    def write(self, offset: int, data: Buffer) -> None:
        """Count, and pass on."""
        self._count(Operation.WRITE, len(data), lambda: self.next.write(offset, data))

    def unmap(self, offset: int, length: int) -> None:
        """Count, and pass on."""
        self._count(Operation.UNMAP, length, lambda: self.next.unmap(offset, length))

    def write_zeroes(self, offset: int, length: int) -> None:
        """Count, and pass on."""
        self._count(Operation.ZERO, length, lambda: self.next.write_zeroes(offset, length))

    def flush(self) -> None:
        """Count, and pass on."""
        self._count(Operation.FLUSH, 0, self.next.flush)
