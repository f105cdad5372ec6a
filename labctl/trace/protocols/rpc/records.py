"""RPC records from a stream of bytes (RFC 5531 11: record marking)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from labctl.trace.flows.stream import Buffer
from labctl.trace.limits import MAX_KEPT_BYTES, MAX_RECORD_BYTES, RESYNC_BYTES

MARK: Final = struct.Struct(">I")
_MARK: Final = MARK.unpack_from
_HEAD: Final = struct.Struct(">IIII").unpack_from  # the mark, XID, message type, and RPC version or reply status
LAST: Final = 1 << 31
"""In a mark: this is the record's last fragment."""
_SMALLEST: Final = 24  # a reply without a result


class Record:
    """A record as it was found; `buffer` is good for the time of the call.

    Args:
        buffer: holds it.
        at: where it begins.
        end: where it ends, or where what is kept of it does.
        frame: of the first byte; time: of the first byte.
    """

    __slots__ = ("at", "buffer", "end", "frame", "last", "last_time", "missing", "size", "time")

    def __init__(self, buffer: Buffer, at: int, end: int, frame: int, time: int) -> None:
        self.buffer = buffer
        self.at = at
        self.end = end
        self.frame = self.last = frame
        self.time = self.last_time = time
        self.size = end - at
        self.missing = 0


def plausible(buffer: Buffer, at: int) -> bool | None:
    """Whether a record can begin there with its mark: True for a call, False for a reply, None for neither."""
    mark, _, kind, third = _HEAD(buffer, at)
    length = mark & ~LAST
    if not mark & LAST or not _SMALLEST <= length <= MAX_RECORD_BYTES:
        return None
    if kind == 0 and third == 2:
        return True
    return False if kind == 1 and third in (0, 1) else None


class RecordFramer:
    """Cuts one direction of a connection into records.

    Args:
        handler: takes each.
        lost: told when the place in the stream was lost.
    """

    def __init__(self, handler: Callable[[Record], None], lost: Callable[[int], None]) -> None:
        self.synchronised = True
        self._handler = handler
        self._lost = lost
        self._mark = bytearray()
        self._parts: bytearray | None = None
        self._need = 0  # bytes of the fragment that are still to come
        self._final = True
        self.frame = self.time = 0  # of the first byte
        self._size = self._missing = 0

    @property
    def busy(self) -> bool:
        """Whether a record has begun that is not whole."""
        return self._need > 0 or self._parts is not None

    # --- its place in the stream, for those that work by the column -----------------------------------------------------------------

    @property
    def plain(self) -> bool:
        """Whether it is at a record's beginning, or in one of a single fragment of which nothing is missing."""
        whole = self._parts is None or (
            self._final and not self._missing and len(self._parts) == self._size - self._need
        )
        return self.synchronised and whole

    @property
    def seen(self) -> int:
        """Bytes of the record that has begun, with its mark."""
        return len(self._mark) if self._parts is None else 4 + len(self._parts)

    def first(self, count: int) -> bytes:
        """The first bytes of that, as far as they were seen."""
        if self._parts is None:
            return bytes(self._mark)
        return (MARK.pack(LAST | self._size) + self._parts[:count])[:count]

    def resume(self, seen: bytes, frame: int, time: int) -> None:
        """Go on in a record.

        Args:
            seen: what was seen of it, with its mark; b"" where none has begun.
            frame: of its first byte.
            time: of its first byte.
        """
        self._mark.clear()
        self._parts, self._need = None, 0
        self.frame, self.time = frame, time
        if len(seen) < 4:
            self._mark += seen
        else:
            self._size = MARK.unpack_from(seen)[0] & ~LAST
            self._parts = bytearray(seen[4:])
            self._need, self._final = self._size - len(self._parts), True

    # --- from the stream ------------------------------------------------------------------------------------------------------------

    def data(self, buffer: Buffer, start: int, end: int, frame: int, time: int) -> None:
        """Take the next bytes."""
        if not self.synchronised:
            start = self._search(buffer, start, end)
        while start < end:
            if self._need:
                start = self._go_on(buffer, start, end, frame, time)
                continue
            if not self._mark and end - start >= 4:
                (mark,) = _MARK(buffer, start)
                size = mark & ~LAST
                if mark & LAST and size <= end - start - 4 and self._parts is None:
                    self._handler(Record(buffer, start + 4, start + 4 + size, frame, time))
                    start += 4 + size
                    continue
            start = self._begin(buffer, start, end, frame, time)
            if not self.synchronised:
                start = self._search(buffer, start, end)

    def missing(self, count: int, frame: int, time: int) -> None:
        """Take note of bytes that are not there."""
        if self._need > count or (self._need == count and self._final):
            self._missing += count
            self._need -= count
            self._keep(bytes(count))
            if not self._need:
                self._end(frame, time)
            return
        self.lose(frame)

    def lose(self, frame: int) -> None:
        """The place in the stream is not known any more."""
        if self.synchronised:
            self._lost(frame)
        self.synchronised = False
        self._mark.clear()
        self._parts = None
        self._need = self._missing = 0

    def _begin(self, buffer: Buffer, start: int, end: int, frame: int, time: int) -> int:
        """A fragment begins that is not whole here."""
        if not self._mark and self._parts is None:
            self.frame, self.time = frame, time
        take = min(4 - len(self._mark), end - start)
        self._mark += buffer[start : start + take]
        if len(self._mark) < 4:
            return end
        (mark,) = _MARK(self._mark, 0)
        self._mark.clear()
        self._need, self._final = mark & ~LAST, bool(mark & LAST)
        if self._parts is None:
            self._parts, self._size = bytearray(), 0
        self._size += self._need
        if self._size > MAX_RECORD_BYTES:
            self.lose(frame)
        elif not self._need and self._final:
            self._end(frame, time)
        return start + take

    def _go_on(self, buffer: Buffer, start: int, end: int, frame: int, time: int) -> int:
        count = min(self._need, end - start)
        self._keep(buffer[start : start + count])
        self._need -= count
        if not self._need and self._final:
            self._end(frame, time)
        return start + count

    def _keep(self, data: Buffer) -> None:
        if self._parts is not None and len(self._parts) + len(data) <= MAX_KEPT_BYTES:
            self._parts += data

    def _end(self, frame: int, time: int) -> None:
        data = bytes(self._parts or b"")
        record = Record(data, 0, len(data), self.frame, self.time)
        record.last, record.last_time, record.size, record.missing = frame, time, self._size, self._missing
        self._parts, self._missing = None, 0
        self._handler(record)

    def _search(self, buffer: Buffer, start: int, end: int) -> int:
        """Look for a record's beginning; its place, or `end`."""
        for at in range(start, min(end - 16, start + RESYNC_BYTES) + 1):
            if buffer[at] & 0x80 and plausible(buffer, at) is not None:
                self.synchronised = True
                return at
        return end
