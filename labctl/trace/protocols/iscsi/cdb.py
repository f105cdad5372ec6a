"""Command descriptor blocks: names, and what they read or write (SPC-4, SBC-3, and for tapes and changers SSC-4 and SMC-3)."""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Final, NamedTuple

_NAMES: Final[dict[int, str]] = {
    0x00: "TEST UNIT READY", 0x01: "REZERO UNIT", 0x03: "REQUEST SENSE", 0x04: "FORMAT UNIT", 0x05: "READ BLOCK LIMITS",
    0x07: "REASSIGN BLOCKS", 0x08: "READ(6)", 0x0A: "WRITE(6)", 0x0B: "SEEK(6)", 0x0F: "READ REVERSE(6)", 0x10: "WRITE FILEMARKS(6)",
    0x11: "SPACE(6)", 0x12: "INQUIRY", 0x13: "VERIFY(6)", 0x14: "RECOVER BUFFERED DATA", 0x15: "MODE SELECT(6)", 0x16: "RESERVE(6)",
    0x17: "RELEASE(6)", 0x18: "COPY", 0x19: "ERASE(6)", 0x1A: "MODE SENSE(6)", 0x1B: "START STOP UNIT",
    0x1C: "RECEIVE DIAGNOSTIC RESULTS", 0x1D: "SEND DIAGNOSTIC", 0x1E: "PREVENT ALLOW MEDIUM REMOVAL", 0x23: "READ FORMAT CAPACITIES",
    0x25: "READ CAPACITY(10)", 0x28: "READ(10)", 0x2A: "WRITE(10)", 0x2B: "SEEK(10)", 0x2E: "WRITE AND VERIFY(10)",
    0x2F: "VERIFY(10)", 0x33: "SET LIMITS(10)", 0x34: "PRE-FETCH(10)", 0x35: "SYNCHRONIZE CACHE(10)", 0x36: "LOCK UNLOCK CACHE(10)",
    0x37: "READ DEFECT DATA(10)", 0x39: "COMPARE", 0x3A: "COPY AND VERIFY", 0x3B: "WRITE BUFFER", 0x3C: "READ BUFFER(10)",
    0x3E: "READ LONG(10)", 0x3F: "WRITE LONG(10)", 0x40: "CHANGE DEFINITION", 0x41: "WRITE SAME(10)", 0x42: "UNMAP",
        0x43: "READ TOC/PMA/ATIP",
    0x46: "GET CONFIGURATION", 0x4A: "GET EVENT STATUS NOTIFICATION", 0x4C: "LOG SELECT", 0x4D: "LOG SENSE",
    0x50: "XDWRITE(10)", 0x51: "XPWRITE(10)", 0x52: "XDREAD(10)", 0x53: "XDWRITEREAD(10)", 0x55: "MODE SELECT(10)",
    0x56: "RESERVE(10)", 0x57: "RELEASE(10)", 0x5A: "MODE SENSE(10)", 0x80: "XDWRITE EXTENDED(16)", 0x81: "REBUILD(16)",
    0x82: "REGENERATE(16)", 0x85: "ATA PASS-THROUGH(16)", 0x86: "ACCESS CONTROL IN", 0x87: "ACCESS CONTROL OUT", 0x88: "READ(16)",
    0x89: "COMPARE AND WRITE", 0x8A: "WRITE(16)", 0x8B: "ORWRITE(16)", 0x8C: "READ ATTRIBUTE", 0x8D: "WRITE ATTRIBUTE",
    0x8E: "WRITE AND VERIFY(16)", 0x8F: "VERIFY(16)", 0x90: "PRE-FETCH(16)", 0x91: "SYNCHRONIZE CACHE(16)", 0x92: "LOCK UNLOCK CACHE(16)",
    0x93: "WRITE SAME(16)", 0x95: "ZBC IN", 0x94: "ZBC OUT", 0x9C: "WRITE ATOMIC(16)", 0xA0: "REPORT LUNS", 0xA1: "ATA PASS-THROUGH(12)",
    0xA2: "SECURITY PROTOCOL IN", 0xA5: "MOVE MEDIUM", 0xA7: "MOVE MEDIUM ATTACHED", 0xA8: "READ(12)", 0xAA: "WRITE(12)",
    0xAC: "ERASE(12)", 0xAE: "WRITE AND VERIFY(12)", 0xAF: "VERIFY(12)", 0xB5: "SECURITY PROTOCOL OUT", 0xB7: "READ DEFECT DATA(12)",
    0xB8: "READ ELEMENT STATUS",
}  # fmt: skip
_ACTIONS: Final[dict[int, tuple[str, dict[int, str]]]] = {
    0x48: ("SANITIZE", {1: "SANITIZE OVERWRITE", 2: "SANITIZE BLOCK ERASE", 3: "SANITIZE CRYPTOGRAPHIC ERASE",
        0x1F: "SANITIZE EXIT FAILURE MODE"}),
    0x5E: ("PERSISTENT RESERVE IN", {0: "READ KEYS", 1: "READ RESERVATION", 2: "REPORT CAPABILITIES", 3: "READ FULL STATUS"}),
    0x5F: ("PERSISTENT RESERVE OUT", {
        0: "REGISTER", 1: "RESERVE", 2: "RELEASE", 3: "CLEAR", 4: "PREEMPT", 5: "PREEMPT AND ABORT", 6: "REGISTER AND IGNORE EXISTING KEY",
        7: "REGISTER AND MOVE", 8: "REPLACE LOST RESERVATION",
    }),
    0x83: ("EXTENDED COPY", {0: "EXTENDED COPY(LID1)", 1: "EXTENDED COPY(LID4)", 0x10: "POPULATE TOKEN", 0x11: "WRITE USING TOKEN",
        0x1C: "COPY OPERATION ABORT"}),
    0x84: ("RECEIVE COPY RESULTS", {
        0: "RECEIVE COPY STATUS(LID1)", 1: "RECEIVE COPY DATA(LID1)", 3: "RECEIVE COPY OPERATING PARAMETERS",
        4: "RECEIVE COPY FAILURE DETAILS(LID1)", 5: "RECEIVE COPY STATUS(LID4)", 6: "RECEIVE COPY DATA(LID4)",
            7: "RECEIVE ROD TOKEN INFORMATION",
        8: "REPORT ALL ROD TOKENS",
    }),
    0x9E: ("SERVICE ACTION IN(16)", {0x10: "READ CAPACITY(16)", 0x11: "READ LONG(16)", 0x12: "GET LBA STATUS",
        0x13: "REPORT REFERRALS", 0x14: "STREAM CONTROL", 0x15: "BACKGROUND CONTROL"}),
    0x9F: ("SERVICE ACTION OUT(16)", {0x11: "WRITE LONG(16)"}),
    0xA3: ("MAINTENANCE IN", {
        5: "REPORT IDENTIFYING INFORMATION", 0x0A: "REPORT TARGET PORT GROUPS", 0x0B: "REPORT ALIASES",
            0x0C: "REPORT SUPPORTED OPERATION CODES",
        0x0D: "REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS", 0x0E: "REPORT PRIORITY", 0x0F: "REPORT TIMESTAMP",
            0x10: "MANAGEMENT PROTOCOL IN",
    }),
    0xA4: ("MAINTENANCE OUT", {6: "SET IDENTIFYING INFORMATION", 0x0A: "SET TARGET PORT GROUPS", 0x0B: "CHANGE ALIASES",
        0x0E: "SET PRIORITY", 0x0F: "SET TIMESTAMP", 0x10: "MANAGEMENT PROTOCOL OUT"}),
    0x7F: ("VARIABLE LENGTH CDB", {3: "XDREAD(32)", 4: "XDWRITE(32)", 6: "XPWRITE(32)", 7: "XDWRITEREAD(32)", 9: "READ(32)",
        0x0A: "VERIFY(32)", 0x0B: "WRITE(32)", 0x0C: "WRITE AND VERIFY(32)", 0x0D: "WRITE SAME(32)", 0x0E: "ORWRITE(32)"}),
}  # fmt: skip

