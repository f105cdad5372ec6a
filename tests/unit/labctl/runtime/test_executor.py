"""How a plan runs: batches, concurrency, failures, cancellation, and what the journal hears."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from labctl.errors import LabError
from labctl.model.address import Address
from labctl.model.json import JsonObject
from labctl.model.unit import Change, RecordedUnit, Unit, UnitState
from labctl.plan.diff import make_plan, plan_removal
from labctl.plan.plan import Plan
from labctl.plugin.api import UnitErrors
from labctl.plugin.loader import Plugins
from labctl.runtime.executor import Executor, Progress
from labctl.runtime.journal import Journal
from labctl.runtime.lab import Handlers
from labctl.testing.lab import services_in
from labctl.testing.world import FakeHandler, FakeWorld


def unit(name: str, *needs: str, **spec: str | int) -> Unit:
    unit_type = name.partition(":")[0]
    return Unit(id=name, type=unit_type, resource=Address(unit_type, name.partition(":")[2]), spec=spec, needs=needs)


class Bench:
    """An executor on a fake world."""

    def __init__(self, home: Path, *handlers: FakeHandler) -> None:
        self.journal = Journal(home / "journal.db")
        self.heard: list[Progress] = []
        self.handlers = Handlers(Plugins(), {handler.type: handler for handler in handlers})
        self.services = services_in(home, self.journal)
        self.executor = Executor(self.handlers.handler, self.services, self.journal, self.heard.append)

    def plan(self, *units: Unit) -> Plan:
        return make_plan(units, self.journal.units, {}, self.handlers, restart=True)

    def states(self) -> dict[str, UnitState]:
        return {unit_id: record.state for unit_id, record in self.journal.units.items()}


@pytest.fixture
def world() -> FakeWorld:
    return FakeWorld()


@pytest.fixture
async def bench(tmp_path: Path, world: FakeWorld) -> AsyncIterator[Bench]:
    made = Bench(tmp_path, *(FakeHandler(name, world) for name in ("netns", "link", "vm")))
    yield made
    made.journal.close()


async def test_everything_ready_of_one_type_is_one_batch(bench: Bench, world: FakeWorld) -> None:
    units = [unit(f"netns:{n}") for n in "ab"] + [unit(f"link:{n}", f"netns:{n}") for n in "ab"]
    outcome = await bench.executor.run(bench.plan(*units))
    assert world.calls == ["create netns:a, netns:b", "create link:a, link:b"]
    assert len(outcome.done) == 4
    assert set(bench.states().values()) == {UnitState.CREATED}


async def test_independent_types_run_at_the_same_time(tmp_path: Path, world: FakeWorld) -> None:
    meeting = asyncio.Barrier(2)

    async def gate(verb: str, unit_ids: Sequence[str]) -> None:
        await meeting.wait()

    bench = Bench(tmp_path, *(FakeHandler(name, world, gate=gate) for name in ("netns", "vm")))  # type: ignore[arg-type]
    async with asyncio.timeout(5):
        outcome = await bench.executor.run(bench.plan(unit("netns:a"), unit("vm:b")))
    assert len(outcome.done) == 2
    bench.journal.close()


async def test_a_failure_stops_what_depends_on_it_and_nothing_else(bench: Bench, world: FakeWorld) -> None:
    world.broken["link:a"] = LabError("no such cable", hint="plug one in")
    units = [unit("netns:a"), unit("netns:b"), unit("link:a", "netns:a"), unit("link:b", "netns:b")]
    units += [unit("vm:a", "link:a"), unit("vm:b", "link:b"), unit("vm:c", "vm:a")]
    outcome = await bench.executor.run(bench.plan(*units))
    assert [str(error) for _, error in outcome.failed.values()] == ["no such cable"]
    assert {key: cause for key, (_, cause) in outcome.skipped.items()} == {"make:vm:a": "link:a", "make:vm:c": "link:a"}
    assert "vm:b" in world.things
    assert bench.states()["link:a"] is UnitState.CREATING
    assert [(heard.phase, heard.unit) for heard in bench.heard if heard.phase in ("failed", "skipped")] == [
        ("failed", "link:a"),
        ("skipped", "vm:a"),
        ("skipped", "vm:c"),
    ]


async def test_all_failures_are_reported_together(bench: Bench, world: FakeWorld) -> None:
    world.broken = {f"netns:{n}": LabError(n) for n in "ab"}
    outcome = await bench.executor.run(bench.plan(unit("netns:a"), unit("netns:b"), unit("netns:c")))
    assert sorted(outcome.failed) == ["make:netns:a", "make:netns:b"]


async def test_an_error_that_is_no_lab_error_fails_its_batch_and_is_kept(bench: Bench, world: FakeWorld) -> None:
    world.broken["netns:a"] = ZeroDivisionError("a bug")
    outcome = await bench.executor.run(bench.plan(unit("netns:a"), unit("vm:a")))
    assert isinstance(outcome.failed["make:netns:a"][1], ZeroDivisionError)
    assert "make:vm:a" in outcome.done


async def test_the_journal_knows_of_a_change_before_it_is_made_and_of_its_result_after(tmp_path: Path) -> None:
    world = FakeWorld(facts={"vm:a": {"pid": 42}})
    seen: list[UnitState | None] = []

    async def gate(verb: str, unit_ids: Sequence[str]) -> None:
        seen.extend(bench.states().get(unit_id) for unit_id in unit_ids)

    handler = FakeHandler("vm", world, change=Change.IN_PLACE, gate=gate)  # type: ignore[arg-type]
    bench = Bench(tmp_path, handler)
    await bench.executor.run(bench.plan(unit("vm:a", m=1)))
    assert bench.services.facts("vm:a") == {"pid": 42}
    await bench.executor.run(bench.plan(unit("vm:a", m=2)))
    await bench.executor.run(plan_removal(bench.journal.units))
    assert seen == [UnitState.CREATING, UnitState.UPDATING, UnitState.DELETING]
    transitions = [record.transition for record in bench.journal.records()]
    assert transitions == ["creating", "created", "updating", "created", "deleting", "deleted"]
    bench.journal.close()


async def test_partial_results_of_a_failed_batch_are_kept(tmp_path: Path) -> None:
    class Half(FakeHandler):
        async def create(self, services: object, units: Sequence[Unit]) -> dict[str, JsonObject]:
            raise UnitErrors({"vm:b": LabError("no")}, {"vm:a": {"pid": 1}, "vm:b": {"tried": True}})

    bench = Bench(tmp_path, Half("vm", FakeWorld()))
    await bench.executor.run(bench.plan(unit("vm:a"), unit("vm:b")))
    assert bench.states() == {"vm:a": UnitState.CREATED, "vm:b": UnitState.CREATING}
    assert bench.services.facts("vm:a") == {"pid": 1}
    assert bench.services.facts("vm:b") == {"tried": True}
    bench.journal.close()


async def test_cancelling_waits_for_the_handlers_and_leaves_the_intent_recorded(tmp_path: Path) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def gate(verb: str, unit_ids: Sequence[str]) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    bench = Bench(tmp_path, FakeHandler("vm", FakeWorld(), gate=gate))  # type: ignore[arg-type]
    task = asyncio.create_task(bench.executor.run(bench.plan(unit("vm:a"))))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
    assert bench.states() == {"vm:a": UnitState.CREATING}
    bench.journal.close()


async def test_a_unit_that_nobody_handles_is_an_error_that_names_its_type(bench: Bench) -> None:
    recorded = {"ghost:a": RecordedUnit(unit=unit("ghost:a"), state=UnitState.CREATED)}
    outcome = await bench.executor.run(plan_removal(recorded))
    assert "ghost" in str(outcome.failed["delete:ghost:a"][1])


async def test_a_failed_removal_keeps_what_is_below_unless_it_insists(bench: Bench, world: FakeWorld) -> None:
    await bench.executor.run(bench.plan(unit("netns:a"), unit("vm:a", "netns:a")))
    world.broken["vm:a"] = LabError("stuck")
    outcome = await bench.executor.run(plan_removal(bench.journal.units))
    assert list(outcome.skipped) == ["delete:netns:a"]
    world.needs.clear()
    outcome = await bench.executor.run(plan_removal(bench.journal.units), insist=True)
    assert list(outcome.done) == ["delete:netns:a"]
    assert list(bench.journal.units) == ["vm:a"]


async def test_updates_that_fail_keep_their_old_spec_and_the_others_are_done(tmp_path: Path, world: FakeWorld) -> None:
    bench = Bench(tmp_path, FakeHandler("vm", world, change=Change.IN_PLACE))
    names = ("vm:a", "vm:b", "vm:c")
    await bench.executor.run(bench.plan(*(unit(name, m=1) for name in names)))
    world.broken = {"vm:a": UnitErrors({"vm:a": LabError("no")}), "vm:b": LabError("neither")}
    outcome = await bench.executor.run(bench.plan(*(unit(name, m=2) for name in names)))
    assert [str(error) for _, error in outcome.failed.values()] == ["no", "neither"]
    assert bench.states() == {"vm:a": UnitState.UPDATING, "vm:b": UnitState.UPDATING, "vm:c": UnitState.CREATED}
    assert bench.journal.units["vm:a"].previous == unit("vm:a", m=1)
    assert {name: world.things[name]["m"] for name in names} == {"vm:a": 1, "vm:b": 1, "vm:c": 2}
    bench.journal.close()
