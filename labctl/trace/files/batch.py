"""Many packets at a time, by the column: what the readers of capture files yield, and what decoding works on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from labctl.trace.limits import READ_AHEAD
from labctl.trace.record import Annotation, Link, Packet, Problem

Integers = NDArray[np.int64]


@dataclass(kw_only=True)
class Batch:
    """Packets of a capture, in its order.

    The columns have one item a packet; `buffer` is good until the next batch is asked for.

    Args:
        buffer: the bytes that the packets lie in, and READ_AHEAD bytes behind them.
        start: where each packet's bytes begin there.
        kept: how many there are of each.
        length: how many there were on the wire.
        time: nanoseconds since 1970.
        link: the link's number.
        frame: the packet's number in the file, from 1.
        links: all links so far.
        annotations: what was said, each with the number of the packets of this batch before it.
        comments: of packets of this batch that have one, by their place in it.
        problems: faults of the file.
    """

    buffer: NDArray[np.uint8]
    start: Integers
    kept: Integers
    length: Integers
    time: Integers
    link: Integers
    frame: Integers
    links: Sequence[Link]
    annotations: list[tuple[int, Annotation]] = field(default_factory=list)
    comments: dict[int, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.start)

    def packets(self) -> list[Packet]:
        """The packets one by one, with bytes of their own."""
        data = self.buffer.data
        columns = (self.frame, self.time, self.link, self.start, self.kept, self.length)
        return [
            Packet(
                frame=frame,
                time=time,
                link=link,
                data=bytes(data[start : start + kept]),
                length=length,
                comment=self.comments.get(index, ""),
            )
            for index, (frame, time, link, start, kept, length) in enumerate(
                zip(*(column.tolist() for column in columns), strict=True)
            )
        ]


def from_packets(packets: Iterable[Packet | Annotation], links: Sequence[Link]) -> Batch:
    """A batch of packets that come from elsewhere than a file."""
    kept: list[Packet] = []
    annotations: list[tuple[int, Annotation]] = []
    for each in packets:
        if isinstance(each, Packet):
            kept.append(each)
        else:
            annotations.append((len(kept), each))
    joined = b"".join((*(packet.data for packet in kept), bytes(READ_AHEAD)))
    sizes = np.array([len(packet.data) for packet in kept], dtype=np.int64)
    return Batch(
        buffer=np.frombuffer(joined, dtype=np.uint8),
        start=np.cumsum(sizes) - sizes,
        kept=sizes,
        length=np.array([packet.length for packet in kept], dtype=np.int64),
        time=np.array([packet.time for packet in kept], dtype=np.int64),
        link=np.array([packet.link for packet in kept], dtype=np.int64),
        frame=np.array([packet.frame for packet in kept], dtype=np.int64),
        links=links,
        annotations=annotations,
        comments={index: packet.comment for index, packet in enumerate(kept) if packet.comment},
    )


def from_ring(
    packets: Sequence[tuple[int, int, int, bytes | memoryview]],
    links: Sequence[Link],
    *,
    first: int,
    annotations: Sequence[Annotation] = (),
) -> Batch:
    """A batch of live packets, with a copy of their bytes: the ring that they lie in can have its room back at once.

    Args:
        packets: of each, its time in nanoseconds since 1970, its link, the bytes that it had on the wire, and what was kept.
        links: all links.
        first: the first packet's number.
        annotations: what was said before them.
    """
    time, link, length, data = zip(*packets, strict=True) if packets else ((), (), (), ())
    count = len(data)
    sizes = np.fromiter(map(len, data), np.int64, count)
    return Batch(
        buffer=np.frombuffer(b"".join((*data, bytes(READ_AHEAD))), dtype=np.uint8),
        start=np.cumsum(sizes) - sizes,
        kept=sizes,
        length=np.array(length, dtype=np.int64),
        time=np.array(time, dtype=np.int64),
        link=np.array(link, dtype=np.int64),
        frame=np.arange(first, first + count, dtype=np.int64),
        links=links,
        annotations=[(0, each) for each in annotations],
    )
