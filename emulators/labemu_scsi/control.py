"""The unit's life: TEST UNIT READY, REQUEST SENSE, START STOP UNIT, PREVENT ALLOW MEDIUM REMOVAL, SYNCHRONIZE CACHE."""

from __future__ import annotations

from labemu_scsi.access import Access
from labemu_scsi.alua import not_ready
from labemu_scsi.cdb import RW10, RW16, CommandSpec, cut
from labemu_scsi.command import GOOD, Command, Outcome, Response
from labemu_scsi.durable import flush_then
from labemu_scsi.sense import (
    CheckCondition,
    InvalidField,
    MediumNotPresent,
    NoSense,
    RemovalPrevented,
    UnitAttention,
)
from labemu_scsi.transfer import check_range
from labemu_scsi.unit import LogicalUnit

_START = 0x01
_LOEJ = 0x02
_NO_FLUSH = 0x04


def test_unit_ready(unit: LogicalUnit, command: Command) -> Outcome:
    """TEST UNIT READY, SPC-4 6.47; the guard has looked already."""
    return GOOD


def request_sense(unit: LogicalUnit, command: Command) -> Outcome:
    """REQUEST SENSE, SPC-4 6.39: a unit attention, or why the unit is not ready, as data."""
    code = unit.attentions.take(command.nexus)
    condition: CheckCondition
    if code is not None:
        condition = UnitAttention(code)
    elif (inaccessible := not_ready(command.nexus)) is not None:
        condition = inaccessible
    elif unit.wipe is not None:
        condition = unit.wipe.condition()
    elif not unit.loaded:
        condition = MediumNotPresent()
    else:
        condition = NoSense()
    return Response(0, cut(condition.sense(descriptor_format=bool(command.cdb[1] & 0x01)), command.cdb[4]))


def start_stop(unit: LogicalUnit, command: Command) -> Outcome:
    """START STOP UNIT, SBC-3 5.22: load and eject; stopping flushes, and there is nothing that would cease to spin."""
    flags = command.cdb[4]
    if flags & 0xF0:  # POWER CONDITION: then START and LOEJ are ignored (SBC-3 table 80)
        return GOOD
    starting = bool(flags & _START)
    if flags & _LOEJ:
        if not unit.removable:
            raise InvalidField(pointer=4, bit=1)
        if unit.removal_prevented_by:
            raise RemovalPrevented()
        unit.load(loaded=starting, nexus=command.nexus)
    return GOOD if starting or flags & _NO_FLUSH else flush_then(unit, GOOD)


def prevent_allow(unit: LogicalUnit, command: Command) -> Outcome:
    """PREVENT ALLOW MEDIUM REMOVAL, SBC-3 5.8."""
    prevent = command.cdb[4] & 0x03
    if prevent > 1:
        raise InvalidField(pointer=4, bit=1)
    if prevent:
        unit.removal_prevented_by.add(command.nexus)
    else:
        unit.removal_prevented_by.discard(command.nexus)
    return GOOD


def synchronize10(unit: LogicalUnit, command: Command) -> Outcome:
    """SYNCHRONIZE CACHE(10), SBC-3 5.23; the whole store, whatever the range. IMMED waits all the same: the safer half."""
    _, lba, count = RW10.unpack_from(command.cdb)
    check_range(unit, lba, count)
    return flush_then(unit, GOOD)


def synchronize16(unit: LogicalUnit, command: Command) -> Outcome:
    """SYNCHRONIZE CACHE(16), SBC-3 5.24."""
    _, lba, count = RW16.unpack_from(command.cdb)
    check_range(unit, lba, count)
    return flush_then(unit, GOOD)


COMMANDS = (
    CommandSpec(
        opcode=0x00, name="TEST UNIT READY", usage="000000000007", handler=test_unit_ready, access=Access.ALWAYS
    ),
    CommandSpec(
        opcode=0x03,
        name="REQUEST SENSE",
        usage="03010000ff07",
        handler=request_sense,
        access=Access.ALWAYS,
        attention=False,
        medium=False,
    ),
    CommandSpec(
        opcode=0x1B, name="START STOP UNIT", usage="1b01000ff707", handler=start_stop, access=Access.WRITE, medium=False
    ),
    CommandSpec(
        opcode=0x1E,
        name="PREVENT ALLOW MEDIUM REMOVAL",
        usage="1e0000000307",
        handler=prevent_allow,
        access=Access.ALWAYS,
        medium=False,
    ),
    CommandSpec(
        opcode=0x35,
        name="SYNCHRONIZE CACHE(10)",
        usage="3506ffffffff1fffff07",
        handler=synchronize10,
        access=Access.WRITE,
    ),
    CommandSpec(
        opcode=0x91,
        name="SYNCHRONIZE CACHE(16)",
        usage="9106ffffffffffffffffffffffff1f07",
        handler=synchronize16,
        access=Access.WRITE,
    ),
)
