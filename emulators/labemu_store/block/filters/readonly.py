"""A store that cannot be changed."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import NoReturn

from labemu_store.block.api import Buffer, Capabilities
from labemu_store.block.filters.base import Clear
from labemu_store.errors import StoreError


class ReadonlyFilter(Clear):
    """Refuses every change with EROFS."""

    @property
    def capabilities(self) -> Capabilities:
        """As behind, and read-only."""
        return replace(self.next.capabilities, read_only=True)

    def _refuse(self) -> NoReturn:
        raise StoreError(errno.EROFS, os.strerror(errno.EROFS))

    def write(self, offset: int, data: Buffer) -> None:
        """Refuse."""
        self._refuse()

    def writev(self, buffers: Sequence[memoryview], offset: int, length: int) -> None:
        """Refuse."""
        self._refuse()

    def unmap(self, offset: int, length: int) -> None:
        """Refuse."""
        self._refuse()

    def write_zeroes(self, offset: int, length: int) -> None:
        """Refuse."""
        self._refuse()

    def resize(self, size: int) -> None:
        """Refuse."""
        self._refuse()
