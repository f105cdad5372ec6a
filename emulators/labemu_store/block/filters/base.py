"""What every filter starts from: it passes all calls on to `next`.

A filter overrides what it changes. Which operations a fault strikes is a `Rule`, the same for every filter.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from labemu_store.block.api import BlockStore, Buffer, Capabilities, Extent, Operation
from labemu_store.block.vectored import behind, takes_runs

ALL_OPERATIONS = frozenset(Operation)


@dataclass(kw_only=True)
class Rule:
    """Which operations a fault strikes.

    Args:
        operations: of these kinds.
        start: from this byte on.
        end: up to, not including, this byte; None is the end of the store. A flush has no range and ignores both.
        probability: of each match, 0.0 to 1.0.
        count: strike this often and never again; None is always.
        random: the source of chance; seed it to repeat a run.
    """

    operations: frozenset[Operation] = ALL_OPERATIONS
    start: int = 0
    end: int | None = None
    probability: float = 1.0
    count: int | None = None
    random: random.Random = field(default_factory=random.Random)

    def strikes(self, operation: Operation, offset: int, length: int) -> bool:
        """Whether it strikes this operation; a strike counts."""
        if operation not in self.operations or self.count == 0:
            return False
        if operation is not Operation.FLUSH:
            beyond = self.end is not None and offset >= self.end
            if beyond or offset + length <= self.start:
                return False
        if self.probability < 1.0 and self.random.random() >= self.probability:
            return False
        if self.count is not None:
            self.count -= 1
        return True


class Filter:
    """A store that does what `next` does.

    Args:
        next_store: the store behind.
    """

    def __init__(self, next_store: BlockStore) -> None:
        self.next = next_store

    @property
    def size(self) -> int:
        """Bytes."""
        return self.next.size

    @property
    def capabilities(self) -> Capabilities:
        """Those of the store behind."""
        return self.next.capabilities

    def read(self, offset: int, length: int) -> Buffer:
        """Pass on."""
        return self.next.read(offset, length)

    def write(self, offset: int, data: Buffer) -> None:
        """Pass on."""
        self.next.write(offset, data)

    def unmap(self, offset: int, length: int) -> None:
        """Pass on."""
        self.next.unmap(offset, length)

    def write_zeroes(self, offset: int, length: int) -> None:
        """Pass on."""
        self.next.write_zeroes(offset, length)

    def flush(self) -> None:
        """Pass on."""
        self.next.flush()

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        """Pass on."""
        return self.next.extents(offset, length)

    def allocated(self) -> int:
        """Pass on."""
        return self.next.allocated()

    def resize(self, size: int) -> None:
        """Pass on."""
        self.next.resize(size)

    def latency(self, operation: Operation, offset: int, length: int) -> float:
        """Pass on."""
        return self.next.latency(operation, offset, length)

    def close(self) -> None:
        """Pass on."""
        self.next.close()


class Clear(Filter):
    """A filter that leaves reads and writes as they are, so that runs of buffers pass it."""

    @property
    def vectored(self) -> bool:
        """Whether the store behind takes runs."""
        return takes_runs(self.next)

    def readv(self, buffers: Sequence[memoryview], offset: int, length: int) -> None:
        """Pass on."""
        behind(self.next).readv(buffers, offset, length)

    def writev(self, buffers: Sequence[memoryview], offset: int, length: int) -> None:
        """Pass on."""
        behind(self.next).writev(buffers, offset, length)
