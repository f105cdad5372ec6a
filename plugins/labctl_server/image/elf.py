"""Rewrites an ELF kernel so that it holds nothing but what is loaded.

QEMU keeps the kernel's file mapped for as long as the guest lives, and Debian's holds 20 MB of zeroes, alignment and section tables.
What remains are the program headers and each segment's bytes up to its last that is not zero; the loader fills up the rest.

Source: System V ABI, chapters 4 and 5 (ELF header, program header).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

_HEADER_SIZE = 64
_PHOFF_AT, _SHOFF_AT, _PHNUM_AT, _SHENTSIZE_AT = 32, 40, 56, 58
_PROGRAM_HEADER = struct.Struct("<IIQQQQQQ")  # type, flags, offset, vaddr, paddr, filesz, memsz, align
_PT_LOAD = 1
_PAGE = 4096


@dataclass(frozen=True)
class _Segment:
    kind: int
    flags: int
    virtual: int
    physical: int
    memory: int
    alignment: int
    data: bytes


def compact(kernel: bytes) -> bytes:
    """The same 64-bit little-endian executable without sections, and with trailing zeroes of segments left to the loader.

    Raises:
        ValueError: it is no such file.
    """
    segments = _segments(kernel)
    header = bytearray(kernel[:_HEADER_SIZE])
    struct.pack_into("<Q", header, _PHOFF_AT, _HEADER_SIZE)
    struct.pack_into("<Q", header, _SHOFF_AT, 0)
    struct.pack_into("<HHH", header, _SHENTSIZE_AT, 0, 0, 0)
    body = bytearray(header) + bytes(_PROGRAM_HEADER.size * len(segments))
    for number, segment in enumerate(segments):
        body += bytes(-len(body) % _PAGE)
        fields = (
            segment.kind,
            segment.flags,
            len(body),
            segment.virtual,
            segment.physical,
            len(segment.data),
            segment.memory,
        )
        _PROGRAM_HEADER.pack_into(body, _HEADER_SIZE + number * _PROGRAM_HEADER.size, *fields, segment.alignment)
        body += segment.data
    return bytes(body)


def _segments(kernel: bytes) -> list[_Segment]:
    if kernel[:6] != b"\x7fELF\x02\x01":
        raise ValueError("not a 64-bit little-endian ELF file")
    (table,) = struct.unpack_from("<Q", kernel, _PHOFF_AT)
    (number,) = struct.unpack_from("<H", kernel, _PHNUM_AT)
    found = []
    try:
        for index in range(number):
            values = _PROGRAM_HEADER.unpack_from(kernel, table + index * _PROGRAM_HEADER.size)
            kind, flags, offset, virtual, physical, size, memory, alignment = values
            data = kernel[offset : offset + size]
            if len(data) < size:
                raise ValueError("a segment lies outside the file")
            found.append(_segment(kind, flags, virtual, physical, memory, alignment, data))
    except struct.error as error:
        raise ValueError("the program headers lie outside the file") from error
    return found


def _segment(kind: int, flags: int, virtual: int, physical: int, memory: int, alignment: int, data: bytes) -> _Segment:
    if kind != _PT_LOAD:
        return _Segment(
            kind, flags, virtual, physical, memory, alignment, data
        )  # a note's alignment tells how to read it
    return _Segment(kind, flags, virtual, physical, memory, _PAGE, data.rstrip(b"\0"))
