"""How labd empties a host: which host each VM goes to, what keeps one, and what an end in between leaves."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from labctl.agent.client import AgentUnreachableError
from labctl.errors import ConflictError
from labctl.model.address import Address
from labctl.model.resource import Resource, Spec
from labctl.testing.waiting import wait_until
from labctl_server.kinds import maintenance as module
from labctl_server.kinds import migration

GIB = 2**30


class Lab:
    """Three hosts, of which esx3 has the most free memory, and VMs on esx1; migrations succeed at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.states = dict.fromkeys(("esx1", "esx2", "esx3"), "off")
        self.places = {"web1": "esx1", "web2": "esx1", "db1": "esx2"}
        self.refusals: dict[tuple[str, str], str] = {}
        self.fails: set[str] = set()
        self.silences = 0
        self.told: list[str] = []
        self.services = SimpleNamespace(agent=Agent(self).of, emit=lambda event, **_rest: self.told.append(event))
        monkeypatch.setattr(migration, "check", self.check)
        monkeypatch.setattr(migration, "migrate", self.migrate)
        monkeypatch.setattr(module, "_tasks", {})
        monkeypatch.setattr(module, "LOOK_INTERVAL", 0.001)

    def description(self, address: Address) -> Any:
        if address.kind == "vm":
            return SimpleNamespace(properties={"hosts": ["esx1", "esx2", "esx3"]})
        return SimpleNamespace(properties={"memory": {"esx1": 8, "esx2": 2, "esx3": 3}[address.name] * GIB})

    def units_of_type(self, unit_type: str) -> list[Any]:
        assert unit_type == "vm"
        return [
            SimpleNamespace(unit=SimpleNamespace(spec={"host": host, "machine": {"memory": GIB}}))
            for host in self.places.values()
        ]

    async def check(self, context: Any, vm: Resource[Any], arguments: Any) -> Any:
        self.silence()
        why = self.refusals.get((vm.name, arguments["to"]))
        return {"checks": [{"ok": True, "detail": ""}, {"ok": why is None, "detail": why or ""}]}

    def silence(self) -> None:
        """Hosts do not answer for a while."""
        if self.silences:
            self.silences -= 1
            raise AgentUnreachableError("the agent of esx1 does not answer")

    async def migrate(self, context: Any, vm: Resource[Any], arguments: Any) -> Any:
        if vm.name in self.fails:
            return {"state": "failed", "message": "the cable broke"}
        self.places[vm.name] = arguments["to"]
        return {"state": "completed"}

    async def act(self, action: str, host: str = "esx1", **arguments: Any) -> Any:
        resource = Resource(address=Address("host", host), spec=Spec(), table=())
        return await module.maintenance_actions()[action](self, resource, arguments)  # type: ignore[arg-type]

    async def ended(self) -> Any:
        async def over() -> Any:
            told = await self.act("maintenance")
            return told if told["task"]["state"] != "running" else None

        return await wait_until(over, what="the task's end")


class Agent:
    """The hosts' agents."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def of(self, host: str) -> Any:
        return SimpleNamespace(call=lambda *words: self.call(host, *words))

    async def call(self, host: str, method: str, path: str, body: Any = None) -> Any:
        assert path == "/v1/maintenance"
        if method == "GET" and self.lab.states[host] == "entering":
            self.lab.silence()
        running = [vm for vm, where in self.lab.places.items() if where == host]
        if method == "PUT":
            if body["state"] == "on" and running:
                raise ConflictError("VMs run here")
            self.lab.states[host] = body["state"]
        return {"state": self.lab.states[host], "running": running}


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Lab:
    return Lab(monkeypatch)


async def test_each_vm_goes_where_most_memory_is_free_at_that_moment(lab: Lab) -> None:
    await lab.act("enter-maintenance")
    told = await lab.ended()
    assert told["task"]["moved"] == {"web1": "esx3", "web2": "esx3"}
    assert (told["state"], lab.places["db1"]) == ("on", "esx2")
    assert lab.told == ["host.entering_maintenance", "host.entered_maintenance"]


async def test_a_host_that_a_check_rules_out_is_passed_over(lab: Lab) -> None:
    lab.refusals["web1", "esx3"] = "esx3 has no uplink to network production"
    await lab.act("enter-maintenance")
    assert (await lab.ended())["task"]["moved"] == {"web1": "esx2", "web2": "esx3"}


async def test_vms_that_cannot_go_are_named_with_the_reasons_and_the_host_takes_vms_again(lab: Lab) -> None:
    lab.refusals["web1", "esx3"] = "esx3 has no uplink to network production"
    lab.refusals["web1", "esx2"] = "it waits for a power-cycle"
    lab.fails.add("web2")
    await lab.act("enter-maintenance")
    told = await lab.ended()
    assert told["state"] == "off"
    assert told["task"]["message"] == (
        "esx1 cannot be emptied: web1: esx3 has no uplink to network production; esx2: it waits for a power-cycle; "
        "web2: esx3: the cable broke; esx2: the cable broke"
    )
    assert lab.told[-1] == "host.maintenance_failed"


async def test_who_waits_goes_on_once_the_reason_is_gone_and_may_be_told_to_stop(lab: Lab) -> None:
    lab.fails.add("web2")
    await lab.act("enter-maintenance", wait=True)

    async def stuck() -> bool:
        return "web2" in (await lab.act("maintenance"))["task"]["stuck"]

    await wait_until(stuck, what="web2 to be stuck")
    assert lab.states["esx1"] == "entering"
    lab.fails.clear()
    assert (await lab.ended())["state"] == "on"
    assert (await lab.act("exit-maintenance"))["state"] == "off"

    lab.places["web1"] = "esx1"
    lab.fails.add("web1")
    await lab.act("enter-maintenance", wait=True)
    told = await lab.act("exit-maintenance")
    assert (told["state"], told["task"]["state"]) == ("off", "cancelled")


async def test_who_waits_bears_a_host_that_is_slow_to_answer(lab: Lab) -> None:
    await lab.act("enter-maintenance", wait=True)
    lab.silences = 7
    lab.states["esx1"] = "entering"
    await wait_until(lambda: _is(lab.states["esx1"] == "on"), what="esx1 to be empty")
    assert lab.silences == 0
    assert (await lab.act("maintenance"))["task"]["moved"] == {"web1": "esx3", "web2": "esx3"}


async def _is(truth: bool) -> bool:
    return truth


async def test_entering_twice_is_one_task_and_a_host_that_is_on_needs_none(lab: Lab) -> None:
    lab.fails |= {"web1", "web2"}
    first = await lab.act("enter-maintenance", wait=True)
    second = await lab.act("enter-maintenance")
    assert first["task"]["started"] == second["task"]["started"]
    lab.fails.clear()
    await lab.ended()
    assert (await lab.act("enter-maintenance"))["task"]["started"] == first["task"]["started"]
