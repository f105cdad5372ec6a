"""One direction of a TCP connection: its bytes handed on in their order, whatever order, number and completeness the packets had.

Bytes that come early are held until those before them come; those that came before are dropped, and counted; those that never come are
said to be missing, as soon as the receiver acknowledges them (so it had them and the capture has not) or too much waits behind them.
"""

from __future__ import annotations

from bisect import insort
from typing import Protocol

from labctl.trace.limits import MAX_HELD_BYTES, MAX_HELD_NANOSECONDS, MAX_HELD_SEGMENTS

HALF = 1 << 31
MASK = (1 << 32) - 1

Buffer = bytes | bytearray | memoryview


class Consumer(Protocol):
    """Takes the bytes of a direction."""

    def data(self, buffer: Buffer, start: int, end: int, frame: int, time: int) -> None:
        """Take the bytes from `start` to `end` of a buffer that is good for the time of the call."""

    def missing(self, count: int, frame: int, time: int) -> None:
        """Learn that so many bytes are not in the capture."""


class Nothing:
    """Takes bytes that nobody wants."""

    def data(self, buffer: Buffer, start: int, end: int, frame: int, time: int) -> None:
        """Forget them."""

    def missing(self, count: int, frame: int, time: int) -> None:
        """Nothing is missed."""


class Stream:
    """The state of a direction.

    Args:
        consumer: takes what it carries.
    """

    __slots__ = ("consumer", "early", "early_bytes", "next", "position", "repeated")

    def __init__(self, consumer: Consumer) -> None:
        self.consumer = consumer
        self.next = -1
        """The sequence number that comes next; -1 before the first is known."""
        self.position = 0
        """How many bytes were before `next`, so that numbers need not wrap."""
        self.early: list[tuple[int, int, int, int, bytes]] = []  # position, frame, time, length, bytes
        self.early_bytes = 0
        self.repeated = 0
        """Segments that were seen before."""

    def receive(self, buffer: Buffer, sequence: int, start: int, kept: int, length: int, frame: int, time: int) -> None:
        """Take a segment that need not be the next.

        Args:
            buffer: it lies in there.
            sequence: its first byte's number.
            start: where its payload begins.
            kept: how much of it the capture has.
            length: how much was on the wire.
            frame: the packet's number.
            time: of the packet, in nanoseconds.
        """
        if self.next < 0:
            self.next = sequence
        ahead = (sequence - self.next + HALF & MASK) - HALF
        if ahead < 0:
            if length > 1:  # a byte that was sent before is how a connection is kept alive (RFC 9293 3.8.4)
                self.repeated += 1
            if length <= -ahead:
                return
            start, kept, length = start - ahead, max(kept + ahead, 0), length + ahead
        elif ahead > 0:
            self._hold(buffer, self.position + ahead, start, kept, length, frame, time)
            return
        self._deliver(buffer, start, kept, length, frame, time)
        if self.early:
            self._release()

    def acknowledged(self, number: int) -> None:
        """Learn what the receiver has: what it has and we have not, the capture lost."""
        ahead = (number - self.next + HALF & MASK) - HALF
        if self.early and ahead > 0:
            position, frame, time, _, _ = self.early[0]
            if position - self.position <= ahead:
                self._skip(position, frame, time)

    def finish(self) -> None:
        """Hand on what waits: nothing more comes."""
        while self.early:
            position, frame, time, _, _ = self.early[0]
            self._skip(position, frame, time)

    def _hold(self, buffer: Buffer, position: int, start: int, kept: int, length: int, frame: int, time: int) -> None:
        if any(item[0] == position and item[3] >= length for item in self.early):
            self.repeated += 1
            return
        insort(self.early, (position, frame, time, length, bytes(buffer[start : start + kept])))
        self.early_bytes += kept
        oldest = min(item[2] for item in self.early)
        if (
            len(self.early) > MAX_HELD_SEGMENTS
            or self.early_bytes > MAX_HELD_BYTES
            or time - oldest > MAX_HELD_NANOSECONDS
        ):
            self._skip(self.early[0][0], frame, time)

    def _skip(self, position: int, frame: int, time: int) -> None:
        count = position - self.position
        self.next = self.next + count & MASK
        self.position = position
        self.consumer.missing(count, frame, time)
        self._release()

    def _release(self) -> None:
        while self.early and self.early[0][0] <= self.position:
            position, frame, time, length, data = self.early.pop(0)
            self.early_bytes -= len(data)
            seen = self.position - position
            if length > seen:
                self._deliver(data, seen, max(len(data) - seen, 0), length - seen, frame, time)

    def _deliver(self, buffer: Buffer, start: int, kept: int, length: int, frame: int, time: int) -> None:
        self.next = self.next + length & MASK
        self.position += length
        if kept:
            self.consumer.data(buffer, start, start + kept, frame, time)
        if kept < length:
            self.consumer.missing(length - kept, frame, time)