_RW10: Final = struct.Struct(">2xIxH")
_RW12: Final = struct.Struct(">2xII")
_RW16: Final = struct.Struct(">2xQI")
_LAYOUTS: Final[dict[int, struct.Struct]] = {
    **dict.fromkeys((0x28, 0x2A, 0x2E, 0x2F, 0x34, 0x35, 0x36, 0x41, 0x50, 0x51, 0x52, 0x53), _RW10),
    **dict.fromkeys((0xA8, 0xAA, 0xAE, 0xAF), _RW12),
    **dict.fromkeys((0x88, 0x8A, 0x8B, 0x8E, 0x8F, 0x90, 0x91, 0x92, 0x93), _RW16),
}
_ALLOCATION: Final[dict[int, tuple[int, int]]] = {  # where the allocation or parameter list length stands, and its bytes
    0x03: (4, 1), 0x12: (3, 2), 0x15: (4, 1), 0x1A: (4, 1), 0x1C: (3, 2), 0x1D: (3, 2), 0x3B: (6, 3), 0x3C: (6, 3),
    0x42: (7, 2), 0x4C: (7, 2), 0x4D: (7, 2), 0x55: (7, 2), 0x5A: (7, 2), 0x5E: (7, 2), 0x5F: (5, 4), 0x83: (10, 4), 0x84: (10, 4),
    0x8C: (10, 4), 0x9E: (10, 4), 0xA0: (6, 4), 0xA2: (6, 4), 0xA3: (6, 4), 0xA4: (6, 4), 0xB5: (6, 4), 0x37: (7, 2), 0xB7: (6, 4),
}  # fmt: skip


