"""RESERVE(6) and RELEASE(6) (SPC-2 7.21, 7.16): the old reservations, gone with the nexus or a reset."""

from __future__ import annotations

from labemu_scsi.access import Access
from labemu_scsi.cdb import CommandSpec
from labemu_scsi.command import GOOD, RESERVATION_CONFLICT, Command, Outcome
from labemu_scsi.sense import InvalidField
from labemu_scsi.unit import LogicalUnit


def reserve6(unit: LogicalUnit, command: Command) -> Outcome:
    """RESERVE(6). With persistent registrations it conflicts (SPC-4 5.13.3)."""
    if command.cdb[1] & 0x11:  # third-party, extents: obsolete
        raise InvalidField(pointer=1)
    if unit.persistent.keys:
        return RESERVATION_CONFLICT
    unit.reserved_by = command.nexus
    unit.update_guard()
    return GOOD


def release6(unit: LogicalUnit, command: Command) -> Outcome:
    """RELEASE(6): of somebody else's reservation it does nothing, and says GOOD."""
    if command.cdb[1] & 0x11:
        raise InvalidField(pointer=1)
    if unit.persistent.keys:
        return RESERVATION_CONFLICT
    if unit.reserved_by is command.nexus:
        unit.reserved_by = None
        unit.update_guard()
    return GOOD


COMMANDS = (
    CommandSpec(
        opcode=0x16, name="RESERVE(6)", usage="161fffffff07", handler=reserve6, access=Access.ALWAYS, medium=False
    ),
    CommandSpec(
        opcode=0x17, name="RELEASE(6)", usage="171fff000007", handler=release6, access=Access.ALWAYS, medium=False
    ),
)
