"""Vital product data pages (SPC-4 7.8, SBC-3 6.6)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from labemu_scsi.copy_page import third_party_copy
from labemu_scsi.limits import (
    GRANULARITY,
    MAX_ATOMIC_BYTES,
    MAX_COMPARE_BLOCKS,
    MAX_UNMAP_BLOCKS,
    MAX_UNMAP_DESCRIPTORS,
    MAX_WRITE_SAME_BLOCKS,
    OPTIMAL_TRANSFER_BYTES,
)

if TYPE_CHECKING:
    from labemu_scsi.nexus import Nexus
    from labemu_scsi.unit import LogicalUnit

_BINARY, _ASCII, _UTF8 = 1, 2, 3
_UNIT, _PORT, _DEVICE = 0x00, 0x10, 0x20
_ISCSI: Final = 0x5
_PIV: Final = 0x80


def _designator(code_set: int, kind: int, association: int, value: bytes) -> bytes:
    """SPC-4 table 592; a port's or a device's names the protocol too."""
    about_port = association != _UNIT
    first = (_ISCSI << 4 if about_port else 0) | code_set
    second = (_PIV if about_port else 0) | association | kind
    return bytes((first, second, 0, len(value))) + value


def _name_string(name: str) -> bytes:
    """A SCSI name string: NUL-terminated UTF-8, padded to four bytes (SPC-4 7.8.6.11)."""
    raw = name.encode() + b"\0"
    return raw + bytes(-len(raw) % 4)


def _supported(unit: LogicalUnit, nexus: Nexus) -> bytes:
    return bytes(sorted(PAGES))


def _serial(unit: LogicalUnit, nexus: Nexus) -> bytes:
    return unit.serial.encode("ascii", "replace")


def _identification(unit: LogicalUnit, nexus: Nexus) -> bytes:
    """Page 83h: what names the unit, the port that was asked and its group, and the device behind it."""
    group = []
    if nexus.group is not None:
        group.append(_designator(_BINARY, 5, _PORT, struct.pack(">HH", 0, nexus.group.identifier)))
    vendor = unit.vendor.encode()[:8].ljust(8) + unit.serial.encode("ascii", "replace")[:56]
    return b"".join(
        (
            _designator(_BINARY, 3, _UNIT, unit.naa),
            _designator(_ASCII, 1, _UNIT, vendor),
            _designator(_BINARY, 4, _PORT, struct.pack(">HH", 0, nexus.relative_port)),
            *group,
            _designator(_UTF8, 8, _PORT, _name_string(nexus.target_port)),
            _designator(_UTF8, 8, _DEVICE, _name_string(nexus.target_name)),
        )
    )


def _extended(unit: LogicalUnit, nexus: Nexus) -> bytes:
    """Page 86h: head of queue, ordered and simple tasks; no volatile cache that survives nothing."""
    body = bytearray(60)
    body[1] = 0x07  # HEADSUP, ORDSUP, SIMPSUP
    body[2] = 0x01 if unit.mode.write_cache else 0x00  # V_SUP
    return bytes(body)


def _block_limits(unit: LogicalUnit, nexus: Nexus) -> bytes:
    """Page B0h, SBC-3 6.6.4."""
    granularity = max(1, GRANULARITY >> unit.shift)
    return struct.pack(
        ">BBHIIIIIIIQIIIII",
        0,  # WSNZ: WRITE SAME of zero blocks goes up to the end
        MAX_COMPARE_BLOCKS,
        granularity,
        unit.max_transfer,
        OPTIMAL_TRANSFER_BYTES >> unit.shift,
        0,
        MAX_UNMAP_BLOCKS if unit.thin else 0,
        MAX_UNMAP_DESCRIPTORS if unit.thin else 0,
        max(granularity, unit.store.capabilities.granularity >> unit.shift) if unit.thin else 0,
        0x80000000 if unit.thin else 0,  # UGAVALID, alignment 0
        MAX_WRITE_SAME_BLOCKS,
        MAX_ATOMIC_BYTES >> unit.shift,
        0,  # atomic alignment: none is needed
        0,  # nor a granularity
        0,  # nor is there an atomic boundary
        0,
    )


def _characteristics(unit: LogicalUnit, nexus: Nexus) -> bytes:
    """Page B1h, SBC-3 6.6.2: no rotation; after a BLOCK ERASE reads succeed (WABEREQ 01b), where there is one."""
    return struct.pack(">HBB56x", 1, 0, 0x40 if unit.thin else 0)


def _provisioning(unit: LogicalUnit, nexus: Nexus) -> bytes:
    """Page B2h, SBC-3 6.6.6: thin with thresholds, UNMAP and WRITE SAME (10) and (16), reads zeroes; or fully provisioned."""
    return bytes((unit.threshold_exponent, 0xE4, 0x02, 0)) if unit.thin else bytes(4)


PAGES: Mapping[int, Callable[[LogicalUnit, Nexus], bytes]] = {
    0x00: _supported,
    0x80: _serial,
    0x83: _identification,
    0x86: _extended,
    0x8F: third_party_copy,
    0xB0: _block_limits,
    0xB1: _characteristics,
    0xB2: _provisioning,
}
"""What follows the four-byte header, by page code."""
