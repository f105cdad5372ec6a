"""Record marking (RFC 5531 11): messages out of a byte stream, without copying those that came in one fragment.

Theory: the owner of the socket receives straight into `space()` and tells how much with `received()`; `next()` then yields a view of each
whole record in that same buffer. Views are valid until the next `space()`. A record of several fragments is closed up in place.
The buffer grows only when a fragment's header announces a larger record, and never beyond a record of MAX_RECORD.
"""

from __future__ import annotations

from struct import Struct

from labemu_nfs.errors import ProtocolError
from labemu_nfs.limits import MAX_FRAGMENTS, MAX_RECORD, RECEIVE_BUFFER

_MARK = Struct(">I")
LAST = 0x8000_0000


class RecordReader:
    """Finds records in a stream."""

    __slots__ = ("_body", "_buffer", "_end", "_fragments", "_start", "_view")

    def __init__(self) -> None:
        self._buffer = bytearray(RECEIVE_BUFFER)
        self._view = memoryview(self._buffer)
        self._start = 0  # of what is not yet handed out
        self._end = 0  # of what has come
        self._body = 0  # bytes at _start that earlier fragments of the record have left there, without their marks
        self._fragments = 0

    def __len__(self) -> int:
        """Bytes that have come and belong to no record handed out yet."""
        return self._end - self._start

    def space(self) -> memoryview:
        """Where to receive next; never empty once `next` has returned None."""
        if self._start == self._end:
            self._start = self._end = 0
        elif self._end + self._wanted() > len(self._buffer) or len(self._buffer) - self._end < RECEIVE_BUFFER // 2:
            self._make_room()
        return self._view[self._end :]

    def received(self, size: int) -> None:
        """`size` bytes were put at the beginning of `space()`."""
        self._end += size

    def _wanted(self) -> int:
        """Bytes that are missing to the end of the fragment under way, as far as its mark is known."""
        at = self._start + self._body
        if self._end - at < _MARK.size:
            return _MARK.size
        mark: int = _MARK.unpack_from(self._buffer, at)[0]
        size = mark & ~LAST
        return max(0, at + _MARK.size + min(size, MAX_RECORD) - self._end)

    def _make_room(self) -> None:
        kept, wanted = self._end - self._start, self._wanted()
        if kept + wanted > len(self._buffer):
            grown = bytearray(kept + wanted + RECEIVE_BUFFER)
            grown[:kept] = self._view[self._start : self._end]
            self._buffer, self._view = grown, memoryview(grown)
        elif self._start:
            self._view[:kept] = self._view[self._start : self._end]
        self._start, self._end = 0, kept

    def next(self) -> memoryview | None:
        """The next whole record, or None where more must be received.

        Raises:
            ProtocolError: a record above MAX_RECORD, or of more than MAX_FRAGMENTS.
        """
        while True:
            at = self._start + self._body
            if self._end - at < _MARK.size:
                return None
            mark: int = _MARK.unpack_from(self._buffer, at)[0]
            size = mark & ~LAST
            if self._body + size > MAX_RECORD:
                raise ProtocolError(f"a record of {self._body + size} bytes; at most {MAX_RECORD} are taken")
            end = at + _MARK.size + size
            if end > self._end:
                return None
            if mark & LAST:
                return self._whole(at, end)
            self._join(at, end)

    def _whole(self, at: int, end: int) -> memoryview:
        if self._body:
            self._view[self._start + _MARK.size : at + _MARK.size] = self._view[self._start : at]
            record = self._view[self._start + _MARK.size : end]
        else:
            record = self._view[at + _MARK.size : end]
        self._start, self._body, self._fragments = end, 0, 0
        return record

    def _join(self, at: int, end: int) -> None:
        """Move what came before over this fragment's mark, so that the record is in one piece."""
        self._fragments += 1
        if self._fragments > MAX_FRAGMENTS:
            raise ProtocolError(f"a record of more than {MAX_FRAGMENTS} fragments")
        moved = self._view[self._start : at]
        self._view[self._start + _MARK.size : at + _MARK.size] = moved
        self._start += _MARK.size
        self._body = end - self._start
