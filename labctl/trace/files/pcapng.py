"""pcapng files (draft-ietf-opsawg-pcapng), by the batch: any number of sections and interfaces, in either byte order.

Packet blocks are found by a loop that looks at two numbers of each, and taken apart by the column. Interfaces are numbered through all
sections. A block that cannot be right ends the reading with a problem that names its place: nothing behind it can be found for sure.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO, Final

import numpy as np

from labctl.trace.errors import CaptureError
from labctl.trace.files import blocks
from labctl.trace.files.batch import Batch, Integers
from labctl.trace.files.pcap import link_type
from labctl.trace.files.window import Window
from labctl.trace.files.writer import read_annotation
from labctl.trace.limits import MAX_BLOCK_BYTES, MAX_LINKS
from labctl.trace.record import Annotation, Link, Problem

NANOSECONDS: Final = 1_000_000_000
FRAMES: Final = frozenset({9, 0x204, 0x208, blocks.CUSTOM, blocks.CUSTOM_LOCAL})
"""Blocks without a packet that Wireshark counts as frames: the systemd journal's, sysdig's, and custom ones."""
ENHANCED_HEAD: Final = 28


class PcapngReader:
    """Reads one file.

    Args:
        file: behind its first four bytes.
        first: those.
    """

    def __init__(self, file: BinaryIO, first: bytes) -> None:
        self._window = Window(file, first)
        self._order = "<"
        self._links: list[Link] = []
        self._units: list[tuple[int, int]] = []  # per link: units in a second, nanoseconds to add
        self._section = 0  # the first link of this section
        self._frame = 0
        self._begin()

    def _begin(self) -> None:
        self._places: list[int] = []
        self._frames: list[int] = []
        self._odd: list[tuple[int, int, int, int, int, int]] = []  # place in the batch, link, time, start, kept, length
        self._said: list[tuple[int, Annotation]] = []
        self._problems: list[Problem] = []

    def batches(self) -> Iterator[Batch]:
        """The packets.

        Raises:
            CaptureError: the file does not begin with a section, or has packets of a kind that is not known.
        """
        try:
            yield from self._batches(self._window)
        finally:
            self._window.close()

    def _batches(self, window: Window) -> Iterator[Batch]:
        window.advance(0)
        used = window.begin
        while True:
            used, wanted = self._scan(used)
            if wanted < 0:  # a block that cannot be right
                yield self._batch()
                return
            # A section or an interface that follows packets ends a batch: what is said of packets depends on it.
            if self._places or self._odd or self._said or self._problems:
                yield self._batch()
                self._begin()
            if wanted and not window.advance(used, wanted):
                break
            used = window.begin if wanted else used
        if window.end > window.begin:
            place = "its first block" if window.offset == 0 else "a block"
            if window.offset == 0:
                raise CaptureError(f"the capture ends within {place}", offset=window.end - window.begin)
            self._problems.append(Problem(message=f"the capture ends within {place}", offset=window.offset))
            yield self._batch()

    def _scan(self, at: int) -> tuple[int, int]:
        """Find the blocks of the window from a place on.

        Returns:
            Where it stopped, and the bytes that the block there needs; 0 where a batch has to end, -1 where the block is wrong.
        """
        data, end = self._window.data, self._window.end
        head = struct.Struct(self._order + "II").unpack_from
        append = self._places.append
        frames = self._frames.append
        frame = self._frame
        while at + 12 <= end:
            kind, size = head(data, at)
            if kind == blocks.ENHANCED_PACKET and 32 <= size <= end - at and not size & 3:
                frame += 1
                append(at)
                frames(frame)
                at += size
                continue
            self._frame = frame
            if kind == blocks.SECTION:
                if self._places or self._odd:
                    return at, 0
                if end - at < 28:
                    return at, 28
                self._new_order(at)
                head = struct.Struct(self._order + "II").unpack_from
                kind, size = head(data, at)
            if size < 12 or size & 3 or size > MAX_BLOCK_BYTES:
                self._wrong(f"a block of type {kind:#x} says that it has {size:,} bytes", at)
                return at, -1
            if size > end - at:
                return at, size
            if kind in (blocks.INTERFACE, blocks.SECTION) and (self._places or self._odd):
                return at, 0
            if not self._block(kind, at, size):
                return at, -1
            frame = self._frame
            at += size
        self._frame = frame
        return at, 12

    def _wrong(self, message: str, at: int) -> None:
        if self._window.base + at == 0:
            raise CaptureError(message, offset=0, hint="the file is no pcapng capture, or is damaged")
        self._problems.append(Problem(message=message, offset=self._window.base + at))

    def _new_order(self, at: int) -> None:
        magic = bytes(self._window.data[at + 8 : at + 12])
        if magic == struct.pack("<I", blocks.MAGIC):
            self._order = "<"
        elif magic == struct.pack(">I", blocks.MAGIC):
            self._order = ">"
        # Anything else keeps the order: the section's length is checked next, and _section_block says what is wrong.
        self._section = len(self._links)

    def _block(self, kind: int, at: int, size: int) -> bool:
        """Take a block that is no enhanced packet; False where nothing behind it can be read."""
        if kind == blocks.SECTION:
            magic = struct.unpack_from(self._order + "I", self._window.data, at + 8)[0]
            if size < 28 or magic != blocks.MAGIC:
                self._wrong("a section's block is damaged", at)
                return False
        elif kind == blocks.INTERFACE:
            return self._interface(at, size)
        elif kind in FRAMES:
            self._frame += 1
            if kind in (blocks.CUSTOM, blocks.CUSTOM_LOCAL):
                self._custom(at, size)
        elif kind in (blocks.SIMPLE_PACKET, blocks.OLD_PACKET):
            self._frame += 1
            self._odd_packet(kind, at, size)
        elif kind == blocks.ENHANCED_PACKET:
            self._wrong(f"a packet's block of {size} bytes", at)
            return False
        return True

    def _interface(self, at: int, size: int) -> bool:
        if size < 20 or len(self._links) >= MAX_LINKS:
            self._wrong(f"interface {len(self._links)} cannot be read", at)
            return False
        data = self._window.data
        kind, snaplen = struct.unpack_from(self._order + "HxxI", data, at + 8)
        options = dict(self._options(at + 16, at + size - 4))
        exponent = (options.get(blocks.OPTION_INTERFACE_RESOLUTION) or b"\x06")[0]
        units = 1 << (exponent & 0x7F) if exponent & 0x80 else 10**exponent
        seconds = options.get(blocks.OPTION_INTERFACE_OFFSET, b"").rjust(8, b"\0")[:8]
        offset = struct.unpack(self._order + "q", seconds)[0] if any(seconds) else 0
        self._units.append((units, offset * NANOSECONDS))
        self._links.append(
            Link(
                index=len(self._links),
                name=options.get(blocks.OPTION_INTERFACE_NAME, b"").decode("utf-8", "replace").rstrip("\0"),
                type=link_type(kind, self._window.base + at + 8),
                snaplen=snaplen,
                description=options.get(blocks.OPTION_INTERFACE_DESCRIPTION, b"").decode("utf-8", "replace"),
                resolution=units,
            )
        )
        return True

    def _options(self, at: int, end: int) -> Iterator[tuple[int, bytes]]:
        head = struct.Struct(self._order + "HH").unpack_from
        while at + 4 <= end:
            code, size = head(self._window.data, at)
            if code == blocks.OPTION_END or at + 4 + size > end:
                return
            yield code, bytes(self._window.data[at + 4 : at + 4 + size])
            at += 4 + (size + 3 & ~3)

    def _custom(self, at: int, size: int) -> None:
        if size < 16 or struct.unpack_from(self._order + "I", self._window.data, at + 8)[0] != blocks.ENTERPRISE:
            return
        said = read_annotation(bytes(self._window.data[at + 12 : at + size - 4]))
        if said is not None:
            self._said.append((len(self._places) + len(self._odd), said))

    def _odd_packet(self, kind: int, at: int, size: int) -> None:
        """A simple packet (4.4) or one of the obsolete kind: neither is met often."""
        data, order = self._window.data, self._order
        if kind == blocks.SIMPLE_PACKET:
            head, link, time = 12, 0, 0
            length = struct.unpack_from(order + "I", data, at + 8)[0]
            snaplen = self._links[self._section].snaplen if self._section < len(self._links) else 0
            kept = min(length, snaplen or length)
        else:
            head = ENHANCED_HEAD
            link, high, low, kept, length = struct.unpack_from(order + "HxxIIII", data, at + 8)
            time = high << 32 | low
        if size < head + 4 or kept > size - head - 4 or self._section + link >= len(self._links):
            self._wrong("a packet's block is damaged; the packet is left out", at)
            return
        link += self._section
        row = (len(self._places) + len(self._odd), link, self._nanoseconds(time, link), at + head, kept, length)
        self._odd.append(row)
        self._frames.append(self._frame)

    def _nanoseconds(self, ticks: int, link: int) -> int:
        units, offset = self._units[link]
        return _bounded(ticks * NANOSECONDS // units + offset)

    def _batch(self) -> Batch:
        window = self._window
        array = window.array
        places = np.array(self._places, dtype=np.int64)
        names = ("link", "high", "low", "kept", "length")
        layout = np.dtype([(name, self._order + "u4") for name in names])
        heads = np.ndarray((len(array) - 19,), dtype=layout, buffer=window.data, strides=(1,))[places + 8]
        sizes = np.ndarray((len(array) - 3,), dtype=self._order + "u4", buffer=window.data, strides=(1,))[places + 4]
        link, high, low, kept, length = (heads[name].astype(np.int64) for name in names)
        link += self._section
        frame = np.array(self._frames, dtype=np.int64)
        columns = [link, self._times(high, low, link), places + ENHANCED_HEAD, kept, length]
        room = sizes.astype(np.int64) - 32
        comments = self._comments(places, kept, room)
        said = self._said
        if self._odd:
            columns, comments = self._insert(columns, comments)
            room = np.insert(room, [row[0] - n for n, row in enumerate(self._odd)], 1 << 40)
        good = (columns[3] <= room) & (columns[0] < len(self._links))
        if not good.all():
            first = int(np.argmin(good))
            self._wrong("packets with wrong lengths or of unknown interfaces are left out", int(columns[2][first]))
            columns = [column[good] for column in columns]
            frame = frame[good]
            behind = np.concatenate(([0], np.cumsum(good)))
            said = [(int(behind[index]), each) for index, each in said]
            comments = {int(behind[index]): text for index, text in comments.items() if good[index]}
        return Batch(
            buffer=array,
            link=columns[0],
            time=columns[1],
            start=columns[2],
            kept=columns[3],
            length=columns[4],
            frame=frame,
            links=tuple(self._links),
            annotations=said,
            comments=comments,
            problems=self._problems,
        )

    def _insert(self, columns: list[Integers], comments: dict[int, str]) -> tuple[list[Integers], dict[int, str]]:
        places = [row[0] - number for number, row in enumerate(self._odd)]
        moved = {index + sum(place <= index for place in places): text for index, text in comments.items()}
        return [
            np.insert(column, places, [row[number] for row in self._odd]) for number, column in enumerate(columns, 1)
        ], moved

    def _times(self, high: Integers, low: Integers, link: Integers) -> Integers:
        ticks = (high << 32) + low
        known = sorted(set(self._units[self._section :]))
        if known in ([(NANOSECONDS, 0)], []):
            return ticks
        result = np.zeros_like(ticks)
        for number in np.unique(link):
            if number >= len(self._units):
                continue  # left out later
            units, offset = self._units[number]
            mask = link == number
            if NANOSECONDS % units == 0 and abs(offset) < 1 << 62:
                result[mask] = ticks[mask] * (NANOSECONDS // units) + offset
            else:
                result[mask] = [_bounded(int(each) * NANOSECONDS // units + offset) for each in ticks[mask]]
        return result

    def _comments(self, places: Integers, kept: Integers, room: Integers) -> dict[int, str]:
        comments = {}
        used = (kept + 3) & ~3
        for index in np.flatnonzero(room >= used + 8).tolist():
            at = int(places[index]) + ENHANCED_HEAD
            options = self._options(at + int(used[index]), at + int(room[index]))
            words = [value.decode("utf-8", "replace") for code, value in options if code == blocks.OPTION_COMMENT]
            if words:
                comments[index] = "\n".join(words)
        return comments


def _bounded(time: int) -> int:
    """A time that fits 64 bits; a file may say anything."""
    return max(min(time, (1 << 63) - 1), -(1 << 63))
