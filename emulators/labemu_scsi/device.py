"""The device server (SAM-5 4.5): logical units behind a target, and the way of a command to its handler.

The order of checks is the standard's (SPC-4 4.4.5, SAM-5 5.14): is there such a unit, is the operation known, is a unit attention
pending, does a reservation conflict, is the medium ready. The fast path pays for them with two lookups and a flag.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set

from labemu_scsi import alua
from labemu_scsi.access import Access
from labemu_scsi.cdb import CommandSpec, cut
from labemu_scsi.command import RESERVATION_CONFLICT, Command, Outcome, Response, Status
from labemu_scsi.inquiry import NO_UNIT, standard
from labemu_scsi.limits import MAX_LUN
from labemu_scsi.nexus import ACCESS_STATE_CHANGED, LUNS_CHANGED, POWER_ON, Attentions, Nexus
from labemu_scsi.ports import AccessState, Cause, PortGroup
from labemu_scsi.report import REPORT_LUNS, TABLE
from labemu_scsi.sense import (
    CheckCondition,
    InvalidField,
    InvalidOpcode,
    MediumNotPresent,
    UnitAttention,
    UnitNotSupported,
    from_os_error,
)
from labemu_scsi.space import check as check_thresholds
from labemu_scsi.unit import LogicalUnit

_INQUIRY, _REQUEST_SENSE, _REPORT_LUNS = 0x12, 0x03, 0xA0
_RESERVE6_ALLOWS = frozenset((_INQUIRY, _REQUEST_SENSE, _REPORT_LUNS, 0x17))  # SPC-2 5.5.1
_SELECT_REPORT = (0x00, 0x01, 0x02)


def encode_lun(number: int) -> bytes:
    """The eight bytes of a single-level LUN: peripheral addressing below 256, flat above (SAM-5 4.7.7)."""
    if not 0 <= number <= MAX_LUN:
        raise ValueError(f"a LUN is between 0 and {MAX_LUN}, not {number}")
    return (number if number < 256 else 0x4000 | number).to_bytes(2, "big") + bytes(6)


def _flat(number: int) -> bytes:
    """The same by flat addressing."""
    return (0x4000 | number).to_bytes(2, "big") + bytes(6)


class Device:
    """A SCSI target device: what a transport talks to. A unit may be in several.

    `nexuses` are all that there are, `groups` the target port groups by identifier; `abort` is the transport's way of ending what nexuses
    have under way at a unit.
    """

    def __init__(self) -> None:
        self._numbers: dict[int, LogicalUnit] = {}
        self._units: dict[bytes, LogicalUnit] = {}
        self.nexuses: set[Nexus] = set()
        self.groups: dict[int, PortGroup] = {}
        self.abort: Callable[[LogicalUnit, Set[Nexus]], set[Nexus]] = lambda _unit, _nexuses: set()

    @property
    def units(self) -> Mapping[int, LogicalUnit]:
        """The units by number."""
        return self._numbers

    def add_unit(self, number: int, unit: LogicalUnit) -> None:
        """Put a unit at a LUN; every nexus is told that the inventory changed.

        Raises:
            ValueError: the number is out of range or taken.
        """
        if number in self._numbers:
            raise ValueError(f"LUN {number} is taken")
        key = encode_lun(number)
        self._announce()
        self._numbers[number] = unit
        self._units[key] = unit
        if number < 256:  # initiators may use flat addressing for these as well
            self._units[_flat(number)] = unit
        if self not in unit.attentions.homes:
            unit.attentions.homes.append(self)

    def remove_unit(self, number: int) -> LogicalUnit:
        """Take a unit away, and give it back for its store to be closed.

        Raises:
            KeyError: there is none.
        """
        unit = self._numbers.pop(number)
        for key in (encode_lun(number), _flat(number)):
            self._units.pop(key, None)
        if unit not in self._numbers.values():
            unit.attentions.homes.remove(self)
            for nexus in unit.attentions.known & self.nexuses:
                unit.detach(nexus)
        self._announce()
        return unit

    def _announce(self) -> None:
        for unit in self._numbers.values():
            unit.attentions.establish_for_known(None, LUNS_CHANGED)

    def change_access(self, group: PortGroup, state: AccessState, cause: Cause, nexus: Nexus | None) -> None:
        """Bring one of the groups into a state; whoever knows a unit here is told, but not `nexus`, which ordered it."""
        group.state, group.cause = state, cause
        for unit in set(self._numbers.values()):
            unit.attentions.establish_for_known(nexus, ACCESS_STATE_CHANGED)
            for each in unit.attentions.known:
                unit.attentions.settle(each)

    def abort_tasks(self, attentions: Attentions, nexuses: Set[Nexus]) -> set[Nexus]:
        """End what these nexuses have under way at the unit with these attentions; returns those that no status tells of it."""
        unit = next((unit for unit in self._numbers.values() if unit.attentions is attentions), None)
        return set() if unit is None else self.abort(unit, nexuses)

    def attach(self, nexus: Nexus, code: tuple[int, int] = POWER_ON) -> None:
        """A nexus came to be; its units tell it `code` first. One step, whatever the number of units."""
        nexus.first = code
        self.nexuses.add(nexus)

    def detach(self, nexus: Nexus) -> None:
        """A nexus is lost."""
        self.nexuses.discard(nexus)
        for attentions in list(nexus.seen):
            attentions.lost(nexus)

    def unit_at(self, lun: bytes) -> LogicalUnit | None:
        """The unit that eight bytes of LUN name."""
        return self._units.get(lun)

    def reset(self) -> None:
        """Reset every unit."""
        for unit in self._numbers.values():
            unit.reset()

    def execute(self, lun: bytes, command: Command) -> Outcome:
        """Do a command, or say how it is to be done.

        Returns:
            a Response, also for whatever goes wrong; or a Deferred, whose work is to go through `finish`.
        """
        unit = self._units.get(lun)
        cdb = command.cdb
        try:
            if unit is None:
                return self._without_unit(lun, command)
            entry = TABLE[cdb[0]]
            row = entry if entry.__class__ is CommandSpec else _by_action(entry, cdb)
            if unit.guarded or command.nexus not in unit.attentions.quiet:
                refusal = _guard(unit, row, command)
                if refusal is not None:
                    return refusal
                if unit.faults is not None:
                    return unit.faults.execute(row.name, command, lambda: self._watched(unit, row, command))
                if unit.watch is not None:
                    return self._watched(unit, row, command)
            return self._report_luns(command) if row is REPORT_LUNS else row.handler(unit, command)
        except (CheckCondition, OSError) as error:
            return _failure(unit, error, writing=_is_write(cdb))

    def _watched(self, unit: LogicalUnit, row: CommandSpec, command: Command) -> Outcome:
        if unit.watch is None:
            return self._run(unit, row, command)
        return unit.watch.execute(row.name, command, lambda: self._run(unit, row, command))

    def _run(self, unit: LogicalUnit, row: CommandSpec, command: Command) -> Outcome:
        return self._report_luns(command) if row is REPORT_LUNS else row.handler(unit, command)

    def finish(self, lun: bytes, command: Command, work: Callable[[], Response]) -> Response:
        """Do the work of a Deferred; what it raises becomes a response."""
        try:
            return work()
        except (CheckCondition, OSError) as error:
            return _failure(self._units.get(lun), error, writing=_is_write(command.cdb))

    def _without_unit(self, lun: bytes, command: Command) -> Response:
        """SPC-4 6.6.1, SAM-5 5.12: what may be asked of a LUN where nothing is."""
        cdb = command.cdb
        if cdb[0] == _INQUIRY:
            if cdb[1] & 0x03 or cdb[2]:
                raise InvalidField(pointer=1)
            data = standard(NO_UNIT, removable=False, vendor="LABCTL", product="", revision="")
            return Response(0, cut(data, int.from_bytes(cdb[3:5], "big")))
        if cdb[0] == _REPORT_LUNS and lun == bytes(8):
            return self._report_luns(command)
        if cdb[0] == _REQUEST_SENSE:
            return Response(0, cut(UnitNotSupported().sense(), cdb[4]))
        raise UnitNotSupported()

    def _report_luns(self, command: Command) -> Response:
        """REPORT LUNS, SPC-4 6.33."""
        cdb = command.cdb
        allocation = int.from_bytes(cdb[6:10], "big")
        if cdb[2] not in _SELECT_REPORT:
            raise InvalidField(pointer=2)
        if allocation < 16:
            raise InvalidField(pointer=6)
        for unit in self._numbers.values():
            unit.attentions.drop(command.nexus, LUNS_CHANGED)
        numbers = [] if cdb[2] == 0x01 else sorted(self._numbers)
        body = b"".join(map(encode_lun, numbers))
        return Response(0, cut(len(body).to_bytes(4, "big") + bytes(4) + body, allocation))


def _by_action(entry: CommandSpec | Mapping[int, CommandSpec] | None, cdb: bytes) -> CommandSpec:
    if entry is None:
        raise InvalidOpcode(pointer=0)
    if isinstance(entry, CommandSpec):
        return entry
    row = entry.get(cdb[1] & 0x1F)
    if row is None:
        raise InvalidField(pointer=1, bit=4)
    return row


def _guard(unit: LogicalUnit, row: CommandSpec, command: Command) -> Response | None:
    """What stands in a command's way, if anything."""
    unit.attentions.meet(command.nexus)
    if unit.armed:
        check_thresholds(unit, command.nexus)
    if row.attention:
        code = unit.attentions.take(command.nexus)
        if code is not None:
            raise UnitAttention(code)
    if unit.reserved_by not in (None, command.nexus) and row.opcode not in _RESERVE6_ALLOWS:
        return RESERVATION_CONFLICT
    if row.access is not Access.ALWAYS and unit.persistent.forbids(command.nexus, row.access):
        return RESERVATION_CONFLICT
    if not command.nexus.accessible:
        alua.check(command.nexus, row)
    if unit.wipe is not None:
        unit.wipe.check(row.opcode)
    if row.medium and not unit.loaded:
        raise MediumNotPresent()
    return None


def _is_write(cdb: bytes) -> bool:
    entry = TABLE[cdb[0]]
    return isinstance(entry, CommandSpec) and entry.access is Access.WRITE


def _failure(unit: LogicalUnit | None, error: CheckCondition | OSError, *, writing: bool) -> Response:
    condition = error if isinstance(error, CheckCondition) else from_os_error(error, writing=writing)
    descriptor_format = unit is not None and unit.mode.descriptor_sense
    return Response(Status.CHECK_CONDITION, b"", condition.sense(descriptor_format=descriptor_format))