class Request(NamedTuple):
    """What a CDB asks for.

    Args:
        name: the standard's.
        block: the first logical block, or None.
        blocks: how many, or None.
        length: bytes of parameter data, where it is not about blocks, or None.
    """

    name: str
    block: int | None = None
    blocks: int | None = None
    length: int | None = None


@lru_cache(maxsize=256)
def name_of(opcode: int, action: int) -> str:
    """A command's name; a service action's own where it has one."""
    if opcode in _ACTIONS:
        group, actions = _ACTIONS[opcode]
        return (
            actions.get(action, f"{group} {action:#x}")
            if opcode not in (0x5E, 0x5F)
            else _reserve(group, actions, action)
        )
    return _NAMES.get(opcode, f"opcode {opcode:#04x}")


def _reserve(group: str, actions: dict[int, str], action: int) -> str:
    return f"{group} {actions.get(action, hex(action))}"


def read_cdb(cdb: bytes) -> Request:
    """What a CDB asks for.

    Args:
        cdb: its first 16 bytes at least, and all of one of variable length.
    """
    opcode = cdb[0]
    layout = _LAYOUTS.get(opcode)
    if layout is not None:
        block, blocks = layout.unpack_from(cdb)
        return Request(_NAMES[opcode], block, blocks)
    if opcode in (0x08, 0x0A):  # SBC-3 5.7: 0 means 256
        return Request(_NAMES[opcode], (cdb[1] & 0x1F) << 16 | cdb[2] << 8 | cdb[3], cdb[4] or 256)
    if opcode == 0x89:  # SBC-3 5.2: one byte of length
        return Request(_NAMES[opcode], int.from_bytes(cdb[2:10], "big"), cdb[13])
    if opcode == 0x9C:  # SBC-4 5.42
        return Request(_NAMES[opcode], int.from_bytes(cdb[2:10], "big"), int.from_bytes(cdb[12:14], "big"))
    if opcode == 0x7F:
        return _variable(cdb)
    name = name_of(opcode, cdb[1] & 0x1F)
    if opcode == 0x9E and cdb[1] & 0x1F == 0x12:  # GET LBA STATUS
        return Request(name, int.from_bytes(cdb[2:10], "big"), None, int.from_bytes(cdb[10:14], "big"))
    if opcode == 0x84 and cdb[1] & 0x1F == 0x07:
        return Request(name, None, None, int.from_bytes(cdb[10:14], "big"))
    place, size = _ALLOCATION.get(opcode, (0, 0))
    return Request(name, None, None, int.from_bytes(cdb[place : place + size], "big") if size else None)


def _variable(cdb: bytes) -> Request:
    """SPC-4 4.2.3: the service action at byte 8; READ(32) and its kin have the block at 12 and the length at 28."""
    action = int.from_bytes(cdb[8:10], "big")
    name = name_of(0x7F, action)
    if len(cdb) < 32 or action not in (9, 10, 11, 12, 13, 14):
        return Request(name)
    return Request(name, int.from_bytes(cdb[12:20], "big"), int.from_bytes(cdb[28:32], "big"))


def unmap_ranges(data: bytes) -> list[tuple[int, int]]:
    """The blocks that UNMAP's parameter list names (SBC-3 5.28): first block and count of each."""
    end = min(len(data), 8 + int.from_bytes(data[2:4], "big"))
    return [struct.unpack_from(">QI", data, at) for at in range(8, end - 15, 16)]
