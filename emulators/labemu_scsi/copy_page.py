"""What the copy manager says of itself: VPD page 8Fh (SPC-4 7.8.17) and the operating parameters (SPC-4 6.20)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from labemu_scsi.limits import (
    MAX_COPIES,
    MAX_COPY_CSCDS,
    MAX_COPY_LIST_BYTES,
    MAX_COPY_SEGMENT_BYTES,
    MAX_COPY_SEGMENTS,
)

if TYPE_CHECKING:
    from labemu_scsi.nexus import Nexus
    from labemu_scsi.unit import LogicalUnit

EXTENDED_COPY, RECEIVE_COPY_RESULTS = 0x83, 0x84
LID1: Final = 0x00
COPY_STATUS, OPERATING_PARAMETERS, FAILED_SEGMENT = 0x00, 0x03, 0x04
BLOCK_TO_BLOCK, VERIFY_CSCD = 0x02, 0x07  # segment descriptors, SPC-4 table 130
IDENTIFICATION: Final = 0xE4  # the CSCD descriptor, SPC-4 table 114
DESCRIPTORS: Final = bytes((BLOCK_TO_BLOCK, VERIFY_CSCD, IDENTIFICATION))
THIS_UNIT: Final = 0xFFFF  # the CSCD descriptor ID of the unit that was asked, SPC-4 table 113
_GRANULARITY: Final = 9  # of data segments: 512 bytes, as a power of two


def _descriptor(kind: int, body: bytes) -> bytes:
    """A third-party copy descriptor: a multiple of four bytes."""
    body += bytes(-len(body) % 4)
    return struct.pack(">HH", kind, len(body)) + body


def third_party_copy(unit: LogicalUnit, nexus: Nexus) -> bytes:
    """Page 8Fh."""
    commands = bytes((EXTENDED_COPY, 1, LID1))
    commands += bytes((RECEIVE_COPY_RESULTS, 3, COPY_STATUS, OPERATING_PARAMETERS, FAILED_SEGMENT))
    lists = struct.pack(">4xHHII12x", MAX_COPY_CSCDS, MAX_COPY_SEGMENTS, MAX_COPY_LIST_BYTES, 0)
    general = struct.pack(">IIIBB18x", MAX_COPIES, MAX_COPIES, MAX_COPY_SEGMENT_BYTES, _GRANULARITY, 0)
    return b"".join(
        (
            _descriptor(0x0001, bytes((len(commands),)) + commands),
            _descriptor(0x0004, lists),
            _descriptor(0x0008, bytes((len(DESCRIPTORS),)) + DESCRIPTORS),
            _descriptor(0x000C, struct.pack(">HH", 2, THIS_UNIT)),
            _descriptor(0x8001, general),
        )
    )


def operating_parameters() -> bytes:
    """SPC-4 table 245: nothing is held but how copies ended, and no data comes inline."""
    body = struct.pack(
        ">B3xHHIIIII2xHBBBB3xB",
        0x01,  # SNLID: a copy may go without a list identifier
        MAX_COPY_CSCDS,
        MAX_COPY_SEGMENTS,
        MAX_COPY_LIST_BYTES,
        MAX_COPY_SEGMENT_BYTES,
        0,  # inline data
        0,  # held data
        0,  # stream devices
        MAX_COPIES,
        MAX_COPIES,
        _GRANULARITY,
        0,
        0,
        len(DESCRIPTORS),
    )
    body += DESCRIPTORS
    return len(body).to_bytes(4, "big") + body
