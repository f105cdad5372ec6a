"""What a plan promises, for any desired and any recorded set of units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labctl.model.address import Address
from labctl.model.json import JsonObject
from labctl.model.unit import Change, Health, Hold, Observation, RecordedUnit, Unit, UnitState
from labctl.plan.diff import make_plan, plan_removal
from labctl.plan.order import Verb, operations
from labctl.plan.plan import Action, Plan


@dataclass
class Rules:
    changes: Mapping[str, Change] = field(default_factory=dict)
    holds: Mapping[str, Hold] = field(default_factory=dict)

    def change(self, unit_type: str, old: JsonObject, new: JsonObject) -> Change:
        return self.changes.get(unit_type, Change.REPLACE)

    def hold(self, unit_type: str) -> Hold:
        return self.holds.get(unit_type, Hold.REPLACED)


def unit(name: str, *needs: str, resource: str = "", unit_type: str = "", **spec: str | int) -> Unit:
    kind = name.rstrip("0123456789")
    return Unit(
        id=name, type=unit_type or kind, resource=Address(kind, resource or name), spec=dict(spec), needs=tuple(needs)
    )


def created(*units: Unit, state: UnitState = UnitState.CREATED) -> dict[str, RecordedUnit]:
    return {each.id: RecordedUnit(unit=each, state=state) for each in units}


def actions(plan: Plan) -> list[str]:
    return [f"{step.action} {step.unit.id}" for step in plan.steps]


def apply(plan: Plan, recorded: Mapping[str, RecordedUnit]) -> dict[str, RecordedUnit]:
    """Do a plan on paper, operation by operation, and insist on its order."""
    now = dict(recorded)
    done: set[str] = set()
    every = {operation.key for operation in operations(plan.steps)}
    for operation in operations(plan.steps):
        assert set(operation.requires) <= done
        assert set(operation.after) <= done
        assert set(operation.requires) | set(operation.after) <= every
        if operation.verb is Verb.DELETE:
            del now[operation.step.unit.id]
        else:
            missing = [need for need in operation.unit.needs if need not in now]
            assert not missing, f"{operation.key} is made before what it needs: {missing}"
            now[operation.unit.id] = RecordedUnit(unit=operation.unit, state=UnitState.CREATED)
        done.add(operation.key)
    for anew in plan.recorded_anew:
        now[anew.id] = RecordedUnit(unit=anew, state=UnitState.CREATED)
    return now


NAMES = [f"{kind}{number}" for kind in "abcd" for number in range(3)]


@st.composite
def unit_sets(draw: st.DrawFn) -> list[Unit]:
    """Any acyclic set: a hidden order of the names allows any unit to need any earlier one."""
    order = draw(st.permutations(NAMES))
    chosen = order[: draw(st.integers(0, len(order)))]
    units = []
    for number, name in enumerate(chosen):
        needs = draw(st.lists(st.sampled_from(chosen[:number]), max_size=3, unique=True)) if number else []
        units.append(unit(name, *needs, v=draw(st.integers(0, 1))))
    return units


@st.composite
def recorded_sets(draw: st.DrawFn) -> dict[str, RecordedUnit]:
    recorded = {}
    for each in draw(unit_sets()):
        state = draw(st.sampled_from(UnitState))
        previous = unit(each.id, *each.needs, v=7) if state is UnitState.UPDATING else None
        recorded[each.id] = RecordedUnit(unit=each, state=state, previous=previous)
    return recorded


RULES = st.builds(
    Rules,
    changes=st.fixed_dictionaries({kind: st.sampled_from(Change) for kind in "abcd"}),
    holds=st.fixed_dictionaries({kind: st.sampled_from(Hold) for kind in "abcd"}),
)
SEEN = st.dictionaries(
    st.sampled_from(NAMES),
    st.builds(Observation, health=st.sampled_from([Health.OK, Health.MISSING, Health.STOPPED])),
)


@settings(max_examples=400, deadline=None)
@given(unit_sets(), recorded_sets(), SEEN, RULES)
def test_applying_a_plan_gives_what_is_desired_and_leaves_nothing_to_do(
    desired: list[Unit], recorded: dict[str, RecordedUnit], seen: dict[str, Observation], rules: Rules
) -> None:
    seen = {name: health for name, health in seen.items() if name in recorded}
    after = apply(make_plan(desired, recorded, seen, rules, restart=True), recorded)
    assert {name: record.unit for name, record in after.items()} == {each.id: each for each in desired}
    second = make_plan(desired, after, {}, rules, restart=True)
    assert second.nothing_to_do
    assert not second.lines


@settings(max_examples=300, deadline=None)
@given(unit_sets(), recorded_sets(), SEEN, RULES)
def test_without_restart_nothing_that_stays_loses_what_it_needs(
    desired: list[Unit], recorded: dict[str, RecordedUnit], seen: dict[str, Observation], rules: Rules
) -> None:
    recorded = {
        name: RecordedUnit(unit=record.unit, state=UnitState.CREATED)
        for name, record in recorded.items()
        if set(record.unit.needs) <= set(recorded)
    }
    plan = make_plan(desired, recorded, seen, rules)
    after = apply(plan, recorded)
    for step in plan.deferred:
        if step.action is not Action.DELETE:
            assert set(step.recorded.unit.needs if step.recorded else ()) <= set(after)


@given(recorded_sets())
def test_removal_removes_everything_whatever_its_state_and_dependants_first(recorded: dict[str, RecordedUnit]) -> None:
    assert apply(plan_removal(recorded), recorded) == {}


def test_new_units_are_made_in_the_order_of_their_needs() -> None:
    plan = make_plan([unit("vm1", "link1"), unit("link1", "netns1"), unit("netns1")], {}, {}, Rules())
    assert actions(plan) == ["create netns1", "create link1", "create vm1"]
    assert [str(line) for line in plan.lines] == ["netns.netns1: add", "link.link1: add", "vm.vm1: add"]


def test_a_power_cycle_waits_for_restart_and_says_so() -> None:
    old, new = unit("vm1", memory=128 * 2**20), unit("vm1", memory=256 * 2**20)
    rules = Rules(changes={"vm": Change.POWER_CYCLE})
    plan = make_plan([new], created(old), {}, rules)
    assert plan.nothing_to_do
    assert [str(line) for line in plan.lines] == [
        "vm.vm1: deferred (memory 128 MiB → 256 MiB needs a power-cycle (use --restart))"
    ]
    plan = make_plan([new], created(old), {}, rules, restart=True)
    assert [str(line) for line in plan.lines] == ["vm.vm1: change with a power-cycle (memory 128 MiB → 256 MiB)"]


def test_a_stopped_vm_needs_no_permission_for_a_power_cycle() -> None:
    seen = {"vm1": Observation(health=Health.STOPPED)}
    plan = make_plan([unit("vm1", m=2)], created(unit("vm1", m=1)), seen, Rules(changes={"vm": Change.POWER_CYCLE}))
    assert actions(plan) == ["update vm1"]


def test_what_a_waiting_vm_still_uses_is_not_removed() -> None:
    old = [unit("lun1"), unit("vm1", "lun1", disk="lun1")]
    plan = make_plan([unit("vm1", disk="none")], created(*old), {}, Rules(changes={"vm": Change.POWER_CYCLE}))
    assert plan.nothing_to_do
    assert [step.unit.id for step in plan.deferred] == ["vm1", "lun1"]


def test_a_vm_lets_go_of_a_disk_before_the_disk_is_removed() -> None:
    old = [unit("lun1"), unit("vm1", "lun1", disk="lun1")]
    rules = Rules(changes={"vm": Change.IN_PLACE})
    plan = make_plan([unit("vm1", disk="none")], created(*old), {}, rules)
    assert actions(plan) == ["update vm1", "delete lun1"]


@pytest.mark.parametrize(
    ("hold", "expected"),
    [
        (Hold.NEVER, ["replace link1"]),
        (Hold.REPLACED, ["replace link1", "replace agent1"]),
        (Hold.MISSING, ["replace link1", "replace agent1"]),
    ],
)
def test_what_hangs_on_a_replaced_unit_is_replaced_as_its_type_says(hold: Hold, expected: list[str]) -> None:
    old = [unit("link1", mtu=1), unit("agent1", "link1")]
    new = [unit("link1", mtu=2), unit("agent1", "link1")]
    assert actions(make_plan(new, created(*old), {}, Rules(holds={"link": hold}))) == expected


@pytest.mark.parametrize(
    ("hold", "expected"),
    [
        (Hold.REPLACED, ["create netns1"]),
        (Hold.MISSING, ["create netns1", "replace agent1"]),
    ],
)
def test_what_lives_inside_a_missing_unit_is_made_again_with_it(hold: Hold, expected: list[str]) -> None:
    units = [unit("netns1"), unit("agent1", "netns1")]
    seen = {"netns1": Observation(health=Health.MISSING)}
    assert actions(make_plan(units, created(*units), seen, Rules(holds={"netns": hold}))) == expected


def test_a_lost_agent_comes_back_without_touching_the_disks_behind_it() -> None:
    units = [unit("agent1"), unit("lun1", "agent1")]
    seen = {"agent1": Observation(health=Health.MISSING), "lun1": Observation(health=Health.UNREACHABLE)}
    plan = make_plan(units, created(*units), seen, Rules())
    assert actions(plan) == ["create agent1"]
    assert [record.unit.id for record in plan.unreachable] == ["lun1"]
    assert [str(line) for line in plan.lines] == [
        "agent.agent1: repair (is missing)",
        "lun.lun1: not responding (left as it is)",
    ]


def test_after_a_reboot_everything_is_made_again_and_no_disk_is_replaced() -> None:
    units = [unit("netns1"), unit("link1", "netns1"), unit("agent1", "netns1", "link1"), unit("lun1", "agent1")]
    seen = {name: Observation(health=Health.MISSING) for name in ("netns1", "link1", "agent1")}
    seen["lun1"] = Observation(health=Health.UNREACHABLE)
    plan = make_plan(units, created(*units), seen, Rules(holds={"netns": Hold.MISSING, "link": Hold.NEVER}))
    assert actions(plan) == ["create netns1", "create link1", "create agent1"]
    assert [record.unit.id for record in plan.unreachable] == ["lun1"]


def test_an_interrupted_update_starts_again_from_what_was_before() -> None:
    before, asked = unit("vm1", m=1), unit("vm1", m=2)
    recorded = {"vm1": RecordedUnit(unit=asked, state=UnitState.UPDATING, previous=before)}
    plan = make_plan([asked], recorded, {}, Rules(changes={"vm": Change.POWER_CYCLE}))
    assert actions(plan) == ["update vm1"]
    assert plan.steps[0].recorded == recorded["vm1"]


def test_an_address_is_given_up_before_another_unit_takes_it() -> None:
    plan = make_plan([unit("vm2", ip="10.0.0.1")], created(unit("vm1", ip="10.0.0.1")), {}, Rules())
    assert actions(plan) == ["delete vm1", "create vm2"]
    making = operations(plan.steps)[1]
    assert (making.requires, making.after) == ((), ("delete:vm1",))


def test_a_type_that_nobody_handles_can_still_be_planned_for_removal() -> None:
    class Strict(Rules):
        def change(self, unit_type: str, old: JsonObject, new: JsonObject) -> Change:
            raise LookupError(unit_type)

    assert actions(make_plan([], created(unit("x1")), {}, Strict())) == ["delete x1"]


def test_changed_needs_alone_are_written_down_and_nothing_is_done() -> None:
    old: Sequence[Unit] = [unit("a1"), unit("b1", "a1")]
    plan = make_plan([unit("a1"), unit("b1")], created(*old), {}, Rules())
    assert plan.nothing_to_do
    assert plan.recorded_anew == (unit("b1"),)
