"""An array's faults: places become selectors, the registry keeps them, events tell of them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from labctl.errors import LabError
from labctl_storage.arrayd.faults import ArrayFaults, FaultOrder
from labctl_storage.arrayd.registry import DatastoreRecord, Registry, VolumeRecord
from labemu_faults.table import FaultTable
from labemu_iscsi.io.faults import check as check_iscsi
from labemu_nfs.faults import check_rule as check_nfs

TARGET = "iqn.2026-11.lab.demo:san1.gold"
LATENCY = {"action": {"kind": "latency", "average": 0.02}}


class Emulator:
    def __init__(self, check) -> None:
        self.table = FaultTable()
        self._check = check

    def add(self, rule, *, hits: int = 0):
        self._check(rule)
        return self.table.add(rule, hits=hits)

    @property
    def rules(self) -> dict[str, Any]:
        return {armed.rule.id: armed.rule for armed in self.table}


class Array:
    """An array that was started in a folder."""

    def __init__(self, folder: Path) -> None:
        self.cleared = asyncio.Event()
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.registry = Registry(folder / "array.json")
        self.iscsi = Emulator(check_iscsi)
        self.nfs = Emulator(lambda rule: check_nfs(rule, ["READ", "WRITE"]))
        self.faults = ArrayFaults(
            "san1", self.registry, {"iscsi": self.iscsi, "nfs": self.nfs}, self._publish
        )  # fmt: skip

    def _publish(self, name: str, /, **properties: Any) -> None:
        self.events.append((name, properties))
        if name == "fault.cleared":
            self.cleared.set()

    def order(self, rule: dict[str, Any] | None = None, **place: Any) -> dict[str, Any]:
        return self.faults.add(FaultOrder(rule=rule or LATENCY, **place))  # type: ignore[return-value]


@pytest.fixture
def array(tmp_path: Path) -> Array:
    made = Array(tmp_path)
    made.registry.put_datastore(DatastoreRecord(name="gold", protocol="iscsi", size=1, where=TARGET))
    made.registry.put_datastore(DatastoreRecord(name="shared", protocol="nfs", size=1, where="/shared"))
    made.registry.put_volume(VolumeRecord(datastore="gold", name="web1-disk0", size=1, lun=3))
    made.registry.put_volume(VolumeRecord(datastore="shared", name="db1-disk0", size=1))
    return made


@pytest.mark.parametrize("volume", ["web1-disk0", "3"])
def test_a_disk_is_a_lun_of_its_target(array, volume) -> None:
    assert array.order(datastore="gold", volume=volume)["where"] == "gold/web1-disk0"
    rule = array.iscsi.rules["1"]
    assert (rule.target, rule.lun) == (TARGET, 3)
    assert not array.nfs.rules


def test_a_disk_on_nfs_is_a_file_and_a_datastore_is_a_path(array) -> None:
    array.order(datastore="shared", volume="db1-disk0")
    array.order(datastore="shared")
    array.order({**LATENCY, "path": "/shared/x*"}, datastore="shared")
    assert [rule.path for rule in array.nfs.rules.values()] == ["/shared/db1-disk0.qcow2", "/shared*", "/shared/x*"]


def test_an_arrays_fault_is_set_in_every_emulator_that_understands_it(array) -> None:
    assert array.order()["protocols"] == ["iscsi", "nfs"]
    assert array.order({"action": {"kind": "refuse", "code": [3, 1]}})["protocols"] == ["iscsi"]
    assert array.order({"action": {"kind": "error", "code": [5]}})["protocols"] == ["nfs"]


@pytest.mark.parametrize(
    ("rule", "place", "message", "hint"),
    [
        (LATENCY, {"datastore": "glod"}, "san1 has no datastore glod", 'did you mean "gold"?'),
        (LATENCY, {"datastore": "gold", "volume": "web1-disk"}, "gold has no volume web1-disk", 'did you mean "web1-disk0"?'),
        ({**LATENCY, "operations": ["raed"]}, {"datastore": "gold"}, 'there is no operation "raed"', 'did you mean "read"?'),
        ({"action": {}}, {}, 'there is no action ""', None),
        ({**LATENCY, "id": "slow"}, {}, "there is a fault slow already", "labctl fault clear slow"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_and_leaves_nothing(array, rule, place, message, hint) -> None:
    array.order({**LATENCY, "id": "slow"})
    with pytest.raises(LabError) as caught:
        array.order(rule, **place)
    assert caught.value.message == message
    assert hint is None or caught.value.hint == hint
    assert list(array.registry.faults) == list(array.iscsi.rules) == ["slow"]


async def test_a_restarted_array_has_its_faults_again_with_their_hits(array, tmp_path) -> None:
    array.order({**LATENCY, "count": 3}, datastore="gold")
    assert next(iter(array.iscsi.table)).strike()
    array.faults.save()
    again = Array(tmp_path)
    again.faults.restore()
    (fault,) = again.faults.listing()
    assert (fault["hits"], fault["spent"]) == (1, False)
    assert [next(iter(again.iscsi.table)).strike() for _ in range(3)] == [True, True, False]


async def test_a_fault_ends_by_itself_also_after_a_restart(array, tmp_path) -> None:
    array.order(datastore="gold", seconds=0.05)
    array.order(datastore="gold", seconds=3600)
    async with asyncio.timeout(5):
        await array.cleared.wait()
    assert list(array.iscsi.rules) == ["2"]
    late = FaultOrder(rule=LATENCY, seconds=3600)
    array.faults.add(late)
    array.registry.put_fault(
        array.registry.faults["2"].model_copy(update={"id": "old", "rule": {**LATENCY, "id": "old", "until": 1.0}})
    )
    again = Array(tmp_path)
    again.faults.restore()
    assert sorted(again.iscsi.rules) == ["1", "2"]
    for each in (array, again):
        each.faults.clear(None)


async def test_events_tell_of_setting_the_first_hit_and_clearing(array) -> None:
    array.order({**LATENCY, "operations": ["read"]}, datastore="gold", volume="3")
    armed = next(iter(array.iscsi.table))
    armed.strike()
    armed.strike()
    array.faults.clear("1")  # in the same turn of the loop: the hit is told all the same
    assert [(name, told["message"]) for name, told in array.events] == [
        ("fault.set", "latency 20 ms on gold/web1-disk0 (read)"),
        ("fault.hit", "first hit: latency 20 ms on gold/web1-disk0 (read)"),
        ("fault.cleared", "latency 20 ms on gold/web1-disk0 (read): cleared, after 2 hits"),
    ]
    assert not array.iscsi.rules
    assert not array.registry.faults


def test_clearing_what_is_not_set_suggests_the_nearest(array) -> None:
    array.order({**LATENCY, "id": "slow"})
    with pytest.raises(LabError) as caught:
        array.faults.clear("slwo")
    assert (caught.value.message, caught.value.hint) == ("san1 has no fault slwo", 'did you mean "slow"?')


def test_faults_go_with_their_place(array) -> None:
    array.order(datastore="gold", volume="3")
    array.order(datastore="gold")
    array.order(datastore="shared")
    array.faults.forget("gold", "web1-disk0")
    assert list(array.iscsi.rules) == ["2"]
    array.faults.forget("gold")
    assert not array.iscsi.rules
    assert list(array.nfs.rules) == ["3"]
