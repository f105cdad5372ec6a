"""A file seen through a buffer that moves along it: blocks are found in place, and only a cut one is copied to the front."""

from __future__ import annotations

from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from labctl.trace.files.opening import read_into
from labctl.trace.limits import CHUNK_BYTES, READ_AHEAD


class Window:
    """Reads a file in big pieces, from its start to its end.

    Args:
        file: is read, and never sought.
        first: what was read of it before.
    """

    def __init__(self, file: BinaryIO, first: bytes = b"") -> None:
        self._file = file
        self.data = bytearray(CHUNK_BYTES + READ_AHEAD)
        self.data[: len(first)] = first
        self.end = len(first)
        """Bytes of `data` that are the file's."""
        self.base = 0
        """Where in the file `data` begins."""

    @property
    def array(self) -> NDArray[np.uint8]:
        """`data` for numpy."""
        return np.frombuffer(self.data, dtype=np.uint8)

    def advance(self, used: int, wanted: int = 0) -> bool:
        """Let go of the first bytes and read on.

        Args:
            used: how many are let go of.
            wanted: how many should be there afterwards, if that is more than usual.

        Returns:
            Whether there is anything new.

        Raises:
            CaptureError: the file cannot be read.
        """
        rest = bytes(memoryview(self.data)[used : self.end])
        size = max(CHUNK_BYTES, wanted) + READ_AHEAD
        if len(self.data) != size:
            self.data = bytearray(size)
        self.data[: len(rest)] = rest
        self.base += used
        with memoryview(self.data) as view:
            count = read_into(self._file, view[len(rest) : size - READ_AHEAD])
        self.end = len(rest) + count
        self.data[self.end : self.end + READ_AHEAD] = bytes(READ_AHEAD)
        return count > 0
