"""Target port groups and their states; units in several devices; nexuses that come to be in one step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from labemu_scsi.command import Status
from labemu_scsi.device import Device, encode_lun
from labemu_scsi.nexus import ACCESS_STATE_CHANGED, NEXUS_LOSS, Nexus
from labemu_scsi.ports import AccessState, Cause, PortGroup, TargetPort
from labemu_scsi.unit import LogicalUnit
from labemu_store.block import MemoryBlockStore

READ = b"\x28\0\0\0\0\0\0\0\1"
REPORT = b"\xa3\x0a\0\0\0\0\0\0\x10\0"


def code(response: Any) -> tuple[int, int]:
    assert response.status == Status.CHECK_CONDITION
    return response.sense[12], response.sense[13]


@pytest.fixture
def grouped(lab: Any) -> Any:
    """Nexuses 0 and 1 at group 1, nexus 2 at group 2."""
    lab.device.groups = {each: PortGroup(each, [TargetPort(f"t,t,{each}", "t", each)]) for each in (1, 2)}
    for nexus, group in zip(lab.nexuses, (1, 1, 2), strict=True):
        nexus.group = lab.device.groups[group]
    return lab


def set_groups(lab: Any, *descriptors: tuple[int, int], nexus: int = 0) -> Any:
    data = bytes(4) + b"".join(bytes((state, 0)) + group.to_bytes(2, "big") for state, group in descriptors)
    return lab.send(b"\xa4\x0a\0\0\0\0" + len(data).to_bytes(4, "big"), data, nexus=nexus)


def test_report_in_both_formats(grouped: Any) -> None:
    one = b"\x00\xcf\x00\x01\x00\x00\x00\x01\x00\x00\x00\x01"
    two = b"\x00\xcf\x00\x02\x00\x00\x00\x01\x00\x00\x00\x02"
    assert grouped.send(REPORT).data == b"\0\0\0\x18" + one + two
    assert grouped.send(b"\xa3\x2a" + REPORT[2:]).data == b"\0\0\0\x1c\x10\0\0\0" + one + two
    assert code(grouped.send(b"\xa3\x4a" + REPORT[2:])) == (0x24, 0)


def test_inquiry_tells_of_groups_and_page_83_names_them(grouped: Any, make: Callable[..., Any]) -> None:
    assert grouped.send(b"\x12\0\0\0\xff").data[5] & 0x30 == 0x30
    assert make().send(b"\x12\0\0\0\xff").data[5] & 0x30 == 0
    page = grouped.send(b"\x12\1\x83\0\xff", nexus=2).data
    assert b"\x51\x95\0\4\0\0\0\2" in page


@pytest.mark.parametrize(
    ("state", "sense", "inquiry", "mode", "report"),
    [
        (AccessState.STANDBY, (0x04, 0x0B), 0, 0, 0),
        (AccessState.UNAVAILABLE, (0x04, 0x0C), 0, 2, 0),
        (AccessState.OFFLINE, (0x04, 0x12), 0, 2, 0),
        (AccessState.TRANSITIONING, (0x04, 0x0A), 0, 2, 0),
    ],
)
def test_what_a_state_lets_through(
    grouped: Any, state: AccessState, sense: tuple[int, int], inquiry: int, mode: int, report: int
) -> None:
    grouped.device.change_access(grouped.device.groups[1], state, Cause.IMPLICIT, None)
    assert code(grouped.send(bytes(6))) == ACCESS_STATE_CHANGED
    assert code(grouped.send(READ)) == sense
    assert code(grouped.send(bytes(6))) == sense
    assert grouped.send(b"\x12\0\0\0\xff").status == inquiry
    assert grouped.send(b"\x1a\0\x3f\0\xff").status == mode
    assert grouped.send(REPORT).status == report
    assert grouped.send(REPORT).data[4] == state
    assert grouped.send(b"\x03\0\0\0\xff").data[12:14] == bytes(sense)
    assert code(grouped.send(READ, nexus=2)) == ACCESS_STATE_CHANGED  # the other way stays open
    assert grouped.send(READ, nexus=2).status == 0
    grouped.device.change_access(grouped.device.groups[1], AccessState.ACTIVE_NON_OPTIMIZED, Cause.IMPLICIT, None)
    assert code(grouped.send(READ)) == ACCESS_STATE_CHANGED
    assert grouped.send(READ).status == 0


def test_set_is_heard_by_all_but_the_one_that_sends(grouped: Any) -> None:
    assert set_groups(grouped, (1, 1), (2, 2)).status == 0
    assert grouped.send(bytes(6)).status == 0
    assert code(grouped.send(bytes(6), nexus=1)) == ACCESS_STATE_CHANGED
    assert code(grouped.send(bytes(6), nexus=2)) == ACCESS_STATE_CHANGED
    assert code(grouped.send(bytes(6), nexus=2)) == (0x04, 0x0B)
    assert grouped.send(REPORT).data[4 + 5] == Cause.EXPLICIT
    assert set_groups(grouped, (0, 2), nexus=2).status == 0  # also from a port in standby


@pytest.mark.parametrize("descriptors", [((0xF, 1),), ((0, 1), (0, 9)), ((5, 1),), ((2, 1), (4, 2))])
def test_a_wrong_list_sets_nothing(grouped: Any, descriptors: tuple[tuple[int, int], ...]) -> None:
    assert code(set_groups(grouped, *descriptors)) == (0x26, 0)
    assert all(group.state is AccessState.ACTIVE_OPTIMIZED for group in grouped.device.groups.values())


def test_a_unit_in_two_devices_has_one_reservation_and_tells_both(lab: Any) -> None:
    other = Device()
    other.add_unit(7, lab.unit)
    nexus = Nexus("iqn.2026-11.lab:other,i,0x80", "iqn.2026-11.lab:u,t,0x0001")
    other.attach(nexus)
    lab.nexuses.append(nexus)
    devices, lab.device = lab.device, other
    assert code(lab.send(bytes(6), nexus=3, lun=7)) == (0x29, 0)
    lab.unit.resize(32 << 20)
    assert code(lab.send(bytes(6), nexus=3, lun=7)) == (0x2A, 0x09)
    lab.send(b"\x16", nexus=3, lun=7)
    lab.device = devices
    assert code(lab.send(bytes(6))) == (0x2A, 0x09)
    assert lab.send(READ).status == Status.RESERVATION_CONFLICT
    other.remove_unit(7)  # and its nexuses let go what they held
    assert lab.send(READ).status == 0


def test_a_unit_first_spoken_to_later_tells_how_the_nexus_came_to_be(lab: Any) -> None:
    lab.device.detach(lab.nexuses[0])
    lab.device.attach(lab.nexuses[0], NEXUS_LOSS)
    lab.unit.resize(32 << 20)
    assert code(lab.send(bytes(6))) == NEXUS_LOSS
    assert code(lab.send(bytes(6))) == (0x2A, 0x09)
    assert lab.send(bytes(6)).status == 0


def test_a_thousand_units_cost_a_login_and_a_command_nothing() -> None:
    store = MemoryBlockStore(1 << 20)
    device = Device()
    units = [LogicalUnit(store, serial=f"u{number}") for number in range(1000)]
    for number, unit in enumerate(units):
        device.add_unit(number, unit)
    nexuses = [Nexus(f"iqn.2026-11.lab:i{each},i,0x80", "t,t,1") for each in range(200)]
    for nexus in nexuses:
        device.attach(nexus)
    assert not any(unit.attentions.known or unit.attentions.pending for unit in units)

    class Sent:
        nexus, cdb, data = nexuses[150], READ.ljust(16, b"\0"), b""

    device.execute(encode_lun(700), Sent())
    assert device.execute(encode_lun(700), Sent()).status == 0  # type: ignore[union-attr]
    assert [number for number, unit in enumerate(units) if unit.attentions.known] == [700]
    assert nexuses[150].seen == {units[700].attentions}
    device.detach(nexuses[150])
    assert not units[700].attentions.known
    store.close()
