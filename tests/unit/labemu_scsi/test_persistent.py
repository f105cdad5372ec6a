"""Persistent reservations beyond one port: moving, specified initiators, all ports, aborting, and what outlives a restart."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labemu_scsi import transport_id
from labemu_scsi.command import Deferred, Status
from labemu_scsi.device import Device
from labemu_scsi.nexus import Nexus
from labemu_scsi.persistent_state import DamagedState, PersistentReservations
from labemu_scsi.ports import PortGroup, TargetPort
from labemu_scsi.sense import CheckCondition
from labemu_scsi.unit import LogicalUnit
from labemu_store.block import MemoryBlockStore

KEY, OTHER = 0xABC, 0xDEF
PORTS = [TargetPort(f"iqn.2026-11.lab:t,t,0x{tag:04x}", "iqn.2026-11.lab:t", tag) for tag in (1, 2)]
MOVE_SENSE = (0x24, 0x00)


class Memory:
    """A StateStore that remembers what it was given."""

    def __init__(self, data: bytes | None = None, error: OSError | None = None) -> None:
        self.data = data
        self.error = error

    def load(self) -> bytes | None:
        return self.data

    def save(self, data: bytes) -> None:
        if self.error is not None:
            raise self.error
        self.data = data


def pr_out(
    lab: Any,
    action: int,
    key: int = 0,
    action_key: int = 0,
    *,
    kind: int = 0,
    flags: int = 0,
    extra: bytes = b"",
    nexus: int = 0,
) -> Any:
    data = struct.pack(">QQ4xB3x", key, action_key, flags) + extra
    return lab.send(bytes((0x5F, action, kind, 0, 0)) + len(data).to_bytes(4, "big"), data, nexus=nexus)


def move(lab: Any, key: int, action_key: int, relative: int, who: bytes, flags: int = 0) -> Any:
    data = struct.pack(">QQxBHI", key, action_key, flags, relative, len(who)) + who
    return lab.send(bytes((0x5F, 7, 0, 0, 0)) + len(data).to_bytes(4, "big"), data)


def keys(lab: Any) -> list[int]:
    data = lab.send(b"\x5e\0\0\0\0\0\0\x10\x00").data
    return [key for (key,) in struct.iter_unpack(">Q", data[8:])]


def code(response: Any) -> tuple[int, int]:
    assert response.status == Status.CHECK_CONDITION
    return response.sense[12], response.sense[13]


@pytest.fixture
def two_ports(lab: Any) -> Any:
    lab.device.groups = {port.relative: PortGroup(port.relative, [port]) for port in PORTS}
    for nexus in lab.nexuses:
        nexus.target_port, nexus.target_name = PORTS[0].name, PORTS[0].device
    return lab


def test_a_registration_at_all_ports_has_a_key_for_each(two_ports: Any) -> None:
    assert pr_out(two_ports, 0, 0, KEY, flags=0x04).status == 0
    assert keys(two_ports) == [KEY, KEY]
    status = two_ports.send(b"\x5e\3\0\0\0\0\0\x10\x00").data
    assert [status[8 + at + 19] for at in (0, (len(status) - 8) // 2)] == [1, 2]  # relative ports
    assert pr_out(two_ports, 0, KEY, 0, flags=0x04).status == 0
    assert keys(two_ports) == []


def test_the_full_status_is_laid_out_as_spc_4_6_15_5_has_it(two_ports: Any) -> None:
    two_ports.nexuses[0].initiator_port = "iqn.2026-11.lab:i1,i,0x800000000001"
    assert pr_out(two_ports, 0, 0, KEY).status == 0
    assert pr_out(two_ports, 1, KEY, kind=3).status == 0  # RESERVE, Exclusive Access
    name = b"iqn.2026-11.lab:i1,i,0x800000000001\0"  # 36 bytes, a multiple of four
    wanted = b"".join(
        (
            bytes.fromhex("00000001"),  # PRGENERATION
            (24 + 4 + len(name)).to_bytes(4, "big"),  # ADDITIONAL LENGTH
            KEY.to_bytes(8, "big"),
            bytes(4),
            bytes.fromhex("01"),  # R_HOLDER; ALL_TG_PT is 0
            bytes.fromhex("03"),  # LU_SCOPE, Exclusive Access
            bytes(4),
            bytes.fromhex("0001"),  # RELATIVE TARGET PORT IDENTIFIER
            (4 + len(name)).to_bytes(4, "big"),  # ADDITIONAL DESCRIPTOR LENGTH
            bytes.fromhex("4500"),  # FORMAT CODE 01b, PROTOCOL IDENTIFIER 5
            len(name).to_bytes(2, "big"),
            name,
        )
    )
    assert bytes(two_ports.send(b"\x5e\3\0\0\0\0\0\x10\x00").data) == wanted


def test_specified_initiators_are_registered_with_the_sender(two_ports: Any) -> None:
    absent = transport_id.encode("iqn.2026-11.lab:i9,i,0x800000000001")
    extra = len(absent).to_bytes(4, "big") + absent
    assert pr_out(two_ports, 0, 0, KEY, flags=0x08, extra=extra).status == 0
    assert {each.initiator_port for each in two_ports.unit.persistent.keys} == {
        "iqn.2026-11.lab:i9,i,0x800000000001",
        two_ports.nexuses[0].initiator_port,
    }


@pytest.mark.parametrize(
    ("flags", "extra", "sense"),
    [
        (0x08, b"", (0x1A, 0)),
        (0x08, b"\0\0\0\x18" + bytes(24), (0x26, 0)),  # no iSCSI TransportID
        (0x08, b"\0\0\0\x1c" + bytes(24), (0x1A, 0)),
        (0x01, b"", (0x26, 0)),  # APTPL where nothing is kept
        (0x00, bytes(4), (0x1A, 0)),
    ],
)
def test_a_wrong_list_registers_nobody(two_ports: Any, flags: int, extra: bytes, sense: tuple[int, int]) -> None:
    assert code(pr_out(two_ports, 0, 0, KEY, flags=flags, extra=extra)) == sense
    assert keys(two_ports) == []


def test_a_registered_nexus_specifies_nobody(two_ports: Any) -> None:
    pr_out(two_ports, 0, 0, KEY)
    assert code(pr_out(two_ports, 0, KEY, OTHER, flags=0x08)) == (0x24, 0)
    assert code(pr_out(two_ports, 6, KEY, OTHER, flags=0x08)) == (0x26, 0)  # nor does REGISTER AND IGNORE


def test_move_hands_the_reservation_on_and_may_leave(two_ports: Any) -> None:
    heir = "iqn.2026-11.lab:heir,i,0x00023d000001"
    pr_out(two_ports, 0, 0, KEY)
    assert code(move(two_ports, KEY, OTHER, 2, transport_id.encode(heir))) == MOVE_SENSE  # nothing to move yet
    pr_out(two_ports, 1, KEY, kind=1)
    assert move(two_ports, OTHER, OTHER, 2, transport_id.encode(heir)).status == Status.RESERVATION_CONFLICT
    assert code(move(two_ports, KEY, OTHER, 9, transport_id.encode(heir))) == (0x26, 0)
    assert code(move(two_ports, KEY, 0, 2, transport_id.encode(heir))) == (0x26, 0)
    assert move(two_ports, KEY, OTHER, 2, transport_id.encode(heir), flags=0x02).status == 0
    holder = two_ports.unit.persistent.holder
    assert (holder.registrant.initiator_port, holder.registrant.target_port) == (heir, PORTS[1].name)
    assert keys(two_ports) == [OTHER]


def test_nothing_is_moved_to_itself_or_from_all_registrants(two_ports: Any) -> None:
    pr_out(two_ports, 0, 0, KEY)
    pr_out(two_ports, 1, KEY, kind=7)
    heir = transport_id.encode("iqn.2026-11.lab:heir,i,0x00023d000001")
    assert move(two_ports, KEY, OTHER, 2, heir).status == Status.RESERVATION_CONFLICT
    pr_out(two_ports, 2, KEY, kind=7)
    pr_out(two_ports, 1, KEY, kind=1)
    for nexus in two_ports.nexuses:
        nexus.initiator_port = "iqn.2026-11.lab:i0,i,0x00023d000001"
    two_ports.unit.persistent.keys.clear()
    two_ports.unit.persistent.holder = None
    pr_out(two_ports, 0, 0, KEY)
    pr_out(two_ports, 1, KEY, kind=1)
    own = transport_id.encode("iqn.2026-11.lab:i0,i,0x00023d000001")
    assert code(move(two_ports, KEY, OTHER, 1, own)) == (0x26, 0)


def test_preempt_and_abort_asks_the_transport_to_end_the_losers_tasks(lab: Any) -> None:
    ended: list[tuple[LogicalUnit, set[Nexus]]] = []
    lab.device.abort = lambda unit, nexuses: ended.append((unit, nexuses))
    pr_out(lab, 0, 0, KEY)
    pr_out(lab, 0, 0, OTHER, nexus=1)
    pr_out(lab, 1, OTHER, kind=3, nexus=1)
    assert pr_out(lab, 5, KEY, OTHER, kind=3).status == 0
    assert ended == [(lab.unit, {lab.nexuses[1]})]
    assert keys(lab) == [KEY]
    assert code(lab.send(bytes(6), nexus=1)) == (0x2A, 0x05)


def test_what_is_kept_excludes_others_after_a_restart(make: Callable[..., Any]) -> None:
    state = Memory()
    first = make(state=state)
    assert pr_out(first, 0, 0, KEY, flags=0x01).status == 0
    assert pr_out(first, 1, KEY, kind=3).status == 0
    second = make(state=state)
    assert second.send(b"\x28\0\0\0\0\0\0\0\1", nexus=1).status == Status.RESERVATION_CONFLICT
    assert second.send(b"\x28\0\0\0\0\0\0\0\1").status == 0
    assert second.send(b"\x5e\2\0\0\0\0\0\0\x08").data[2:4] == b"\x0d\x81"  # PTPL_C, PTPL_A


def test_registering_without_aptpl_forgets_what_was_kept(make: Callable[..., Any]) -> None:
    state = Memory()
    lab = make(state=state)
    pr_out(lab, 0, 0, KEY, flags=0x01)
    pr_out(lab, 0, KEY, OTHER)
    assert not PersistentReservations(state).keys


def test_it_is_not_good_before_it_is_kept_and_not_good_when_that_fails(make: Callable[..., Any]) -> None:
    state = Memory(error=OSError(5, "Input/output error"))
    lab = make(state=state)
    assert code(pr_out(lab, 0, 0, KEY, flags=0x01)) == (0x0C, 0x00)


def test_an_older_change_never_replaces_a_newer_one() -> None:
    state = Memory()
    reservations = PersistentReservations(state)
    reservations.activated = True
    older = reservations.save_later()
    reservations.generation = 1
    reservations.activated = False
    newer = reservations.save_later()
    newer()
    older()
    assert state.data == b""


@pytest.mark.parametrize("data", [b"{", b"{}", b'{"registrations": [[1]], "holder": null}', b"\xff"])
def test_damaged_reservations_are_not_taken_for_none(data: bytes) -> None:
    with pytest.raises(DamagedState, match="the persistent reservations that were kept are damaged"):
        PersistentReservations(Memory(data))


def test_a_transport_id_is_read_as_it_is_written() -> None:
    port = "iqn.2026-11.lab:i0,i,0x00023d000001"
    raw = transport_id.encode(port)
    assert len(raw) % 4 == 0
    assert transport_id.decode(raw, 0, len(raw)) == (port, len(raw))


@given(st.binary(max_size=300), st.integers(0, 7), st.integers(0, 300))
def test_no_parameter_list_raises_or_breaks_anything(data: bytes, action: int, length: int) -> None:
    store = MemoryBlockStore(1 << 20)
    unit = LogicalUnit(store, serial="s", state=Memory())
    device = Device()
    device.groups = {1: PortGroup(1, [PORTS[0]])}
    device.add_unit(0, unit)
    nexus = Nexus("iqn.2026-11.lab:i,i,0x000000000001", PORTS[0].name, group=device.groups[1])
    device.attach(nexus)

    class Sent:
        def __init__(self, cdb: bytes, data: bytes) -> None:
            self.nexus, self.cdb, self.data = nexus, cdb.ljust(16, b"\0"), data

    device.execute(bytes(8), Sent(bytes(6), b""))
    for opcode in (0x5F, 0xA4):
        service = action if opcode == 0x5F else 0x0A
        cdb = bytes((opcode, service, 1)) + (bytes(2) if opcode == 0x5F else bytes(3)) + length.to_bytes(4, "big")
        command = Sent(cdb, data)
        outcome = device.execute(bytes(8), command)
        if isinstance(outcome, Deferred):
            outcome = device.finish(bytes(8), command, outcome.work)
        assert outcome.status in (0, Status.CHECK_CONDITION, Status.RESERVATION_CONFLICT)
    store.close()


@given(st.binary(max_size=80))
def test_any_bytes_are_a_transport_id_or_refused(data: bytes) -> None:
    try:
        name, end = transport_id.decode(b"\x45" + data, 0, 1 + len(data))
    except CheckCondition:
        return
    assert name
    assert end <= 1 + len(data)
