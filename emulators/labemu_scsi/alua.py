"""Asymmetric logical unit access (SPC-4 5.15): REPORT and SET TARGET PORT GROUPS, and what a state keeps from being done."""

from __future__ import annotations

import struct
from typing import Final

from labemu_scsi.access import Access
from labemu_scsi.cdb import CommandSpec, cut
from labemu_scsi.command import GOOD, Command, Outcome, Response
from labemu_scsi.nexus import Nexus
from labemu_scsi.ports import SETTABLE, AccessState, Cause, PortGroup
from labemu_scsi.sense import (
    CheckCondition,
    InTransition,
    InvalidField,
    InvalidParameter,
    Offline,
    ParameterListLength,
    PortStandby,
    PortUnavailable,
)
from labemu_scsi.unit import LogicalUnit

_SUPPORTED: Final = 0xCF  # transitioning, offline, unavailable, standby, both active states; none depends on LBAs
_EXTENDED: Final = 1

_MAINTENANCE_IN, _MAINTENANCE_OUT = 0xA3, 0xA4
_ACTION: Final = 0x0A
_UNAVAILABLE_ALLOWS: Final = frozenset(
    (
        (0x12, None),  # INQUIRY
        (0xA0, None),  # REPORT LUNS
        (0x03, None),  # REQUEST SENSE
        (0x3B, None),  # WRITE BUFFER
        (0x3C, None),  # READ BUFFER
        (_MAINTENANCE_IN, _ACTION),
        (_MAINTENANCE_OUT, _ACTION),
    )
)
"""SPC-4 5.15.2.4.5: what a port answers even where the unit cannot be reached."""
_STANDBY_ALLOWS: Final = frozenset((0x4C, 0x4D, 0x15, 0x55, 0x1A, 0x5A, 0x1C, 0x1D, 0x5E, 0x5F))
"""SPC-4 5.15.2.4.4, beside those: LOG and MODE, diagnostics, and persistent reservations."""
_TRANSITION_ALLOWS: Final = _UNAVAILABLE_ALLOWS - {(_MAINTENANCE_OUT, _ACTION), (0x3B, None), (0x3C, None)}
"""SPC-4 5.15.2.5."""

_CONDITIONS: Final[dict[AccessState, type[CheckCondition]]] = {
    AccessState.STANDBY: PortStandby,
    AccessState.UNAVAILABLE: PortUnavailable,
    AccessState.OFFLINE: Offline,
    AccessState.TRANSITIONING: InTransition,
}


def not_ready(nexus: Nexus) -> CheckCondition | None:
    """Why the medium cannot be reached by this way, if so."""
    if nexus.group is None or nexus.group.state.active:
        return None
    return _CONDITIONS[nexus.group.state]()


def check(nexus: Nexus, row: CommandSpec) -> None:
    """Let a command pass, if the state of its target port allows it.

    Raises:
        CheckCondition: NOT READY, with the state.
    """
    condition = not_ready(nexus)
    if condition is None or nexus.group is None:
        return
    allowed = _TRANSITION_ALLOWS if nexus.group.state is AccessState.TRANSITIONING else _UNAVAILABLE_ALLOWS
    if (row.opcode, row.action) in allowed:
        return
    if nexus.group.state is AccessState.STANDBY and row.opcode in _STANDBY_ALLOWS:
        return
    raise condition


def report(unit: LogicalUnit, command: Command) -> Outcome:
    """REPORT TARGET PORT GROUPS, SPC-4 6.37, with the short header and the extended one."""
    layout = command.cdb[1] >> 5
    if layout > _EXTENDED:
        raise InvalidField(pointer=1, bit=7)
    body = b"" if layout != _EXTENDED else struct.pack(">BBxx", _EXTENDED << 4, 0)  # transitions take no time
    for identifier, group in sorted(unit.groups().items()):
        first = (0x80 if group.preferred else 0) | group.state
        body += struct.pack(">BBHxBxB", first, _SUPPORTED, identifier, group.cause, len(group.ports))
        body += b"".join(struct.pack(">xxH", port.relative) for port in group.ports)
    data = len(body).to_bytes(4, "big") + body
    return Response(0, cut(data, int.from_bytes(command.cdb[6:10], "big")))


def set_groups(unit: LogicalUnit, command: Command) -> Outcome:
    """SET TARGET PORT GROUPS, SPC-4 6.45: all of the list, or nothing where a part of it is wrong."""
    length = int.from_bytes(command.cdb[6:10], "big")
    if not length:
        return GOOD
    if length < 4 or length % 4 or len(command.data) < length:
        raise ParameterListLength()
    groups = unit.groups()
    wanted: list[tuple[PortGroup, AccessState]] = []
    for at in range(4, length, 4):
        first, identifier = struct.unpack_from(">BxH", command.data, at)
        try:
            state = AccessState(first & 0x0F)
        except ValueError:
            raise InvalidParameter(pointer=at, bit=3) from None
        if state not in SETTABLE:
            raise InvalidParameter(pointer=at, bit=3)
        if identifier not in groups:
            raise InvalidParameter(pointer=at + 2)
        wanted.append((groups[identifier], state))
    for group, state in wanted:
        if state is not group.state:
            _change(unit, group, state, command.nexus)
    return GOOD


def _change(unit: LogicalUnit, group: PortGroup, state: AccessState, nexus: Nexus) -> None:
    for home in unit.attentions.homes:
        if home.groups.get(group.identifier) is group:
            home.change_access(group, state, Cause.EXPLICIT, nexus)
            return


COMMANDS = (
    CommandSpec(
        opcode=_MAINTENANCE_IN,
        action=_ACTION,
        name="REPORT TARGET PORT GROUPS",
        usage="a3ff00000000ffffffff0007",
        handler=report,
        access=Access.ALWAYS,
        medium=False,
    ),
    CommandSpec(
        opcode=_MAINTENANCE_OUT,
        action=_ACTION,
        name="SET TARGET PORT GROUPS",
        usage="a41f00000000ffffffff0007",
        handler=set_groups,
        access=Access.WRITE,
        medium=False,
    ),
)
