"""How large the unit is: READ CAPACITY (10) and (16), and the defect lists, which are empty."""

from __future__ import annotations

import struct

from labemu_scsi.access import Access
from labemu_scsi.cdb import CommandSpec, cut
from labemu_scsi.command import Command, Outcome, Response
from labemu_scsi.sense import InvalidField
from labemu_scsi.unit import LogicalUnit

_LBPME = 0x8000  # thin
_LBPRZ = 0x4000  # unmapped blocks read as zeroes


def read_capacity10(unit: LogicalUnit, command: Command) -> Outcome:
    """READ CAPACITY(10), SBC-3 5.15: all ones when (16) must be asked."""
    cdb = command.cdb
    if not cdb[8] & 0x01 and any(cdb[2:6]):  # an LBA without PMI
        raise InvalidField(pointer=2)
    return Response(0, struct.pack(">II", min(unit.blocks - 1, 0xFFFFFFFF), unit.block_size))


def read_capacity16(unit: LogicalUnit, command: Command) -> Outcome:
    """READ CAPACITY(16), SBC-3 5.16."""
    provisioning = _LBPME | _LBPRZ if unit.thin else 0
    data = struct.pack(">QIxBH16x", unit.blocks - 1, unit.block_size, unit.physical_exponent, provisioning)
    return Response(0, cut(data, int.from_bytes(command.cdb[10:14], "big")))


def read_defects10(unit: LogicalUnit, command: Command) -> Outcome:
    """READ DEFECT DATA(10), SBC-3 5.17: both lists, empty."""
    data = bytes((0, command.cdb[2] & 0x1F, 0, 0))
    return Response(0, cut(data, int.from_bytes(command.cdb[7:9], "big")))


def read_defects12(unit: LogicalUnit, command: Command) -> Outcome:
    """READ DEFECT DATA(12), SBC-3 5.18: both lists, empty."""
    data = bytes((0, command.cdb[1] & 0x1F, 0, 0, 0, 0, 0, 0))
    return Response(0, cut(data, int.from_bytes(command.cdb[6:10], "big")))


_A = Access.ALWAYS

COMMANDS = (
    CommandSpec(
        opcode=0x25, name="READ CAPACITY(10)", usage="2500ffffffff00000107", handler=read_capacity10, access=_A
    ),
    CommandSpec(
        opcode=0x9E,
        action=0x10,
        name="READ CAPACITY(16)",
        usage="9e1fffffffffffffffffffffffff0107",
        handler=read_capacity16,
        access=_A,
    ),
    CommandSpec(
        opcode=0x37,
        name="READ DEFECT DATA(10)",
        usage="37001f00000000ffff07",
        handler=read_defects10,
        access=Access.READ,
    ),
    CommandSpec(
        opcode=0xB7,
        name="READ DEFECT DATA(12)",
        usage="b71fffffffffffffffff0007",
        handler=read_defects12,
        access=Access.READ,
    ),
)
