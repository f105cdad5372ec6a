"""Faults of the medium: operations that the rule strikes fail with an errno."""

from __future__ import annotations

import errno
import os

from labemu_store.block.api import BlockStore, Buffer, Operation
from labemu_store.block.filters.base import Filter, Rule
from labemu_store.errors import StoreError


class ErrorFilter(Filter):
    """Fails what the rule strikes, before it reaches the store behind.

    Args:
        next_store: the store behind.
        rule: what it strikes.
        code: EIO (a medium error), ENOSPC (out of space), EROFS (write-protected) …
    """

    def __init__(self, next_store: BlockStore, *, rule: Rule | None = None, code: int = errno.EIO) -> None:
        super().__init__(next_store)
        self.rule = rule if rule is not None else Rule()
        self.code = code

    def _check(self, operation: Operation, offset: int, length: int) -> None:
        if self.rule.strikes(operation, offset, length):
            raise StoreError(self.code, f"{os.strerror(self.code)} (ordered by a fault rule)")

    def read(self, offset: int, length: int) -> Buffer:
        """Fail, or pass on."""
        self._check(Operation.READ, offset, length)
        return self.next.read(offset, length)

    def write(self, offset: int, data: Buffer) -> None:
        """Fail, or pass on."""
        self._check(Operation.WRITE, offset, len(data))
        self.next.write(offset, data)

    def unmap(self, offset: int, length: int) -> None:
        """Fail, or pass on."""
        self._check(Operation.UNMAP, offset, length)
        self.next.unmap(offset, length)

    def write_zeroes(self, offset: int, length: int) -> None:
        """Fail, or pass on."""
        self._check(Operation.ZERO, offset, length)
        self.next.write_zeroes(offset, length)

    def flush(self) -> None:
        """Fail, or pass on."""
        self._check(Operation.FLUSH, 0, 0)
        self.next.flush()
