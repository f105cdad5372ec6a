"""Cuts a direction into messages: where each begins and ends, and a copy of the first bytes of each.

Where a message ends is known from a number in its first bytes, so this goes from one to the next, and does nothing else on the way;
all else is by the column.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labctl.trace.columns.direction import Direction
from labctl.trace.files.batch import Integers

_WORD = struct.Struct(">I").unpack_from


@dataclass(frozen=True, kw_only=True)
class Shape:
    """How a protocol's messages say how long they are: `smallest` bytes and the number `mask` at `place`, in units of `unit` bytes.

    Args:
        smallest: bytes that a message has at least, which are needed to know its length.
        place: where the number with its length stands.
        mask: what of it counts.
        unit: a power of two; the number is rounded up to it.
        head: how much of each message is copied.
    """

    smallest: int
    place: int
    mask: int
    unit: int
    head: int

    def size(self, head: bytes | bytearray) -> int:
        """How long a message is, from its first bytes."""
        number: int = _WORD(head, self.place)[0] & self.mask
        return self.smallest + (number + self.unit - 1 & -self.unit)


@dataclass(frozen=True, kw_only=True)
class Carried:
    """A message that began in an earlier batch.

    Args:
        seen: how many bytes of it were there.
        head: its first bytes, as far as they were seen and are looked at.
        frame: of its first byte; time: likewise.
    """

    seen: int
    head: bytes
    frame: int
    time: int


@dataclass(kw_only=True)
class Messages:
    """What a direction was cut into; each column has one item for each message.

    Args:
        heads: the first bytes of each, a row each; what is behind a message's end, or not here, is arbitrary.
        size: bytes of each.
        begin: place of its first byte in the direction's bytes; below zero for one that was carried.
        headed: the segment in which its length became known.
        last: the segment of its last byte; the number of segments where that is not here.
        time: of its first byte.
        frame: likewise.
        partial: how many bytes at the end are too few to know the length of their message, which is not among these.
    """

    heads: NDArray[np.uint8]
    size: Integers
    begin: Integers
    headed: Integers
    last: Integers
    time: Integers
    frame: Integers
    partial: int

    def __len__(self) -> int:
        return len(self.size)


def walk(direction: Direction, shape: Shape, carried: Carried | None) -> Messages:
    """Cut a direction of one segment or more into messages.

    Args:
        direction: its segments.
        shape: how long its messages are.
        carried: the message that was not whole before.
    """
    places, counts, cut, partial = _places(direction, shape, carried)
    at = np.array(places, dtype=np.int64)
    first = np.repeat(np.arange(len(counts)), np.array(counts, dtype=np.int64))
    begin = at - (direction.end - direction.stop)[first]
    heads = np.ndarray(
        (len(direction.buffer) - shape.head + 1,), dtype=f"V{shape.head}", buffer=direction.buffer.data, strides=(1,)
    )[np.maximum(at, 0)]
    heads = np.frombuffer(heads.tobytes(), dtype=np.uint8).reshape(-1, shape.head).copy()
    for index in cut:
        _mend(heads, index, direction, int(begin[index]), carried)
    words = heads[:, shape.place : shape.place + 4].copy().view(">u4")[:, 0].astype(np.int64) & shape.mask
    size = shape.smallest + (words + shape.unit - 1 & -shape.unit)
    for index in np.flatnonzero(at + np.minimum(size, shape.head) > direction.end[first]).tolist():
        _mend(heads, index, direction, int(begin[index]), carried)
    time, frame = direction.time[first], direction.frame[first]
    if carried is not None and len(at):
        time[0], frame[0] = carried.time, carried.frame
    return Messages(
        heads=heads,
        size=size,
        begin=begin,
        headed=np.searchsorted(direction.stop, begin + shape.smallest),
        last=np.searchsorted(direction.stop, begin + size),
        time=time,
        frame=frame,
        partial=partial,
    )


def _mend(heads: NDArray[np.uint8], index: int, direction: Direction, begin: int, carried: Carried | None) -> None:
    """Put the first bytes of a message that is not in one piece together."""
    known = carried.head if carried is not None and begin < 0 else b""
    head = joined(direction, begin, heads.shape[1], known)
    heads[index, : len(head)] = np.frombuffer(head, dtype=np.uint8)


def joined(direction: Direction, begin: int, count: int, known: bytes = b"") -> bytes:
    """Bytes of a direction, as many as there are.

    Args:
        direction: its segments.
        begin: place of the first byte; below zero for one that was carried.
        count: how many at most.
        known: the bytes before the direction's first, where `begin` is below zero.
    """
    parts = [known[: min(count, -begin)] if begin < 0 else b""]
    count -= len(parts[0])
    begin = max(begin, 0)
    number = int(np.searchsorted(direction.stop, begin, side="right"))
    while count > 0 and number < len(direction.stop):
        at = int(direction.end[number]) - int(direction.stop[number]) + begin
        end = min(int(direction.end[number]), at + count)
        parts.append(direction.buffer[at:end].tobytes())
        count -= end - at
        begin = int(direction.stop[number])
        number += 1
    return b"".join(parts)


def _places(direction: Direction, shape: Shape, carried: Carried | None) -> tuple[list[int], list[int], list[int], int]:
    """Where messages begin in the buffer, how many in each segment, which are not in one piece, and how much at the end is too little."""
    data = direction.buffer.data
    smallest, place, mask, up, unit = shape.smallest, shape.place, shape.mask, shape.unit - 1, -shape.unit
    starts, ends = direction.start.tolist(), direction.end.tolist()
    places: list[int] = []
    counts: list[int] = []
    cut: list[int] = []
    append = places.append
    skip, partial, before = 0, b"", 0
    if carried is not None:
        append(starts[0] - carried.seen)
        cut.append(0)
        if carried.seen < smallest:
            partial = carried.head
        else:
            skip = shape.size(carried.head) - carried.seen
    for start, end in zip(starts, ends, strict=True):
        at = start + skip
        if partial:
            seen = len(partial)
            partial += data[start : min(end, start + smallest - seen)].tobytes()
            at = start + shape.size(partial) - seen if len(partial) == smallest else end
            partial = partial if len(partial) < smallest else b""
        last = end - smallest
        while at <= last:
            append(at)
            at += smallest + ((_WORD(data, at + place)[0] & mask) + up & unit)
        if at < end:
            cut.append(len(places))
            append(at)
            partial, at = data[at:end].tobytes(), end
        skip = at - end
        counts.append(len(places) - before)
        before = len(places)
    if partial:
        cut.pop()
        places.pop()
        place_of = max(number for number, count in enumerate(counts) if count)
        counts[place_of] -= 1
    return places, counts, cut, len(partial)
