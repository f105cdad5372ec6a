"""The handlers of images and VMs against a host's agent that is told what to do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from labctl.errors import LabError
from labctl.model.address import Address
from labctl.model.json import JsonObject
from labctl.model.unit import Change, Health, Hold, RecordedUnit, Unit, UnitState
from labctl.plugin.api import Removal, Services, UnitErrors
from labctl.testing.conformance import check_handler, lab_services
from labctl_server.handlers import vm as vm_module
from labctl_server.handlers.image import ImageHandler
from labctl_server.handlers.vm import VmHandler
from labctl_server.image.store import ImageStore

from .fakes import FakeHost, FakeRecipe, store_of


@pytest.fixture
def esx1() -> FakeHost:
    return FakeHost()


@pytest.fixture
def esx2() -> FakeHost:
    return FakeHost()


@pytest.fixture
def services(tmp_path: Path, esx1: FakeHost, esx2: FakeHost) -> Iterator[Services]:
    with lab_services(tmp_path, agents={"esx1": esx1, "esx2": esx2}) as made:
        yield made


@pytest.fixture
def handler() -> VmHandler:
    return VmHandler(store_of(FakeRecipe()))


def unit(name: str = "web1", host: str = "esx1", power: str = "on", memory: int = 1, *, tools: bool = True) -> Unit:
    machine: JsonObject = {"name": name, "memory": memory, "tools": tools}
    spec: JsonObject = {"host": host, "power": power, "image": "micro", "machine": machine}
    return Unit(id=f"vm:{name}", type="vm", resource=Address("vm", name), spec=spec)


def recorded(made: Unit) -> RecordedUnit:
    return RecordedUnit(unit=made, state=UnitState.CREATED)


async def test_the_vm_handler_keeps_every_promise_of_a_handler(handler: VmHandler, services: Services) -> None:
    await check_handler(handler, services, [unit("web1"), unit("db1", "esx2"), unit("cold", power="off")])


async def test_the_host_is_told_what_the_vm_starts_from(
    handler: VmHandler, services: Services, esx1: FakeHost, tmp_path: Path
) -> None:
    await handler.create(services, [unit()])
    boot = esx1.vms["web1"]["machine"]["boot"]
    assert Path(boot["kernel"]).is_relative_to(tmp_path / "images" / "micro")
    assert boot["cmdline"] == "console=ttyS0"


async def test_one_vm_that_does_not_start_keeps_no_other_from_starting(
    handler: VmHandler, services: Services, esx1: FakeHost
) -> None:
    esx1.refuses = {"web1"}
    with pytest.raises(UnitErrors) as caught:
        await handler.create(services, [unit("web1"), unit("db1")])
    assert list(caught.value.errors) == ["vm:web1"]
    assert esx1.vms["db1"]["state"] == "running"


async def test_tools_that_never_answer_are_told_and_are_no_error(
    handler: VmHandler, services: Services, esx1: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vm_module, "TOOLS_DEADLINE", 0.0)
    told: list[str] = []
    monkeypatch.setattr(services, "emit", lambda event, **_: told.append(event))
    esx1.tools = "not running"
    await handler.create(services, [unit()])
    assert told == ["vm.tools-missing"]


async def test_nobody_waits_for_tools_that_an_image_does_not_have(
    handler: VmHandler, services: Services, esx1: FakeHost
) -> None:
    esx1.tools = "not running"
    await handler.create(services, [unit(tools=False)])
    assert esx1.calls == ["PUT /v1/vms/web1"]


@pytest.mark.parametrize(
    ("old", "new", "change"),
    [
        (unit(), unit(host="esx2"), Change.REPLACE),
        (unit(), unit(memory=2), Change.POWER_CYCLE),
        (unit(power="off"), unit(power="off", memory=2), Change.IN_PLACE),
        (unit(power="off"), unit(), Change.IN_PLACE),
        (unit(), unit(power="off", memory=2), Change.IN_PLACE),
    ],
)
def test_only_a_running_vm_needs_a_power_cycle(handler: VmHandler, old: Unit, new: Unit, change: Change) -> None:
    assert handler.change(old.spec, new.spec) is change


@pytest.mark.parametrize(
    ("state", "power", "health"),
    [
        ("running", "on", Health.OK),
        ("off", "on", Health.STOPPED),
        ("crashed", "on", Health.STOPPED),
        ("off", "off", Health.OK),
        ("running", "off", Health.OK),
    ],
)
async def test_a_vm_is_as_its_host_says(
    handler: VmHandler, services: Services, esx1: FakeHost, state: str, power: str, health: Health
) -> None:
    made = unit(power=power)
    await handler.create(services, [made])
    esx1.vms["web1"]["state"] = state
    seen = await handler.observe(services, [recorded(made)])
    assert seen["vm:web1"].health is health


async def test_a_host_is_asked_once_for_all_of_its_vms(handler: VmHandler, services: Services, esx1: FakeHost) -> None:
    await handler.observe(services, [recorded(unit(f"web{number}")) for number in range(5)])
    assert esx1.calls == ["GET /v1/vms"]


async def test_vms_of_a_host_that_does_not_answer_are_unreachable_and_not_missing(
    handler: VmHandler, services: Services, esx1: FakeHost
) -> None:
    esx1.reachable = False
    seen = await handler.observe(services, [recorded(unit()), recorded(unit("db1", "esx2"))])
    assert (seen["vm:web1"].health, seen["vm:db1"].health) == (Health.UNREACHABLE, Health.MISSING)


async def test_a_vm_can_be_removed_while_its_host_does_not_answer(
    handler: VmHandler, services: Services, esx1: FakeHost
) -> None:
    esx1.reachable = False
    await handler.delete(services, [recorded(unit())], Removal())


def image_unit() -> Unit:
    return Unit(id="image:micro", type="image", resource=Address("vm", "web1"), spec={"image": "micro"})


async def test_an_image_is_built_once_and_outlives_the_lab(services: Services) -> None:
    recipe = FakeRecipe()
    handler = ImageHandler(store_of(recipe))
    assert (await handler.observe(services, [recorded(image_unit())]))["image:micro"].health is Health.MISSING
    facts = await handler.create(services, [image_unit()])
    assert await handler.create(services, [image_unit()]) == facts
    await handler.delete(services, [recorded(image_unit())], Removal(purge=True))
    assert (await handler.observe(services, [recorded(image_unit())]))["image:micro"].health is Health.OK
    assert recipe.builds == 1


async def test_an_image_of_another_version_of_labctl_does_for_the_vms_that_exist(services: Services) -> None:
    handler = ImageHandler(store_of(FakeRecipe()))
    await handler.create(services, [image_unit()])
    newer = FakeRecipe()
    newer.fingerprint = "2"
    seen = await ImageHandler(store_of(newer)).observe(services, [recorded(image_unit())])
    assert seen["image:micro"].health is Health.OK
    assert ImageHandler.hold is Hold.NEVER


async def test_an_image_that_cannot_be_built_fails_its_unit_alone(services: Services) -> None:
    class Broken(FakeRecipe):
        def build(self, *_: Any) -> Any:
            raise LabError("no network", hint="check it")

    with pytest.raises(UnitErrors, match="no network"):
        await ImageHandler(lambda cache: ImageStore(cache, [Broken()])).create(services, [image_unit()])


def gone_to(host: str) -> dict[str, Any]:
    """What a host remembers of a VM that was migrated away."""
    return {
        "state": "off",
        "moved": {"host": host, "machine": {"name": "web1", "memory": 1, "tools": True, "nics": [2]}},
    }


async def test_a_vm_that_was_migrated_is_seen_where_it_went(
    handler: VmHandler, services: Services, esx1: FakeHost
) -> None:
    esx1.vms["web1"] = gone_to("esx2")
    seen = (await handler.observe(services, [recorded(unit())]))["vm:web1"]
    assert seen.health is Health.OK
    assert seen.became == {**unit(host="esx2").spec, "machine": gone_to("esx2")["moved"]["machine"]}
    assert seen.chosen == {("vm-host", "web1"): "esx2"}


async def test_the_host_that_a_vm_left_forgets_it_once_that_is_recorded(
    handler: VmHandler, services: Services, esx1: FakeHost
) -> None:
    esx1.vms["web1"] = gone_to("esx2")
    await handler.settled(services, recorded(unit()), unit(host="esx2"))
    assert not esx1.vms
    esx1.reachable = False
    await handler.settled(services, recorded(unit()), unit(host="esx2"))


async def test_a_vm_that_came_back_is_not_forgotten(
    handler: VmHandler, services: Services, esx1: FakeHost, esx2: FakeHost
) -> None:
    """Nor is one that is told as moved twice: the host that it left then is the one where it runs."""
    esx1.vms["web1"] = {"state": "running", "moved": None}
    esx2.vms["web1"] = {"state": "running", "moved": None}
    await handler.settled(services, recorded(unit()), unit(host="esx2"))
    assert "web1" in esx1.vms
    await handler.settled(services, recorded(unit(host="esx2")), unit(host="esx2"))
    assert "web1" in esx2.vms
    assert not esx2.calls


async def test_a_vm_is_not_put_where_it_left_while_it_runs_where_it_went(
    handler: VmHandler, services: Services, esx1: FakeHost, esx2: FakeHost
) -> None:
    esx1.vms["web1"] = gone_to("esx2")
    esx2.vms["web1"] = {"state": "running"}
    with pytest.raises(UnitErrors, match="web1 was migrated to esx2"):
        await handler.create(services, [unit()])
    del esx2.vms["web1"]
    await handler.create(services, [unit()])
    assert esx1.vms["web1"]["state"] == "running"


async def test_a_removal_follows_the_vm(handler: VmHandler, services: Services, esx1: FakeHost, esx2: FakeHost) -> None:
    esx1.vms["web1"] = gone_to("esx2")
    esx2.vms["web1"] = {"state": "running"}
    await handler.delete(services, [recorded(unit())], Removal())
    assert not esx1.vms
    assert not esx2.vms
