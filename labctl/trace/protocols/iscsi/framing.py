"""PDUs from a stream of bytes.

The usual PDU lies in one segment and is read where it lies; of one that reaches into the next, the header is copied, and the data only
where it says something. After a loss, the next plausible header is where reading goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from labctl.trace.flows.stream import Buffer
from labctl.trace.limits import MAX_KEPT_BYTES, RESYNC_BYTES
from labctl.trace.protocols.iscsi.wire import BHS, COMMAND, HEAD, NOP_OUT, SMALL, TASK_REQUEST, WITH_DATA, plausible

AT_ONCE: Final = frozenset((COMMAND, NOP_OUT, TASK_REQUEST))
"""Requests that begin with their header: their number is that of the first byte."""

Fields = tuple[int, ...]
Handler = Callable[["Pdu"], Any]


class Pdu:
    """A PDU as it was found.

    Args:
        fields: the header, as `wire.HEAD` unpacks it.
        buffer: holds the header and, where `whole`, everything.
        at: where it begins there.
        frame: of the first byte; time: of the first byte.
    """

    __slots__ = ("at", "buffer", "data_at", "fields", "frame", "last", "last_time", "missing", "size", "time", "whole")

    def __init__(self, fields: Fields, buffer: Buffer, at: int, frame: int, time: int, size: int, data_at: int) -> None:
        self.fields = fields
        self.buffer = buffer
        self.at = at
        self.frame = self.last = frame
        self.time = self.last_time = time
        self.size = size
        self.data_at = data_at
        self.whole = True
        self.missing = 0

    def data(self) -> bytes:
        """The data segment, as far as it is there."""
        if not self.whole:
            return b""
        start = self.at + self.data_at
        return bytes(self.buffer[start : start + (self.fields[4] & 0xFFFFFF)])


class PduFramer:
    """Cuts one direction of a connection into PDUs.

    Args:
        handler: takes each, once: requests in `AT_ONCE` when their header is there, others when they are complete.
        completed: told of each PDU when it is complete, with what the handler returned; only where whole messages are kept.
        towards_server: the direction.
        lost: told when the place in the stream was lost.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        towards_server: bool,
        lost: Callable[[int], None],
        completed: Callable[[Pdu, Any], None] | None = None,
    ) -> None:
        self.header_digest = 0
        """Bytes of a digest behind the header: 0 or 4."""
        self.data_digest = 0
        self.synchronised = True
        self._handler = handler
        self._completed = completed
        self._towards_server = towards_server
        self._lost = lost
        self._head = bytearray()
        self._head_frame = self._head_time = 0
        self._need = 0
        self._pdu: Pdu | None = None
        self._body: bytearray | None = None
        self._result: Any = None
        self._handled = False

    # --- its place in the stream, for those that work by the column -----------------------------------------------------------------

    @property
    def unfinished(self) -> Pdu | None:
        """The PDU that is not whole yet."""
        return self._pdu if self._need else None

    @property
    def needed(self) -> int:
        """Bytes that it needs."""
        return self._need

    @property
    def keeps(self) -> bool:
        """Whether its data is kept."""
        return self._body is not None

    @property
    def handled(self) -> bool:
        """Whether the handler had it."""
        return self._handled

    @property
    def unfinished_head(self) -> bytes:
        """A header that is not whole yet."""
        return bytes(self._head)

    @property
    def head_frame(self) -> int:
        """Where that begins."""
        return self._head_frame

    @property
    def head_time(self) -> int:
        """When that begins."""
        return self._head_time

    def resume(self) -> None:
        """Go on with a new PDU."""
        self._head.clear()
        self._need, self._pdu, self._body = 0, None, None

    def resume_in_head(self, head: bytes, frame: int, time: int) -> None:
        """Go on in a header that began so."""
        self.resume()
        self._head += head
        self._head_frame, self._head_time = frame, time

    def resume_in_data(self, pdu: Pdu, need: int, result: Any) -> None:
        """Go on in a PDU.

        Args:
            pdu: it; its buffer has all that was there where it is to be kept.
            need: bytes that it needs.
            result: what the handler returned for it, if it is one that is handled early.
        """
        self.resume()
        pdu.whole = False
        self._pdu, self._need = pdu, need
        self._body = bytearray(pdu.buffer) if self.keep(pdu.fields, pdu.size) else None
        self._handled = self._early(pdu)
        self._result = result if self._handled else None

    def keep(self, fields: Fields, size: int) -> bool:
        """Whether the data of a PDU that reaches beyond its segment is kept."""
        return size <= MAX_KEPT_BYTES and (
            self._completed is not None or fields[0] & 0x3F in WITH_DATA or size <= SMALL
        )

    @staticmethod
    def _early(pdu: Pdu) -> bool:
        """A command with little data waits for it: it may be a list of parameters that says what the command is about."""
        opcode = pdu.fields[0] & 0x3F
        return opcode in AT_ONCE and (opcode != COMMAND or pdu.size > SMALL or not pdu.fields[4] & 0xFFFFFF)

    # --- from the stream ------------------------------------------------------------------------------------------------------------

    def data(self, buffer: Buffer, start: int, end: int, frame: int, time: int) -> None:
        """Take the next bytes."""
        if not self.synchronised:
            start = self._search(buffer, start, end)
        if self._need:
            start = self._go_on(buffer, start, end, frame, time)
        if self._head and start < end:
            start = self._finish_head(buffer, start, end, frame, time)
        unpack = HEAD.unpack_from
        while end - start >= BHS:
            fields = unpack(buffer, start)
            size = self._size(fields)
            pdu = Pdu(fields, buffer, start, frame, time, size, self._data_at(fields))
            if size > end - start:
                self._begin(pdu, bytes(buffer[start:end]))
                return
            start += size
            result = self._handler(pdu)
            if self._completed is not None:
                self._completed(pdu, result)
            if not self.synchronised:
                start = self._search(buffer, start, end)
        if start < end:
            if not self._head:
                self._head_frame, self._head_time = frame, time
            self._head += buffer[start:end]

    def missing(self, count: int, frame: int, time: int) -> None:
        """Take note of bytes that are not there."""
        if self._need >= count and self._pdu is not None:
            self._pdu.missing += count
            self._need -= count
            if self._body is not None:
                if count > MAX_KEPT_BYTES:
                    self._body = None
                else:
                    self._body += bytes(count)
            if self._need == 0:
                self._end(frame, time)
            return
        self.lose(frame)

    def lose(self, frame: int) -> None:
        """The place in the stream is not known any more: look for a header."""
        if self.synchronised:
            self._lost(frame)
        self.synchronised = False
        self._head.clear()
        self._need = 0
        self._pdu = self._body = None

    def _size(self, fields: Fields) -> int:
        lengths = fields[4]
        data = lengths & 0xFFFFFF
        size = BHS + (lengths >> 22 & 0x3FC) + self.header_digest
        return size + (data + 3 & ~3) + self.data_digest if data else size

    def _data_at(self, fields: Fields) -> int:
        return BHS + (fields[4] >> 22 & 0x3FC) + self.header_digest

    def _begin(self, pdu: Pdu, have: bytes) -> None:
        """A PDU reaches beyond its segment."""
        self._need = pdu.size - len(have)
        pdu.buffer, pdu.at, pdu.whole = have, 0, False
        self._pdu = pdu
        self._body = bytearray(have) if self.keep(pdu.fields, pdu.size) else None
        self._handled = self._early(pdu)
        self._result = self._handler(pdu) if self._handled else None

    def _go_on(self, buffer: Buffer, start: int, end: int, frame: int, time: int) -> int:
        count = min(self._need, end - start)
        if self._body is not None:
            self._body += buffer[start : start + count]
        self._need -= count
        if self._need == 0:
            self._end(frame, time)
        return start + count

    def _end(self, frame: int, time: int) -> None:
        pdu, body = self._pdu, self._body
        self._pdu = self._body = None
        if pdu is None:
            return
        pdu.last, pdu.last_time = frame, time
        if body is not None:
            pdu.buffer, pdu.at, pdu.whole = bytes(body), 0, True
        result = self._result if self._handled else self._handler(pdu)
        if self._completed is not None:
            self._completed(pdu, result)

    def _finish_head(self, buffer: Buffer, start: int, end: int, frame: int, time: int) -> int:
        take = min(BHS - len(self._head), end - start)
        self._head += buffer[start : start + take]
        if len(self._head) < BHS:
            return end
        have = bytes(self._head)
        self._head.clear()
        fields = HEAD.unpack(have)
        pdu = Pdu(fields, have, 0, self._head_frame, self._head_time, self._size(fields), self._data_at(fields))
        start += take
        if pdu.size > BHS:
            self._begin(pdu, have)
            return self._go_on(buffer, start, end, frame, time)
        pdu.last, pdu.last_time = frame, time
        result = self._handler(pdu)
        if self._completed is not None:
            self._completed(pdu, result)
        return start

    def _search(self, buffer: Buffer, start: int, end: int) -> int:
        """Look for a header; its place, or `end`."""
        for at in range(start, min(end - BHS, start + RESYNC_BYTES) + 1):
            if buffer[at] & 0x80 or not plausible(buffer, at, towards_server=self._towards_server):
                continue
            following = at + self._size(HEAD.unpack_from(buffer, at))
            if following + BHS > end or plausible(buffer, following, towards_server=self._towards_server):
                self.synchronised = True
                return at
        return end
