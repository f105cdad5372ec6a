"""Holding operations: what the rule strikes goes no further until it is resumed, or its time is over."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

from labemu_store.block.api import BlockStore, Buffer, Capabilities, Extent, Operation
from labemu_store.block.filters.base import Filter, Rule


class PauseFilter(Filter):
    """Holds what the rule strikes. A caller waits on its thread, and so the store says that it blocks.

    Args:
        next_store: the store behind.
        limit: seconds that an operation is held at most; None is until `resume`.
        rule: what it strikes.
        paused: whether it begins to hold at once.
    """

    def __init__(
        self, next_store: BlockStore, *, limit: float | None = None, rule: Rule | None = None, paused: bool = True
    ) -> None:
        super().__init__(next_store)
        self.rule = rule if rule is not None else Rule()
        self.limit = limit
        self._condition = threading.Condition()
        self._paused = paused
        self._waiting = 0

    @property
    def capabilities(self) -> Capabilities:
        """As behind, and blocking: a held operation must not hold an event loop."""
        return replace(self.next.capabilities, blocking=True)

    @property
    def waiting(self) -> int:
        """Operations that are held now."""
        return self._waiting

    def pause(self) -> None:
        """Hold what comes from now on."""
        with self._condition:
            self._paused = True

    def resume(self) -> None:
        """Let go what is held, and hold no more."""
        with self._condition:
            self._paused = False
            self._condition.notify_all()

    def _hold(self, operation: Operation, offset: int, length: int) -> None:
        with self._condition:
            if not self._paused or not self.rule.strikes(operation, offset, length):
                return
            self._waiting += 1
            try:
                self._condition.wait_for(lambda: not self._paused, self.limit)
            finally:
                self._waiting -= 1

    def read(self, offset: int, length: int) -> Buffer:
        """Hold, and pass on."""
        self._hold(Operation.READ, offset, length)
        return self.next.read(offset, length)

    def write(self, offset: int, data: Buffer) -> None:
        """Hold, and pass on."""
        self._hold(Operation.WRITE, offset, len(data))
        self.next.write(offset, data)

    def unmap(self, offset: int, length: int) -> None:
        """Hold, and pass on."""
        self._hold(Operation.UNMAP, offset, length)
        self.next.unmap(offset, length)

    def write_zeroes(self, offset: int, length: int) -> None:
        """Hold, and pass on."""
        self._hold(Operation.ZERO, offset, length)
        self.next.write_zeroes(offset, length)

    def flush(self) -> None:
        """Hold, and pass on."""
        self._hold(Operation.FLUSH, 0, 0)
        self.next.flush()

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        """As reads are."""
        self._hold(Operation.READ, offset, length)
        return self.next.extents(offset, length)

    def close(self) -> None:
        """Nothing stays held in a store that is closed."""
        self.resume()
        self.next.close()
