"""A store whose inside can be exchanged between two operations: `Switch`."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from labemu_store.block.api import BlockStore, Buffer, Extent
from labemu_store.block.filters.base import Clear
from labemu_store.block.vectored import behind


class Switch(Clear):
    """Passes operations on to `next`, which changes only while none is under way.

    Args:
        next_store: what it begins with.
    """

    def __init__(self, next_store: BlockStore) -> None:
        super().__init__(next_store)
        self._condition = threading.Condition()
        self._inside = 0
        self._held = 0

    @contextmanager
    def held(self) -> Iterator[None]:
        """No operation is under way inside; those that come wait."""
        with self._condition:
            self._held += 1
            self._condition.wait_for(lambda: not self._inside)
        try:
            yield
        finally:
            with self._condition:
                self._held -= 1
                self._condition.notify_all()

    @contextmanager
    def _operation(self) -> Iterator[BlockStore]:
        with self._condition:
            if self._held:
                self._condition.wait_for(lambda: not self._held)
            self._inside += 1
        try:
            yield self.next
        finally:
            with self._condition:
                self._inside -= 1
                if self._held and not self._inside:
                    self._condition.notify_all()

    def read(self, offset: int, length: int) -> Buffer:
        """Pass on."""
        with self._operation() as store:
            return store.read(offset, length)

    def write(self, offset: int, data: Buffer) -> None:
        """Pass on."""
        with self._operation() as store:
            store.write(offset, data)

    def readv(self, buffers: Sequence[memoryview], offset: int, length: int) -> None:
        """Pass on."""
        with self._operation() as store:
            behind(store).readv(buffers, offset, length)

    def writev(self, buffers: Sequence[memoryview], offset: int, length: int) -> None:
        """Pass on."""
        with self._operation() as store:
            behind(store).writev(buffers, offset, length)

    def unmap(self, offset: int, length: int) -> None:
        """Pass on."""
        with self._operation() as store:
            store.unmap(offset, length)

    def write_zeroes(self, offset: int, length: int) -> None:
        """Pass on."""
        with self._operation() as store:
            store.write_zeroes(offset, length)

    def flush(self) -> None:
        """Pass on."""
        with self._operation() as store:
            store.flush()

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        """Pass on; the answer is complete before anything is exchanged."""
        with self._operation() as store:
            return iter(list(store.extents(offset, length)))

    def resize(self, size: int) -> None:
        """Pass on."""
        with self._operation() as store:
            store.resize(size)
