"""Kernels without what is never loaded."""

from __future__ import annotations

import struct

import pytest

from labctl_server.image.elf import compact

TABLE = struct.Struct("<IIQQQQQQ")


def executable(*segments: tuple[int, bytes, int]) -> bytes:
    """An ELF file with segments (type, data, size in memory), sections' table and all."""
    header = bytearray(64)
    header[:6] = b"\x7fELF\x02\x01"
    struct.pack_into("<QQ", header, 32, 64, 999)
    struct.pack_into("<HHHHH", header, 54, 56, len(segments), 64, 7, 6)
    table, data = b"", b""
    start = 64 + 56 * len(segments) + 100_000
    for kind, content, memory in segments:
        table += TABLE.pack(kind, 5, start + len(data), 0xFF, 0x1000, len(content), memory, 4)
        data += content
    return bytes(header) + table + bytes(100_000) + data + b"sections"


def segments_of(kernel: bytes) -> list[tuple[int, bytes, int]]:
    found = []
    for index in range(struct.unpack_from("<H", kernel, 56)[0]):
        kind, _, offset, _, _, size, memory, _ = TABLE.unpack_from(kernel, 64 + 56 * index)
        found.append((kind, kernel[offset : offset + size], memory))
    return found


def test_segments_keep_their_bytes_and_lose_their_trailing_zeroes() -> None:
    note = b"note\0\0\0\0"
    small = compact(executable((1, b"code" + bytes(50_000), 60_000), (4, note, len(note))))
    assert segments_of(small) == [(1, b"code", 60_000), (4, note, len(note))]
    assert len(small) < 20_000
    assert struct.unpack_from("<Q", small, 40) == (0,)  # no sections


def test_what_is_no_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match="not a 64-bit"):
        compact(b"\x7fELF\x01\x01" + bytes(100))
    whole = executable((1, b"code", 4))
    with pytest.raises(ValueError, match="outside the file"):
        compact(whole[:-12])
    with pytest.raises(ValueError, match="headers lie outside"):
        compact(whole[:70])
