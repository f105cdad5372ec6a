"""PERSISTENT RESERVE IN and OUT (SPC-4 6.15, 6.16)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from labemu_scsi import transport_id
from labemu_scsi.access import Access
from labemu_scsi.cdb import CommandSpec, cut
from labemu_scsi.command import GOOD, RESERVATION_CONFLICT, Command, Deferred, Outcome, Response
from labemu_scsi.nexus import REGISTRATIONS_PREEMPTED, RESERVATIONS_PREEMPTED, RESERVATIONS_RELEASED
from labemu_scsi.persistent_register import (
    LIST_LENGTH,
    length_of,
    register,
    register_and_ignore,
    register_and_move,
    tell,
)
from labemu_scsi.persistent_register import release as release_all
from labemu_scsi.persistent_state import ALL_REGISTRANTS, Holder, Registrant, Type
from labemu_scsi.sense import InvalidField, InvalidParameter, InvalidRelease, ParameterListLength, WriteError
from labemu_scsi.unit import LogicalUnit

_TYPE_MASK: Final = 0xEA01  # all six types, SPC-4 table 213


def _answer(command: Command, unit: LogicalUnit, body: bytes) -> Response:
    header = struct.pack(">II", unit.persistent.generation & 0xFFFFFFFF, len(body))
    return Response(0, cut(header + body, int.from_bytes(command.cdb[7:9], "big")))


def read_keys(unit: LogicalUnit, command: Command) -> Outcome:
    """READ KEYS, SPC-4 6.15.2."""
    keys = unit.persistent.keys.values()
    return _answer(command, unit, b"".join(key.to_bytes(8, "big") for key in keys))


def read_reservation(unit: LogicalUnit, command: Command) -> Outcome:
    """READ RESERVATION, SPC-4 6.15.3."""
    state = unit.persistent
    body = b""
    if state.holder is not None:
        body = struct.pack(">Q4xxB2x", state.reservation_key(), state.holder.type)
    return _answer(command, unit, body)


def report_capabilities(unit: LogicalUnit, command: Command) -> Outcome:
    """REPORT CAPABILITIES, SPC-4 6.15.4."""
    state = unit.persistent
    flags = 0x0C | (state.store is not None)  # SIP_C, ATP_C, PTPL_C
    body = struct.pack(">HBBH2x", 8, flags, 0x80 | state.activated, _TYPE_MASK)  # TMV, PTPL_A
    return Response(0, cut(body, int.from_bytes(command.cdb[7:9], "big")))


def read_full_status(unit: LogicalUnit, command: Command) -> Outcome:
    """READ FULL STATUS, SPC-4 6.15.5."""
    state = unit.persistent
    parts = []
    for registrant, key in state.keys.items():
        holds = state.is_holder(registrant)
        scope_type = state.holder.type if holds and state.holder is not None else 0
        transport = transport_id.encode(registrant.initiator_port)
        parts.append(
            struct.pack(">Q4xBB4xHI", key, 0x01 if holds else 0, scope_type, registrant.relative_port, len(transport))
            + transport
        )
    return _answer(command, unit, b"".join(parts))


def _parameters(command: Command) -> tuple[int, int]:
    """The parameter list: reservation key and service action key (SPC-4 6.16.3); its flags are for registering."""
    if length_of(command) != LIST_LENGTH:
        raise ParameterListLength()
    key, action_key = struct.unpack_from(">QQ", command.data)
    return key, action_key


def _type(command: Command) -> Type:
    if command.cdb[2] >> 4:  # scope: LU_SCOPE is the only one
        raise InvalidField(pointer=2, bit=7)
    try:
        return Type(command.cdb[2] & 0x0F)
    except ValueError:
        raise InvalidField(pointer=2, bit=3) from None


def _registered(unit: LogicalUnit, command: Command) -> tuple[Registrant, int] | None:
    """The registrant and its service action key, or None when the reservation key is not its own."""
    key, action_key = _parameters(command)
    registrant = Registrant.of(command.nexus)
    return (registrant, action_key) if unit.persistent.keys.get(registrant) == key else None


def reserve(unit: LogicalUnit, command: Command) -> Outcome:
    """RESERVE, SPC-4 5.13.9."""
    who = _registered(unit, command)
    if who is None:
        return RESERVATION_CONFLICT
    state, kind = unit.persistent, _type(command)
    if state.holder is None:
        state.holder = Holder(who[0], kind)
        return GOOD
    same = state.is_holder(who[0]) and state.holder.type is kind
    return GOOD if same else RESERVATION_CONFLICT


def release(unit: LogicalUnit, command: Command) -> Outcome:
    """RELEASE, SPC-4 5.13.11.2."""
    who = _registered(unit, command)
    if who is None:
        return RESERVATION_CONFLICT
    state = unit.persistent
    if state.holder is None or not state.is_holder(who[0]):
        return GOOD
    if state.holder.type is not _type(command):
        raise InvalidRelease()
    release_all(unit, command)
    return GOOD


def clear(unit: LogicalUnit, command: Command) -> Outcome:
    """CLEAR, SPC-4 5.13.11.6."""
    if _registered(unit, command) is None:
        return RESERVATION_CONFLICT
    state = unit.persistent
    tell(unit, state.keys, RESERVATIONS_PREEMPTED, but=command)
    state.keys.clear()
    state.holder = None
    state.generation += 1
    return GOOD


def preempt(unit: LogicalUnit, command: Command) -> Outcome:
    """PREEMPT, SPC-4 5.13.11.4."""
    return _preempt(unit, command, abort=False)


def preempt_and_abort(unit: LogicalUnit, command: Command) -> Outcome:
    """PREEMPT AND ABORT, SPC-4 5.13.11.5: also what the preempted have under way ends, by way of the transport."""
    return _preempt(unit, command, abort=True)


def _abort(unit: LogicalUnit, victims: set[Registrant]) -> None:
    nexuses = {nexus for nexus in unit.attentions.nexuses() if Registrant.of(nexus) in victims}
    for home in unit.attentions.homes:
        home.abort_tasks(unit.attentions, nexuses & home.nexuses)


def _preempt(unit: LogicalUnit, command: Command, *, abort: bool) -> Outcome:
    who = _registered(unit, command)
    if who is None:
        return RESERVATION_CONFLICT
    registrant, victim_key = who
    state = unit.persistent
    holder = state.holder
    if holder is not None and holder.type in ALL_REGISTRANTS:
        takes, victims = _preempt_all(unit, registrant, victim_key)
        if not takes and not victims:
            return RESERVATION_CONFLICT
    else:
        takes = holder is not None and state.keys.get(holder.registrant) == victim_key
        if not victim_key:
            raise InvalidParameter(pointer=8)
        victims = {each for each, key in state.keys.items() if key == victim_key}
        if not victims and not takes:
            return RESERVATION_CONFLICT
    kind = _type(command) if takes else None
    victims.discard(registrant)
    for victim in victims:
        del state.keys[victim]
    if abort:
        _abort(unit, victims)
    tell(unit, victims, REGISTRATIONS_PREEMPTED, but=command)
    if kind is not None:
        if holder is not None and holder.type is not kind:
            tell(unit, state.keys, RESERVATIONS_RELEASED, but=command)
        state.holder = Holder(registrant, kind)
    state.generation += 1
    return GOOD


def _preempt_all(unit: LogicalUnit, registrant: Registrant, victim_key: int) -> tuple[bool, set[Registrant]]:
    """With an all-registrants reservation, key zero takes it from everybody (SPC-4 5.13.11.4.3)."""
    keys = unit.persistent.keys
    if not victim_key:
        return True, set(keys) - {registrant}
    return False, {each for each, key in keys.items() if key == victim_key}


_Action = Callable[[LogicalUnit, Command], Outcome]


def _out(action: _Action) -> _Action:
    """Common to all of PERSISTENT RESERVE OUT: the old reservations exclude it, the guard is set anew, the change is kept first.

    What is to outlive a loss of power is durable before the command is answered, on a thread, since that waits for a disk.
    """

    def handler(unit: LogicalUnit, command: Command) -> Outcome:
        if unit.reserved_by is not None:  # SPC-4 5.13.3
            return RESERVATION_CONFLICT
        kept = unit.persistent.activated
        outcome = action(unit, command)
        unit.update_guard()
        if outcome is GOOD and (kept or unit.persistent.activated):
            return _keep(unit.persistent.save_later())
        return outcome

    return handler


def _keep(save: Callable[[], None]) -> Deferred:
    def work() -> Response:
        try:
            save()
        except OSError:
            raise WriteError() from None
        return GOOD

    return Deferred(work)


def _spec_in(action: int, name: str, handler: _Action) -> CommandSpec:
    usage = f"5e{0x1F:02x}0000000000ffff07"
    return CommandSpec(
        opcode=0x5E, action=action, name=name, usage=usage, handler=handler, access=Access.ALWAYS, medium=False
    )


def _spec_out(action: int, name: str, handler: _Action) -> CommandSpec:
    usage = f"5f{0x1F:02x}ff0000ffffffff07"
    return CommandSpec(
        opcode=0x5F, action=action, name=name, usage=usage, handler=_out(handler), access=Access.ALWAYS, medium=False
    )


COMMANDS = (
    _spec_in(0, "PERSISTENT RESERVE IN, READ KEYS", read_keys),
    _spec_in(1, "PERSISTENT RESERVE IN, READ RESERVATION", read_reservation),
    _spec_in(2, "PERSISTENT RESERVE IN, REPORT CAPABILITIES", report_capabilities),
    _spec_in(3, "PERSISTENT RESERVE IN, READ FULL STATUS", read_full_status),
    _spec_out(0, "PERSISTENT RESERVE OUT, REGISTER", register),
    _spec_out(1, "PERSISTENT RESERVE OUT, RESERVE", reserve),
    _spec_out(2, "PERSISTENT RESERVE OUT, RELEASE", release),
    _spec_out(3, "PERSISTENT RESERVE OUT, CLEAR", clear),
    _spec_out(4, "PERSISTENT RESERVE OUT, PREEMPT", preempt),
    _spec_out(5, "PERSISTENT RESERVE OUT, PREEMPT AND ABORT", preempt_and_abort),
    _spec_out(6, "PERSISTENT RESERVE OUT, REGISTER AND IGNORE EXISTING KEY", register_and_ignore),
    _spec_out(7, "PERSISTENT RESERVE OUT, REGISTER AND MOVE", register_and_move),
)
