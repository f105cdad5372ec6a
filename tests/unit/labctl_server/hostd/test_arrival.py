"""A VM that comes by migration: it runs when its source says so, once, and says no only where it surely does not run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from labctl.errors import ConflictError, TimedOutError
from labctl.model.json import Json
from labctl_server.hostd.driver import QemuDriver
from labctl_server.hostd.encryption import Credentials
from labctl_server.hostd.host import Host
from labctl_server.hostd.maintenance import Maintenance
from labctl_server.hostd.store import Moved, Order, VmRecord, VmStore
from labctl_server.hostd.taps import Taps
from labctl_server.hostd.vm import Vm
from labctl_server.machine import Machine
from labctl_server.qemu.monitor import MonitorError

MACHINE = Machine(name="web1", uuid="6f1de2c4-6d5c-4b57-9d0c-0123456789ab", memory=2**27, cpus=1, tools=False)


class Qemu:
    """A monitor that notes what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.fails: Exception | None = None

    async def execute(self, command: str, arguments: Any = None, *, timeout: float = 10.0) -> Json:
        self.said.append(command)
        if self.fails is not None:
            raise self.fails
        return {}


class World:
    def __init__(self, folder: Path) -> None:
        self.told: list[str] = []
        self.store = VmStore(folder)
        self.qemu = Qemu()
        files = {name: folder / name for name in ("folder", "certificate", "key", "authority")}
        self.host = Host(
            lab="lab",
            name="esx2",
            store=self.store,
            taps=Taps(),
            driver=QemuDriver("lab", "esx2"),
            maintenance=Maintenance(folder / "maintenance.json", "esx2"),
            publish=self.publish,
            peer=lambda _order: pytest.fail("nobody is asked"),
            credentials=Credentials(**files),
        )

    def publish(self, event: str, /, **properties: Json) -> None:
        self.told.append(event)

    def vm(self, **known: Any) -> Vm:
        record = VmRecord(machine=MACHINE, running=MACHINE, **known)
        self.store.save(record)
        vm = Vm(self.host, record)
        vm._monitor = self.qemu  # type: ignore[assignment]
        return vm

    @property
    def record(self) -> VmRecord:
        return self.store.load()["web1"]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_it_runs_once_however_often_it_is_told(world: World) -> None:
    vm = world.vm(state="incoming", arriving="m1")
    await vm.begin("m1")
    await vm.begin("m1")
    assert world.qemu.said == ["cont"]
    assert world.told == ["vm.arrived"]
    assert (world.record.state, world.record.arriving, world.record.arrived) == ("running", "", "m1")
    with pytest.raises(ConflictError, match="web1 did not arrive at host esx2"):
        await vm.begin("another")


async def test_a_vm_that_ran_and_ended_did_arrive(world: World) -> None:
    """The source whose first answer was lost must not take it back."""
    await world.vm(state="off", arrived="m1").begin("m1")
    assert not world.qemu.said


async def test_a_refusal_of_qemus_is_a_no(world: World) -> None:
    world.qemu.fails = MonitorError("QEMU refused cont")
    with pytest.raises(ConflictError, match="QEMU refused cont"):
        await world.vm(state="incoming", arriving="m1").begin("m1")
    assert (world.record.state, world.record.arriving, world.record.arrived) == ("incoming", "m1", "")


async def test_a_process_that_ended_is_a_no(world: World) -> None:
    with pytest.raises(ConflictError, match="web1 cannot run on host esx2: web1 is powered off"):
        await world.vm(state="off", arriving="m1").begin("m1")
    assert world.record.arrived == ""


async def test_silence_of_qemus_is_no_no(world: World) -> None:
    world.qemu.fails = TimedOutError("QEMU did not answer cont")
    await world.vm(state="incoming", arriving="m1").begin("m1")
    assert world.record.arrived == "m1"


@pytest.mark.parametrize(
    ("known", "words"),
    [
        (
            {"migration": Order(id="m1", host="esx1", address="a", port=1, listen="a", machine=MACHINE)},
            "web1 is being migrated to esx1",
        ),
        ({"moved": Moved(host="esx1", machine=MACHINE)}, "web1 was migrated to esx1"),
        ({"state": "incoming", "arriving": "m1"}, "web1 is on its way here"),
    ],
    ids=["leaves", "left", "arrives"],
)
async def test_a_vm_on_its_way_is_not_started_or_changed(world: World, known: dict[str, Any], words: str) -> None:
    vm = world.vm(**known)
    for act in (vm.start(), vm.put(MACHINE, "on", restart=False), vm.reset(), vm.stop(force=True, timeout=1)):
        with pytest.raises(ConflictError, match=words):
            await act
