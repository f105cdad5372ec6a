"""A lab on a fake world: convergence, restarts, actions, what is told of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from labctl.agent.client import AgentUnreachableError
from labctl.errors import LabError, NotRunningError
from labctl.model.resource import Resource
from labctl.model.unit import Health, Observation, RecordedUnit, Unit, UnitState
from labctl.plugin.api import CompileView, Services
from labctl.runtime.executor import Progress
from labctl.runtime.lab import Lab
from labctl.runtime.report import ChangeError, Report, plan_to_json
from labctl.testing.lab import open_lab
from labctl.testing.world import FakeHandler, FakeWorld
from labctl.topology.errors import TopologyError

from .sample_lab import KINDS, ONE, OTHER, VmKind, address_of, desired, handlers, lab_on


@pytest.fixture
def world() -> FakeWorld:
    return FakeWorld()


@pytest.fixture
def lab(tmp_path: Path, world: FakeWorld) -> Iterator[Lab]:
    made = lab_on(tmp_path, world)
    yield made
    made.journal.close()


async def up(lab: Lab, text: str, *, restart: bool = False) -> Report:
    report = await lab.up(lab.load(text, "t.toml"), restart=restart)
    report.raise_failures()
    return report


async def test_a_second_up_does_nothing_and_says_so(lab: Lab, world: FakeWorld) -> None:
    assert [str(line) for line in (await up(lab, ONE)).lines] == [
        "switch.sw1: add",
        "host.esx1: add",
        "host.esx2: add",
        "vm.web1: add",
        "vm.db1: add",
    ]
    world.calls.clear()
    transactions = len(lab.journal.records())
    report = await up(lab, ONE)
    assert report.nothing_to_do
    assert not report.lines
    assert not world.calls
    assert len(lab.journal.records()) == transactions


async def test_an_edited_file_changes_just_what_differs(lab: Lab, world: FakeWorld) -> None:
    await up(lab, ONE)
    report = await up(lab, OTHER)
    assert sorted(str(line) for line in report.lines) == [
        "host.esx1: change (cpus 1 → 4)",
        "host.esx2: remove",
        "host.esx3: add",
        "switch.sw1: change (mtu 1500 → 9000)",
        "vm.app1: add",
        "vm.db1: remove",
        "vm.web1: deferred (memory 128 MiB → 256 MiB needs a power-cycle (use --restart))",
    ]
    assert report.deferred
    assert world.things["vm:web1"]["memory"] == 128 * 2**20
    await up(lab, OTHER, restart=True)
    assert world.things == desired(lab, OTHER)


async def test_choices_stay_when_the_file_grows_at_its_top(lab: Lab, world: FakeWorld) -> None:
    await up(lab, ONE)
    before = {name: world.things[f"link:{name}"] for name in ("esx1", "esx2")}
    await up(lab, ONE.replace('[host."esx', '[host.new]\nswitch = "sw1"\n[host."esx'))
    assert {name: world.things[f"link:{name}"] for name in ("esx1", "esx2")} == before


async def test_what_vanished_is_made_again_and_nothing_else(lab: Lab, world: FakeWorld) -> None:
    await up(lab, ONE)
    world.lose("vm:web1")
    world.calls.clear()
    report = await up(lab, ONE)
    assert world.calls == ["create vm:web1"]
    assert [str(line) for line in report.lines] == ["vm.web1: repair (is missing)"]


async def test_behind_an_agent_that_comes_back_everything_is_looked_at_again(lab: Lab, world: FakeWorld) -> None:
    await up(lab, ONE)
    world.lose("agent:esx1")
    world.lose("vm:web1")

    async def observe(services: object, units: Sequence[RecordedUnit]) -> dict[str, Observation]:
        dead = "agent:esx1" not in world.things
        return {
            each.unit.id: Observation(
                health=Health.UNREACHABLE if dead else Health.OK if each.unit.id in world.things else Health.MISSING
            )
            for each in units
        }

    lab.plugins.handlers["vm"].observe = observe  # type: ignore[method-assign,assignment]
    world.calls.clear()
    report = await up(lab, ONE)
    assert world.calls == ["create agent:esx1", "create vm:web1"]
    assert report.unreachable == ()


async def test_a_restarted_labd_knows_the_lab_from_the_journal(tmp_path: Path, lab: Lab, world: FakeWorld) -> None:
    await up(lab, ONE)
    again = lab_on(tmp_path, world)
    again.restore()
    assert again.description(address_of("host.esx1")).summary == "1 CPUs"
    shown = again.view.inventory.get("vm.web1")
    assert shown is not None
    assert shown.properties["state"] == "running"
    again.journal.close()


async def test_down_needs_no_topology_and_leaves_nothing(tmp_path: Path, lab: Lab, world: FakeWorld) -> None:
    await up(lab, ONE)
    again = lab_on(tmp_path, world)
    (await again.down()).raise_failures()
    assert world.things == {}
    assert again.journal.topology is None
    assert again.view.inventory.objects() == ()
    again.journal.close()


async def test_down_keeps_persistent_data_unless_it_purges(lab: Lab) -> None:
    kept = lab.info.data_directory / "disk"
    kept.parent.mkdir(parents=True)
    kept.write_text("precious")
    await up(lab, ONE)
    await lab.down()
    assert kept.read_text() == "precious"
    await lab.down(purge=True)
    assert not kept.exists()


async def test_down_without_the_plugin_says_so_and_removes_the_rest(tmp_path: Path, lab: Lab, world: FakeWorld) -> None:
    await up(lab, ONE)
    fewer = [handler for handler in handlers(world) if handler.type != "disk"]
    again = open_lab(tmp_path, KINDS, list(fewer))
    world.needs.clear()
    report = await again.down()
    assert {failure.unit for failure in report.failures} == {"disk:web1", "disk:db1"}
    assert "plugin doctor" in str(report.failures[0].hint)
    assert set(world.things) == {"disk:web1", "disk:db1"}
    again.journal.close()


async def test_down_of_a_dead_node_lets_go_of_what_died_with_it(lab: Lab, world: FakeWorld) -> None:
    await up(lab, ONE)
    world.broken["vm:web1"] = AgentUnreachableError("esx1 does not respond")
    world.needs.pop("vm:web1")
    report = await lab.down()
    assert not report.failures
    assert not lab.journal.units
    assert "lost with its node" in {record.transition for record in lab.journal.records()}


async def test_failures_are_one_error_with_all_of_them_and_the_next_up_goes_on(lab: Lab, world: FakeWorld) -> None:
    world.broken = {"agent:esx1": LabError("port taken", hint="free it"), "disk:db1": ZeroDivisionError("oops")}
    report = await lab.up(lab.load(ONE, "t.toml"))
    with pytest.raises(ChangeError) as caught:
        report.raise_failures()
    assert str(caught.value).splitlines() == [
        "host.esx1: cannot create agent:esx1: port taken",
        "vm.db1: cannot create disk:db1: ZeroDivisionError: oops",
    ]
    assert caught.value.hint == "free it"
    world.broken.clear()
    await up(lab, ONE)
    assert world.things == desired(lab, ONE)


async def test_reports_and_plans_are_plain_json(lab: Lab, world: FakeWorld) -> None:
    world.broken = {"agent:esx1": LabError("port taken", hint="free it")}
    report = json.loads(json.dumps((await lab.up(lab.load(ONE, "t.toml"))).to_json()))
    assert report["failures"] == [
        {
            "unit": "agent:esx1",
            "resource": "host.esx1",
            "verb": "create",
            "message": "port taken",
            "hint": "free it",
            "skipped": ["disk:web1", "vm:web1"],
        }
    ]
    plan = json.loads(json.dumps(plan_to_json(await lab.plan(lab.load(OTHER, "t.toml")))))
    assert not plan["nothing_to_do"]
    assert {"resource": "host.esx3", "action": "add", "text": ""} in plan["lines"]
    assert {step["unit"] for step in plan["steps"]} >= {"netns:esx3", "vm:app1"}


async def test_two_changes_at_once_happen_one_after_the_other(lab: Lab, world: FakeWorld) -> None:
    await asyncio.gather(up(lab, ONE), up(lab, OTHER, restart=True))
    assert world.things == desired(lab, OTHER)
    assert not lab.changing


async def test_a_topology_that_cannot_be_compiled_touches_nothing(lab: Lab, world: FakeWorld) -> None:
    with pytest.raises(TopologyError):
        await up(lab, ONE.replace('host = "esx2"', 'host = "esx9"'))
    assert not world.calls
    assert lab.journal.topology is None


async def test_progress_is_told_with_what_a_long_step_is_at(tmp_path: Path, world: FakeWorld) -> None:
    class Slow(FakeHandler):
        async def create(self, services, units):  # type: ignore[no-untyped-def]
            services.progress(units[0].id, "half way")
            return await super().create(services, units)

    mine = [handler for handler in handlers(world) if handler.type != "vm"]
    lab = open_lab(tmp_path / "slow", KINDS, [*mine, Slow("vm", world)])
    heard: list[Progress] = []
    await lab.up(lab.load(ONE, "t.toml"), watcher=heard.append)
    told = [(each.phase, each.message) for each in heard if each.unit == "vm:web1"]
    assert told == [("started", ""), ("at", "half way"), ("done", "")]
    lab.journal.close()


@pytest.mark.parametrize("purge", [False, True])
async def test_down_leaves_nothing_but_persistent_data(lab: Lab, purge: bool) -> None:
    data = lab.info.data_directory
    await up(lab, ONE)
    data.mkdir(parents=True)
    (await lab.down(purge=purge)).raise_failures()
    assert not data.parent.exists()
    await up(lab, ONE)
    data.mkdir(parents=True)
    (data / "disk").touch()
    (data.parent / "another-lab").mkdir()
    (await lab.down(purge=purge)).raise_failures()
    assert (data / "disk").exists() is not purge
    assert (data.parent / "another-lab").exists()


async def test_an_action_runs_with_the_labs_services_and_is_followed_by_a_look(lab: Lab, world: FakeWorld) -> None:
    await up(lab, ONE)
    events = lab.events.follow()
    await anext(events)
    world.health["vm:web1"] = Health.STOPPED
    answer = await lab.act(address_of("vm.web1"), "stop", {"force": True})
    assert answer == {"units": ["disk:web1", "vm:web1"], "force": True}
    shown = lab.view.inventory.get("vm.web1")
    assert shown is not None
    assert shown.properties["state"] == "stopped"
    await events.aclose()


async def test_unknown_resources_and_actions_suggest_the_nearest(lab: Lab) -> None:
    await up(lab, ONE)
    with pytest.raises(NotRunningError, match='no vm named "wbe1"') as resource:
        await lab.act(address_of("vm.wbe1"), "stop", {})
    assert resource.value.hint == 'did you mean "web1"?'
    with pytest.raises(LabError, match='no action "stpo"') as action:
        await lab.act(address_of("vm.web1"), "stpo", {})
    assert action.value.hint == 'did you mean "stop"?'


async def test_an_agent_that_stops_answering_shows_and_is_told_once(lab: Lab) -> None:
    await up(lab, ONE)
    revision = lab.view.inventory.revision
    events = lab.events.follow(since=0)
    await anext(events)
    for answers in (True, False, False):
        lab.agent_answers("esx1", answers, "no answer for 3 s")
    told = [await anext(events), await anext(events)]
    assert [entry["event"] for entry in told if isinstance(entry, dict)] == ["agent.connected", "agent.lost"]
    changed = lab.view.inventory.changes_since(revision)
    assert [managed.properties["connection"] for managed in changed.objects] == ["Not responding"]
    await events.aclose()


class Restless(FakeHandler):
    """VMs that may go to another host by themselves."""

    gone: str = ""
    told: list[str] = []  # noqa: RUF012 - one handler a test

    async def observe(self, services: Services, units: Sequence[RecordedUnit]) -> Mapping[str, Observation]:
        found = dict(await super().observe(services, units))
        for record in units:
            if self.gone and record.unit.id == "vm:web1" and record.unit.spec["host"] != self.gone:
                found["vm:web1"] = Observation(
                    health=Health.OK, became={**record.unit.spec, "host": self.gone}, chosen={("vm", "web1"): self.gone}
                )
        return found

    async def settled(self, services: Services, old: RecordedUnit, new: Unit) -> None:
        self.told.append(f"{old.unit.spec['host']} → {new.spec['host']}, needs {', '.join(new.needs)}")


class PlacedVmKind(VmKind):
    """A VM that runs where it was placed."""

    def compile(self, resource: Resource[Any], view: CompileView) -> Iterable[Unit]:
        host = view.place("vm", resource.name, ["esx1", "esx2"])
        spec = {"memory": resource.spec.memory, "host": host}
        yield Unit(id=f"vm:{resource.name}", type="vm", resource=resource.address, spec=spec, needs=(f"agent:{host}",))


async def test_what_moved_by_itself_is_recorded_and_an_up_leaves_it_there(tmp_path: Path, world: FakeWorld) -> None:
    restless = Restless("vm", world)
    restless.told = []
    kinds = [kind for kind in KINDS if kind.name != "vm"] + [PlacedVmKind()]
    made = open_lab(tmp_path, kinds, [*(one for one in handlers(world) if one.type != "vm"), restless])
    await up(made, ONE)
    restless.gone = "esx2"
    world.things["vm:web1"] = {**world.things["vm:web1"], "host": "esx2"}
    assert (await made.plan(made.load(ONE, "t.toml"))).nothing_to_do
    record = made.journal.units["vm:web1"]
    assert (record.unit.spec["host"], record.unit.needs) == ("esx2", ("agent:esx2",))
    assert made.journal.choices["vm", "web1"] == "esx2"
    assert restless.told == ["esx1 → esx2, needs agent:esx2"]
    assert (await up(made, ONE)).nothing_to_do
    made.journal.close()


async def test_looks_at_a_lab_follow_one_another(tmp_path: Path, world: FakeWorld) -> None:
    """One that begins while another records what moved would ask the hosts as they were, and tell of the move once more."""

    class Slow(Restless):
        looks = 0
        most = 0

        async def observe(self, services: Services, units: Sequence[RecordedUnit]) -> Mapping[str, Observation]:
            self.looks += 1
            self.most = max(self.most, self.looks)
            await asyncio.sleep(0.001)
            self.looks -= 1
            return await super().observe(services, units)

    slow = Slow("vm", world)
    slow.told = []
    kinds = [kind for kind in KINDS if kind.name != "vm"] + [PlacedVmKind()]
    made = open_lab(tmp_path, kinds, [*(one for one in handlers(world) if one.type != "vm"), slow])
    await up(made, ONE)
    slow.gone = "esx2"
    world.things["vm:web1"] = {**world.things["vm:web1"], "host": "esx2"}
    records = [made.journal.units["vm:web1"]]
    await asyncio.gather(*(made.observe() for _ in range(3)), made._observe_again(records), made.learn("vm:web1", {}))
    assert slow.most == 1
    assert slow.told == ["esx1 → esx2, needs agent:esx2"]
    shown = made.view.inventory.get("vm.web1")
    assert shown is not None
    assert shown.properties["state"] == "running"
    made.journal.close()


async def test_what_a_look_says_again_is_not_settled_twice(tmp_path: Path, world: FakeWorld) -> None:
    """The second time the VM's old host would be its new one, and what is forgotten there is the VM itself."""

    class Insistent(Restless):
        async def observe(self, services: Services, units: Sequence[RecordedUnit]) -> Mapping[str, Observation]:
            found = dict(await super().observe(services, units))
            for record in units:
                if self.gone and record.unit.id == "vm:web1":
                    found["vm:web1"] = Observation(health=Health.OK, became={**record.unit.spec, "host": self.gone})
            return found

    insistent = Insistent("vm", world)
    insistent.told = []
    kinds = [kind for kind in KINDS if kind.name != "vm"] + [PlacedVmKind()]
    made = open_lab(tmp_path, kinds, [*(one for one in handlers(world) if one.type != "vm"), insistent])
    await up(made, ONE)
    insistent.gone = "esx2"
    for _ in range(2):
        await made.observe()
    assert len(insistent.told) == 1
    made.journal.close()


