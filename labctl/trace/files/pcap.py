"""pcap files (draft-ietf-opsawg-pcap), in either byte order, in micro- or nanoseconds, by the batch."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO, Final

import numpy as np

from labctl.trace.errors import CaptureError
from labctl.trace.files.batch import Batch
from labctl.trace.files.window import Window
from labctl.trace.limits import MAX_BLOCK_BYTES
from labctl.trace.record import Link, LinkType, Problem

MAGICS: Final[dict[bytes, tuple[str, int]]] = {
    b"\xa1\xb2\xc3\xd4": (">", 1000),
    b"\xd4\xc3\xb2\xa1": ("<", 1000),
    b"\xa1\xb2\x3c\x4d": (">", 1),
    b"\x4d\x3c\xb2\xa1": ("<", 1),
}
"""By the first four bytes: the byte order, and nanoseconds in a unit of time."""

HEADER: Final = 24
RECORD: Final = 16


def batches(file: BinaryIO, first: bytes) -> Iterator[Batch]:
    """The packets of a pcap file.

    Args:
        file: behind its first four bytes.
        first: those.

    Raises:
        CaptureError: it has no whole header, or packets of a kind that is not known.
    """
    order, unit = MAGICS[first]
    window = Window(file, first)
    try:
        yield from _batches(window, order, unit)
    finally:
        window.close()


def _batches(window: Window, order: str, unit: int) -> Iterator[Batch]:
    window.advance(0)
    if window.end - window.begin < HEADER:
        raise CaptureError("the capture ends within its header", offset=window.end - window.begin)
    snaplen, kind = struct.unpack_from(order + "II", window.data, window.begin + 16)
    links = [
        Link(index=0, name="", type=link_type(kind & 0xFFFF, 20), snaplen=snaplen, resolution=1_000_000_000 // unit)
    ]
    used, frame, wanted = window.begin + HEADER, 0, 0
    lengths = struct.Struct(order + "I").unpack_from
    while True:
        places: list[int] = []
        problem = None
        data, end = window.data, window.end
        while used + RECORD <= end:
            size = lengths(data, used + 8)[0] + RECORD
            if size > MAX_BLOCK_BYTES:
                problem = Problem(message=f"a packet of {size - RECORD:,} bytes", offset=window.base + used)
                break
            if used + size > end:
                wanted = size
                break
            places.append(used)
            used += size
        if places or problem:
            yield _batch(window, np.array(places, dtype=np.int64), order, unit, frame, links, problem)
        frame += len(places)
        if problem is not None:
            return
        if not window.advance(used, wanted):
            break
        used, wanted = window.begin, 0
    if window.end > window.begin:
        problem = Problem(message="the capture ends within a packet", offset=window.offset)
        yield _batch(window, np.zeros(0, dtype=np.int64), order, unit, frame, links, problem)


def link_type(number: int, offset: int) -> LinkType:
    """The layout of packets by its number.

    Raises:
        CaptureError: it is not known.
    """
    try:
        return LinkType(number)
    except ValueError:
        known = ", ".join(each.name for each in LinkType)
        raise CaptureError(
            f"packets of link type {number} are not known", offset=offset, hint=f"known are {known}"
        ) from None


def _batch(
    window: Window,
    places: np.ndarray[tuple[int], np.dtype[np.int64]],
    order: str,
    unit: int,
    frame: int,
    links: list[Link],
    problem: Problem | None,
) -> Batch:
    buffer = window.array
    layout = np.dtype([(name, order + "u4") for name in ("seconds", "fraction", "kept", "length")])
    heads = np.ndarray(shape=(len(buffer) - RECORD + 1,), dtype=layout, buffer=window.data, strides=(1,))[places]
    return Batch(
        buffer=buffer,
        start=places + RECORD,
        kept=heads["kept"].astype(np.int64),
        length=heads["length"].astype(np.int64),
        time=heads["seconds"].astype(np.int64) * 1_000_000_000 + heads["fraction"].astype(np.int64) * unit,
        link=np.zeros(len(places), dtype=np.int64),
        frame=np.arange(frame + 1, frame + 1 + len(places), dtype=np.int64),
        links=links,
        problems=[problem] if problem else [],
    )
