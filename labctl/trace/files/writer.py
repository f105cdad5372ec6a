"""pcapng, written as a stream: a section, an interface for each link, packets, and annotations as custom blocks.

Nothing is kept but the comment that waits for the next packet, so a writer's memory does not grow with its file. The file is readable
at each moment up to its last whole block.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import BinaryIO, Final

from labctl.trace.files import blocks
from labctl.trace.limits import MAX_COMMENT_BYTES, MAX_LINKS
from labctl.trace.record import Annotation, Link, Packet

NANOSECONDS: Final = 1_000_000_000
PADDING: Final = (b"", b"\0\0\0", b"\0\0", b"\0")  # by length modulo 4
COMMENTED: Final = frozenset({"event", "fault", "drops"})
"""Annotations that are comments, too. Names are long and stages come with each command: they would bury the rest in Wireshark."""

PACKET: Final = struct.Struct("<IIIIIII")
_LENGTH: Final = struct.Struct("<I")
_AROUND: Final = PACKET.size + _LENGTH.size


class PcapngWriter:
    """Writes one section of pcapng.

    Args:
        file: takes the bytes; any object with `write`. The writer neither closes nor flushes it.
        application: what the file says made it.
    """

    def __init__(self, file: BinaryIO, *, application: str = "labctl") -> None:
        self._file = file
        self._resolutions: list[int] = []
        self._comments: list[str] = []
        self.written = 0
        """Bytes so far, for those who change files at a size."""
        options = _option(blocks.OPTION_SECTION_APPLICATION, application.encode()) + bytes(4)
        self._block(blocks.SECTION, struct.pack("<IHHq", blocks.MAGIC, 1, 0, -1) + options)

    def add_link(self, link: Link) -> None:
        """Write a link's interface block; packets of it may follow.

        Raises:
            ValueError: its index is not the next one, or its resolution is no power of ten or two: a bug of the caller's.
        """
        if link.index != len(self._resolutions) or link.index >= MAX_LINKS:
            raise ValueError(f"link {link.index} cannot be number {len(self._resolutions)}")
        options = _option(blocks.OPTION_INTERFACE_NAME, link.name.encode()) if link.name else b""
        if link.description:
            options += _option(blocks.OPTION_INTERFACE_DESCRIPTION, link.description.encode())
        options += _option(blocks.OPTION_INTERFACE_RESOLUTION, bytes((_resolution(link.resolution),))) + bytes(4)
        self._block(blocks.INTERFACE, struct.pack("<HHI", link.type, 0, link.snaplen) + options)
        self._resolutions.append(link.resolution)

    def write(self, packet: Packet) -> None:
        """Write a packet, with its comment and those of annotations since the last one.

        Raises:
            ValueError: its link was not added: a bug of the caller's.
        """
        if not 0 <= packet.link < len(self._resolutions):
            raise ValueError(f"link {packet.link} was not added")
        ticks = packet.time * self._resolutions[packet.link] // NANOSECONDS
        kept = len(packet.data)
        padding = PADDING[kept & 3]
        options = b""
        if packet.comment or self._comments:
            comments = [*self._comments, packet.comment] if packet.comment else self._comments
            options = b"".join(_option(blocks.OPTION_COMMENT, _comment(each)) for each in comments) + bytes(4)
            self._comments = []
        total = PACKET.size + kept + len(padding) + len(options) + 4
        head = PACKET.pack(
            blocks.ENHANCED_PACKET, total, packet.link, ticks >> 32, ticks & 0xFFFFFFFF, kept, packet.length
        )
        self._file.write(b"".join((head, packet.data, padding, options, struct.pack("<I", total))))
        self.written += total

    def write_run(self, packets: Sequence[tuple[int, int, int, bytes | memoryview]], snaplen: int | None = None) -> int:
        """Write packets as they come from a ring, at a fifth of what as many calls of `write` take.

        Args:
            packets: of each, its time in nanoseconds since 1970, its link, the bytes that it had on the wire, and what was kept.
            snaplen: bytes written of each at most, or None for all.

        Returns:
            The bytes that they had on the wire.

        Raises:
            ValueError: a link was not added: a bug of the caller's.
        """
        if self._comments and packets:
            time, link, length, data = packets[0]
            self.write(Packet(frame=0, time=time, link=link, data=data[:snaplen], length=length))
            return length + self.write_run(packets[1:], snaplen)
        unknown = {packet[1] for packet in packets} - set(range(len(self._resolutions)))
        if unknown:
            raise ValueError(f"link {min(unknown)} was not added")
        parts: list[bytes | memoryview] = []
        pack, tail, nanoseconds = PACKET.pack, _LENGTH.pack, all(each == NANOSECONDS for each in self._resolutions)
        whole = written = 0
        for time, link, length, data in packets:
            if snaplen is not None:
                data = data[:snaplen]
            if not nanoseconds:
                time = time * self._resolutions[link] // NANOSECONDS
            kept = len(data)
            total = _AROUND + (kept + 3 & ~3)
            parts.append(pack(blocks.ENHANCED_PACKET, total, link, time >> 32, time & 0xFFFFFFFF, kept, length))
            parts.append(data)
            parts.append(PADDING[kept & 3] + tail(total))
            written += total
            whole += length
        self.written += written
        self._file.writelines(parts)
        return whole

    def annotate(self, annotation: Annotation) -> None:
        """Write an annotation: a custom block, and for what people want to see a comment on the next packet."""
        fields = {
            blocks.SIGNATURE: 1,
            "time": annotation.time,
            "kind": annotation.kind,
            "data": annotation.data,
        }
        text = json.dumps(fields, separators=(",", ":"), default=str).encode()
        # JSON ignores blanks around it: they stand in for the length that a custom block has not.
        text += b" " * (-len(text) % 4)
        self._block(blocks.CUSTOM, struct.pack("<I", blocks.ENTERPRISE) + text)
        if annotation.kind in COMMENTED:
            self._comments.append(describe(annotation))

    def _block(self, kind: int, body: bytes) -> None:
        total = len(body) + 12
        self._file.write(struct.pack("<II", kind, total) + body + struct.pack("<I", total))
        self.written += total


def describe(annotation: Annotation) -> str:
    """An annotation in one line: `fault: lun=gold:0 action=delay 20 ms`."""
    return " ".join((f"{annotation.kind}:", *(f"{name}={value}" for name, value in annotation.data.items())))


def read_annotation(payload: bytes) -> Annotation | None:
    """What a custom block of our enterprise number holds, or None where another program uses that number, too."""
    try:
        fields = json.loads(payload)
        if fields[blocks.SIGNATURE] != 1 or not isinstance(fields["data"], dict):
            return None
        return Annotation(time=int(fields["time"]), kind=str(fields["kind"]), data=fields["data"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + value + PADDING[len(value) & 3]


def _comment(text: str) -> bytes:
    return text.encode()[:MAX_COMMENT_BYTES]


def _resolution(units: int) -> int:
    """The byte that says how many units of time are in a second (4.2, if_tsresol).

    Raises:
        ValueError: neither a power of ten nor of two.
    """
    for exponent in range(20):
        if units == 10**exponent:
            return exponent
    if units > 0 and units & (units - 1) == 0:
        return 0x80 | units.bit_length() - 1
    raise ValueError(f"{units} units in a second cannot be written")