async def test_an_up_is_the_first_to_see_what_moved(tmp_path: Path, world: FakeWorld) -> None:
    restless = Restless("vm", world)
    kinds = [kind for kind in KINDS if kind.name != "vm"] + [PlacedVmKind()]
    made = open_lab(tmp_path, kinds, [*(one for one in handlers(world) if one.type != "vm"), restless])
    await up(made, ONE)
    restless.gone = "esx2"
    world.calls.clear()
    assert (await up(made, ONE)).nothing_to_do
    assert not world.calls
    made.journal.close()


async def test_what_moved_while_it_is_changed_is_recorded_afterwards(tmp_path: Path, world: FakeWorld) -> None:
    restless = Restless("vm", world)
    kinds = [kind for kind in KINDS if kind.name != "vm"] + [PlacedVmKind()]
    made = open_lab(tmp_path, kinds, [*(one for one in handlers(world) if one.type != "vm"), restless])
    await up(made, ONE)
    restless.gone = "esx2"
    before = made.journal.units["vm:web1"].unit
    made.journal.begin(UnitState.UPDATING, [before])
    await made.learn("vm:web1", {})
    assert made.journal.units["vm:web1"].previous == before
    made.journal.made({"vm:web1": {}})
    await made.observe()
    assert made.journal.units["vm:web1"].unit.spec["host"] == "esx2"
    made.journal.close()
