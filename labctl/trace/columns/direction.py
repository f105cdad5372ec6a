"""The bytes that one side of a connection sent in a batch, where they are all there and in order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labctl.trace.files.batch import Batch, Integers
from labctl.trace.flows.headers import Segments
from labctl.trace.flows.stream import MASK, Stream

_SYN_RST = 0x06


@dataclass(kw_only=True)
class Direction:
    """Segments one behind the other; each column has one item for each.

    Args:
        buffer: they lie in it.
        start: where each begins there; end: where it ends.
        stop: how many bytes there are up to each one's end.
        time: of the packet, in nanoseconds.
        frame: its number.
        row: its place among the batch's segments.
    """

    buffer: NDArray[np.uint8]
    start: Integers
    end: Integers
    stop: Integers
    time: Integers
    frame: Integers
    row: Integers

    @property
    def total(self) -> int:
        """Bytes of all segments."""
        return int(self.stop[-1]) if len(self.stop) else 0


def take(batch: Batch, found: Segments, rows: Integers, stream: Stream | None) -> Direction | None:
    """A side's segments of a batch, or None where something is missing, out of order, repeated, or not just data.

    Args:
        batch: the packets.
        found: their segments.
        rows: which of those are this side's.
        stream: the side, as it is before them; None where it was never seen.
    """
    if stream is not None and stream.early:  # what the other side acknowledges may set it free
        return None
    if len(rows) and (stream is None or stream.next < 0):
        return None
    if (found.flags[rows] & _SYN_RST).any():
        return None
    rows = rows[found.length[rows] > 0]
    length = found.length[rows]
    if (found.kept[rows] != length).any():
        return None
    stop = np.cumsum(length)
    sequence = (0 if stream is None else stream.next) + stop - length & MASK
    if (found.sequence[rows] != sequence).any():
        return None
    index, start = found.index[rows], found.start[rows]
    return Direction(
        buffer=batch.buffer,
        start=start,
        end=start + length,
        stop=stop,
        time=batch.time[index],
        frame=batch.frame[index],
        row=rows,
    )
