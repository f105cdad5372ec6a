"""A file seen through a buffer that moves along it: blocks are found in place, and only a cut one is copied.

While one piece of a file of this machine is worked on, a thread reads the next.
"""

from __future__ import annotations

import io
import os
import stat
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from labctl.trace.files.opening import read_into
from labctl.trace.limits import CHUNK_BYTES, READ_AHEAD

_ROOM: Final = 1 << 20
"""Bytes before a piece that was read ahead, for the end of the one before it; most packets are far smaller."""


class Window:
    """Reads a file in big pieces, from its start to its end.

    Args:
        file: is read, and never sought.
        first: what was read of it before.
    """

    def __init__(self, file: BinaryIO, first: bytes = b"") -> None:
        self._file = file
        self.data = bytearray(first)
        self.begin = 0
        """Where in `data` the bytes are that `advance` has kept."""
        self.end = len(first)
        """Where the file's bytes end in `data`."""
        self.base = 0
        """Where in the file `data` begins; below zero where it begins with room."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="trace-file") if _is_plain(file) else None
        self._spare = bytearray()
        self._next: Future[int] | None = None

    @property
    def array(self) -> NDArray[np.uint8]:
        """`data` for numpy."""
        return np.frombuffer(self.data, dtype=np.uint8)

    @property
    def offset(self) -> int:
        """Where in the file `begin` is."""
        return self.base + self.begin

    def advance(self, used: int, wanted: int = 0) -> bool:
        """Let go of the first bytes and read on.

        Args:
            used: how far they go in `data`.
            wanted: how many should be there afterwards, if that is more than usual.

        Returns:
            Whether there is anything new.

        Raises:
            CaptureError: the file cannot be read.
        """
        rest = bytes(memoryview(self.data)[used : self.end])
        offset = self.base + used
        read = 0
        if self._next is not None:
            read, self._next = self._next.result(), None
            if len(rest) <= _ROOM and (len(rest) + read >= wanted or not read):
                self._spare[_ROOM - len(rest) : _ROOM] = rest
                self._take(self._spare, _ROOM - len(rest), _ROOM + read, offset)
                return read > 0
            rest += memoryview(self._spare)[_ROOM : _ROOM + read]
        size = max(CHUNK_BYTES, wanted, len(rest))
        data = bytearray(size + READ_AHEAD)
        data[: len(rest)] = rest
        with memoryview(data) as view:
            count = read_into(self._file, view[len(rest) : size])
        self._take(data, 0, len(rest) + count, offset)
        return read + count > 0

    def _take(self, data: bytearray, begin: int, end: int, offset: int) -> None:
        """Look at other bytes, and let the thread read those behind them."""
        data[end : end + READ_AHEAD] = bytes(READ_AHEAD)
        size = _ROOM + CHUNK_BYTES + READ_AHEAD
        spare = self.data if len(self.data) == size and self.data is not data else bytearray(size)
        self.data, self.begin, self.end, self.base = data, begin, end, offset - begin
        if self._thread is not None:
            self._spare = spare
            self._next = self._thread.submit(self._read, spare)

    def _read(self, spare: bytearray) -> int:
        with memoryview(spare) as view:
            return read_into(self._file, view[_ROOM : _ROOM + CHUNK_BYTES])

    def close(self) -> None:
        """End the thread."""
        if self._thread is not None:
            self._thread.shutdown()


def _is_plain(file: BinaryIO) -> bool:
    """Whether this is a file of this machine, of which a read never waits for anybody."""
    return isinstance(file, io.BufferedReader) and stat.S_ISREG(os.fstat(file.fileno()).st_mode)
