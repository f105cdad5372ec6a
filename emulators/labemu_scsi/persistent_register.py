"""The registering half of PERSISTENT RESERVE OUT (SPC-4 5.13.7, 5.13.8): REGISTER, REGISTER AND IGNORE EXISTING KEY, REGISTER AND MOVE."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

from labemu_scsi import transport_id
from labemu_scsi.command import GOOD, RESERVATION_CONFLICT, Command, Outcome
from labemu_scsi.limits import MAX_REGISTRATIONS
from labemu_scsi.nexus import RESERVATIONS_RELEASED
from labemu_scsi.persistent_state import ALL_REGISTRANTS, REGISTRANTS_ONLY, Holder, Registrant
from labemu_scsi.ports import TargetPort
from labemu_scsi.sense import InvalidField, InvalidParameter, OutOfRegistrations, ParameterListLength
from labemu_scsi.unit import LogicalUnit

APTPL: Final = 0x01
ALL_TG_PT: Final = 0x04
SPEC_I_PT: Final = 0x08
LIST_LENGTH: Final = 24
_UNREG: Final = 0x02


def length_of(command: Command) -> int:
    """The parameter list's length; the list is there (SPC-4 6.16.1).

    Raises:
        ParameterListLength: it is short.
    """
    length = int.from_bytes(command.cdb[5:9], "big")
    if length < LIST_LENGTH or len(command.data) < length:
        raise ParameterListLength()
    return length


def release(unit: LogicalUnit, command: Command) -> None:
    """End the reservation, and tell the other registrants of those types that concern them (SPC-4 5.13.11.2)."""
    holder = unit.persistent.holder
    unit.persistent.holder = None
    if holder is not None and (holder.type in ALL_REGISTRANTS or holder.type in REGISTRANTS_ONLY):
        tell(unit, unit.persistent.keys, RESERVATIONS_RELEASED, but=command)


def tell(unit: LogicalUnit, registrants: Iterable[Registrant], code: tuple[int, int], *, but: Command) -> None:
    """Queue a unit attention for registrants that are there, except whoever sent the command."""
    told = set(registrants)
    for nexus in list(unit.attentions.nexuses()):
        if nexus is not but.nexus and Registrant.of(nexus) in told:
            unit.attentions.establish(nexus, code)


def _unregister(unit: LogicalUnit, command: Command, registrant: Registrant) -> None:
    state = unit.persistent
    held = state.is_holder(registrant)
    del state.keys[registrant]
    if not held or state.holder is None:
        return
    if state.holder.type not in ALL_REGISTRANTS or not state.keys:  # the last of them takes it along
        release(unit, command)


def _ports(unit: LogicalUnit) -> list[TargetPort]:
    return [port for _, group in sorted(unit.groups().items()) for port in group.ports]


def _initiator_ports(unit: LogicalUnit, name: str, target_port: str) -> list[str]:
    """The initiator ports that a TransportID means: itself, or with a name alone those that are logged in there."""
    if ",i,0x" in name:
        return [name]
    nexuses = (each for each in unit.attentions.nexuses() if each.target_port == target_port)
    return sorted({each.initiator_port for each in nexuses if each.initiator_port.startswith(f"{name},i,")})


def _specified(unit: LogicalUnit, command: Command, length: int) -> list[str]:
    """The initiator ports of SPEC_I_PT (SPC-4 6.16.3)."""
    if length < LIST_LENGTH + 4:
        raise ParameterListLength()
    data = bytes(command.data[:length])
    end = LIST_LENGTH + 4 + int.from_bytes(data[24:28], "big")
    if end != length:
        raise ParameterListLength()
    at, names = LIST_LENGTH + 4, []
    while at < end:
        name, following = transport_id.decode(data, at, end)
        found = _initiator_ports(unit, name, command.nexus.target_port)
        if not found:
            raise InvalidParameter(pointer=at)
        names += found
        at = following
    return names


def _registrants(unit: LogicalUnit, command: Command, initiators: list[str], *, everywhere: bool) -> list[Registrant]:
    """One for each initiator port, at the port that was asked or, with ALL_TG_PT, at all of the target device."""
    nexus = command.nexus
    places = [(nexus.target_port, nexus.relative_port)]
    if everywhere:
        more = [(port.name, port.relative) for port in _ports(unit) if port.device == nexus.target_name]
        places += [place for place in more if place != places[0]]
    return [Registrant(initiator, *place) for initiator in initiators for place in places]


def _register(unit: LogicalUnit, command: Command, *, ignore: bool) -> Outcome:
    length = length_of(command)
    key, action_key, flags = struct.unpack_from(">QQ4xB", command.data)
    state, registrant = unit.persistent, Registrant.of(command.nexus)
    _check_flags(unit, flags, length, ignore=ignore)
    if not ignore and key != state.keys.get(registrant, 0):
        return RESERVATION_CONFLICT
    registered = registrant in state.keys
    if flags & SPEC_I_PT and registered:  # SPC-4 table 59
        raise InvalidField(pointer=1, bit=4)
    if not action_key:
        if not registered:
            return GOOD
        gone = _registrants(unit, command, [registrant.initiator_port], everywhere=bool(flags & ALL_TG_PT))
        for each in gone:
            if each in state.keys:
                _unregister(unit, command, each)
    else:
        initiators = [registrant.initiator_port]
        if flags & SPEC_I_PT:
            initiators += _specified(unit, command, length)
        _add(unit, _registrants(unit, command, initiators, everywhere=bool(flags & ALL_TG_PT)), action_key)
    state.activated = bool(flags & APTPL)  # by the latest registration (SPC-4 5.13.5)
    state.generation += 1
    return GOOD


def _check_flags(unit: LogicalUnit, flags: int, length: int, *, ignore: bool) -> None:
    if flags & SPEC_I_PT and ignore:  # SPC-4 6.16.3: of REGISTER alone
        raise InvalidParameter(pointer=20, bit=3)
    if flags & APTPL and unit.persistent.store is None:  # PTPL_C is 0
        raise InvalidParameter(pointer=20, bit=0)
    if not flags & SPEC_I_PT and length != LIST_LENGTH:
        raise ParameterListLength()


def _add(unit: LogicalUnit, registrants: list[Registrant], key: int) -> None:
    keys = unit.persistent.keys
    if len(keys.keys() | set(registrants)) > MAX_REGISTRATIONS:
        raise OutOfRegistrations()
    for each in registrants:
        keys[each] = key


def register(unit: LogicalUnit, command: Command) -> Outcome:
    """REGISTER, SPC-4 5.13.7."""
    return _register(unit, command, ignore=False)


def register_and_ignore(unit: LogicalUnit, command: Command) -> Outcome:
    """REGISTER AND IGNORE EXISTING KEY, SPC-4 5.13.7."""
    return _register(unit, command, ignore=True)


def register_and_move(unit: LogicalUnit, command: Command) -> Outcome:
    """REGISTER AND MOVE, SPC-4 5.13.8: another nexus is registered, and the reservation becomes its own."""
    length = length_of(command)
    key, action_key, flags, relative, size = struct.unpack_from(">QQxBHI", command.data)
    state, registrant = unit.persistent, Registrant.of(command.nexus)
    if state.keys.get(registrant) != key:
        return RESERVATION_CONFLICT
    if state.holder is None:
        raise InvalidField(pointer=1, bit=4)
    if not state.is_holder(registrant) or state.holder.type in ALL_REGISTRANTS:
        return RESERVATION_CONFLICT
    if not action_key:
        raise InvalidParameter(pointer=8)
    if flags & APTPL and state.store is None:
        raise InvalidParameter(pointer=17, bit=0)
    if LIST_LENGTH + size != length:
        raise ParameterListLength()
    heir = _heir(unit, bytes(command.data[:length]), relative, length)
    if heir == registrant:
        raise InvalidParameter(pointer=24)
    _add(unit, [heir], action_key)
    state.holder = Holder(heir, state.holder.type)
    if flags & _UNREG:
        del state.keys[registrant]
    state.activated = bool(flags & APTPL)
    state.generation += 1
    return GOOD


def _heir(unit: LogicalUnit, data: bytes, relative: int, length: int) -> Registrant:
    port = next((port for port in _ports(unit) if port.relative == relative), None)
    if port is None:
        raise InvalidParameter(pointer=18)
    name, end = transport_id.decode(data, LIST_LENGTH, length)
    found = _initiator_ports(unit, name, port.name)
    if len(found) != 1 or end != length:
        raise InvalidParameter(pointer=24)
    return Registrant(found[0], port.name, port.relative)
