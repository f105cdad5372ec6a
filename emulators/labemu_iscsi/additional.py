"""Additional header segments of a command: CDBs longer than sixteen bytes, and how much a bidirectional command reads (RFC 7143 11.2.2)."""

from __future__ import annotations

from typing import Final

from labemu_iscsi.errors import InvalidField
from labemu_iscsi.limits import BHS_LENGTH
from labemu_iscsi.task import READ, WRITE, Task

_EXTENDED_CDB: Final = 1
_EXPECTED_READ: Final = 2
_BIDIRECTIONAL: Final = READ | WRITE


def apply(task: Task, buffer: bytearray, start: int, length: int) -> None:
    """Take a command's additional header segments.

    Args:
        task: gets the rest of its CDB, and its expected read length.
        buffer: holds the header.
        start: where in it.
        length: bytes of additional segments behind the basic one.

    Raises:
        InvalidField: a segment that is cut off, unknown, there twice, or missing.
    """
    segments: dict[int, bytes] = {}
    at, end = start + BHS_LENGTH, start + BHS_LENGTH + length
    while at < end:
        size = int.from_bytes(buffer[at : at + 2], "big")  # RFC 7143 11.2.2.1: without the length and the type
        kind = buffer[at + 2]
        if not size or at + 3 + size > end or kind in segments or kind not in (_EXTENDED_CDB, _EXPECTED_READ):
            raise InvalidField(f"additional header segment of type {kind}, {size} bytes")
        segments[kind] = bytes(buffer[at + 4 : at + 3 + size])
        at += 3 + size + (-(3 + size) & 3)
    task.cdb += segments.get(_EXTENDED_CDB, b"")
    expected = segments.get(_EXPECTED_READ)
    if task.flags & _BIDIRECTIONAL == _BIDIRECTIONAL:  # RFC 7143 11.3.4
        if expected is None or len(expected) != 4:
            raise InvalidField("a bidirectional command says how much it reads")
        task.expected_read = int.from_bytes(expected, "big")
