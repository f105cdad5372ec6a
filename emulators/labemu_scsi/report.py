"""What the device tells of itself: REPORT SUPPORTED OPERATION CODES and TASK MANAGEMENT FUNCTIONS (SPC-4 6.35, 6.36)."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Final

from labemu_scsi.access import Access
from labemu_scsi.cdb import CommandSpec, cut
from labemu_scsi.command import Command, Outcome, Response
from labemu_scsi.sense import InvalidField
from labemu_scsi.table import UNIT_COMMANDS, Entry, index
from labemu_scsi.unit import LogicalUnit

_RCTD: Final = 0x80
_TIMEOUTS: Final = b"\x00\x0a" + bytes(10)  # no times are promised (SPC-4 6.35.4)
_SUPPORTED: Final = 0x03
_NOT_SUPPORTED: Final = 0x01


def report_opcodes(unit: LogicalUnit, command: Command) -> Outcome:
    """REPORT SUPPORTED OPERATION CODES, SPC-4 6.35."""
    cdb = command.cdb
    options, opcode, action = cdb[2] & 0x07, cdb[3], int.from_bytes(cdb[4:6], "big")
    with_timeouts = bool(cdb[2] & _RCTD)
    if options == 0:
        body = b"".join(_descriptor(row, with_timeouts=with_timeouts) for row in ROWS if unit.thin or not row.thin)
        data = len(body).to_bytes(4, "big") + body
    else:
        row = _find(options, opcode, action)
        if row is not None and row.thin and not unit.thin:
            row = None
        data = _one(row, with_timeouts=with_timeouts)
    return Response(0, cut(data, int.from_bytes(cdb[6:10], "big")))


def _descriptor(row: CommandSpec, *, with_timeouts: bool) -> bytes:
    flags = (0x02 if with_timeouts else 0) | (0x01 if row.action is not None else 0)
    head = struct.pack(">BxHxBH", row.opcode, row.action or 0, flags, len(row.usage_map))
    return head + (_TIMEOUTS if with_timeouts else b"")


def _find(options: int, opcode: int, action: int) -> CommandSpec | None:
    """The row asked for; an option that does not fit the opcode is an error (SPC-4 table 276)."""
    entry = TABLE[opcode]
    has_actions = isinstance(entry, Mapping)
    if options == 1:
        if has_actions:
            raise InvalidField(pointer=2, bit=2)
    elif options == 2:
        if entry is not None and not has_actions:
            raise InvalidField(pointer=2, bit=2)
    elif options == 3:
        if not has_actions and action:
            return None
    else:
        raise InvalidField(pointer=2, bit=2)
    return entry.get(action) if isinstance(entry, Mapping) else entry


def _one(row: CommandSpec | None, *, with_timeouts: bool) -> bytes:
    if row is None:
        return bytes((0, _NOT_SUPPORTED, 0, 0))
    usage = row.usage_map
    head = bytes((0, _SUPPORTED | (0x80 if with_timeouts else 0))) + len(usage).to_bytes(2, "big")
    return head + usage + (_TIMEOUTS if with_timeouts else b"")


def report_task_management(unit: LogicalUnit, command: Command) -> Outcome:
    """REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS, SPC-4 6.36."""
    flags = 0x80 | 0x40 | 0x10 | 0x08 | 0x02  # abort task, abort task set, clear task set, LU reset, target reset
    extended = bool(command.cdb[2] & 0x80)
    data = bytes((flags, 0, 0, 12)) + bytes(12) if extended else bytes((flags, 0, 0, 0))
    return Response(0, cut(data, int.from_bytes(command.cdb[6:10], "big")))


COMMANDS: Final = (
    CommandSpec(
        opcode=0xA3,
        action=0x0C,
        name="REPORT SUPPORTED OPERATION CODES",
        usage="a31f87ffffffffffffff0007",
        handler=report_opcodes,
        access=Access.ALWAYS,
        medium=False,
    ),
    CommandSpec(
        opcode=0xA3,
        action=0x0D,
        name="REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS",
        usage="a31f80000000ffffffff0007",
        handler=report_task_management,
        access=Access.ALWAYS,
        medium=False,
    ),
)


def _report_luns_place(unit: LogicalUnit, command: Command) -> Outcome:
    """REPORT LUNS is the device's, which answers it before any unit is asked."""
    raise InvalidField(pointer=0)


REPORT_LUNS: Final = CommandSpec(
    opcode=0xA0,
    name="REPORT LUNS",
    usage="a000ff000000ffffffff0007",
    handler=_report_luns_place,
    access=Access.ALWAYS,
    attention=False,
    medium=False,
)

ROWS: Final[Sequence[CommandSpec]] = sorted(
    (*UNIT_COMMANDS, *COMMANDS, REPORT_LUNS), key=lambda row: (row.opcode, row.action or 0)
)
TABLE: Final[list[Entry]] = index(ROWS)
