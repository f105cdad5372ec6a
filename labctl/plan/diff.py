"""Desired against recorded against seen → what to do with each unit.

In this order: each unit by itself; then what hangs on a unit that is replaced (see Hold); then what must stay because something
that stays still needs it.

| recorded | seen | spec | what is done |
|---|---|---|---|
| nothing | | | create |
| CREATING | | same | create again: creation is idempotent |
| CREATING, DELETING | | differs, or DELETING | replace |
| UPDATING | | | update again, from what it was before |
| CREATED | OK | same | nothing |
| CREATED | MISSING | same / differs | create / replace |
| CREATED | STOPPED | same / differs | create / as its handler says, and no power-cycle is waited for |
| CREATED | UNREACHABLE | | left alone, and said |
| CREATED | OK | differs | as its handler says |
| any | | not desired | delete |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from labctl.model.graph import closure, reverse
from labctl.model.unit import Change, Health, Hold, Observation, RecordedUnit, Unit, UnitState
from labctl.plan.order import in_order
from labctl.plan.plan import Action, Plan, Recorded, Rules, Step
from labctl.plan.words import differences, lines_of


@dataclass
class _Differ:
    desired: Mapping[str, Unit]
    recorded: Recorded
    observations: Mapping[str, Observation]
    rules: Rules
    restart: bool

    def __post_init__(self) -> None:
        self.steps: dict[str, Step] = {}
        self.deferred: dict[str, Step] = {}
        self.unreachable: dict[str, RecordedUnit] = {}
        self.dependants = reverse({unit_id: record.unit.needs for unit_id, record in self.recorded.items()})

    def run(self) -> Plan:
        for unit in self.desired.values():
            self._decide(unit)
        self._cascade()
        for unit_id, record in self.recorded.items():
            if unit_id not in self.desired:
                self._step(Action.DELETE, record.unit, record, "no longer in the topology")
        self._keep_what_is_needed()
        steps = in_order(list(self.steps.values()))
        deferred, unreachable = tuple(self.deferred.values()), tuple(self.unreachable.values())
        return Plan(
            steps=steps,
            deferred=deferred,
            unreachable=unreachable,
            recorded_anew=self._recorded_anew(),
            lines=lines_of(steps, deferred, unreachable, self.desired, self.recorded),
        )

    def _decide(self, unit: Unit) -> None:
        record = self.recorded.get(unit.id)
        if record is None:
            self._step(Action.CREATE, unit, None, "new")
        elif record.unit.type != unit.type or record.state is UnitState.DELETING:
            self._step(
                Action.REPLACE,
                unit,
                record,
                "was being removed" if record.unit.type == unit.type else "is another type",
            )
        elif record.state is UnitState.CREATING:
            same = record.unit.spec == unit.spec
            self._step(Action.CREATE if same else Action.REPLACE, unit, record, "was not finished")
        elif record.state is UnitState.UPDATING:
            self._finish_update(unit, record)
        else:
            self._decide_created(unit, record)

    def _decide_created(self, unit: Unit, record: RecordedUnit) -> None:
        seen = self.observations.get(unit.id)
        health = seen.health if seen else Health.OK
        same = record.unit.spec == unit.spec
        if health is Health.UNREACHABLE:
            self.unreachable[unit.id] = record
        elif health is Health.MISSING:
            self._step(Action.CREATE if same else Action.REPLACE, unit, record, _seen(seen, "is missing"))
        elif health is Health.STOPPED and same:
            self._step(Action.CREATE, unit, record, _seen(seen, "is stopped"))
        elif not same:
            self._change(unit, record, stopped=health is Health.STOPPED)

    def _change(self, unit: Unit, record: RecordedUnit, *, stopped: bool) -> None:
        reason = differences(record.unit.spec, unit.spec)
        change = self._how(record.unit, unit)
        if change is Change.REPLACE:
            self._step(Action.REPLACE, unit, record, reason)
            return
        cycle = change is Change.POWER_CYCLE and not stopped
        step = Step(action=Action.UPDATE, unit=unit, recorded=record, reason=reason, power_cycle=cycle)
        (self.steps if self.restart or not cycle else self.deferred)[unit.id] = step

    def _finish_update(self, unit: Unit, record: RecordedUnit) -> None:
        """The old spec is the one before the crash; had the user asked for a restart then, it is finished now."""
        before = record.previous or record.unit
        if Change.REPLACE in (self._how(before, unit), self._how(record.unit, unit)):
            self._step(Action.REPLACE, unit, record, "was not finished")
        else:
            self._step(Action.UPDATE, unit, record, "was not finished")

    def _how(self, old: Unit, new: Unit) -> Change:
        return self.rules.change(new.type, old.spec, new.spec) if old.spec != new.spec else Change.IN_PLACE

    def _cascade(self) -> None:
        """What hangs on a unit that goes is replaced too; it is deleted before it, and made again after it."""
        seen: set[tuple[str, bool]] = set()
        falling = [(step, unit_id) for step in self.steps.values() for unit_id in self._falling_with(step)]
        while falling:
            cause, unit_id = falling.pop()
            key = (unit_id, cause.action is Action.REPLACE)
            if key not in seen:
                seen.add(key)
                falling += self._fall(unit_id, cause)

    def _fall(self, unit_id: str, cause: Step) -> Sequence[tuple[Step, str]]:
        """Replace a unit because of another; returns what hangs on it in turn, each with what it falls because of."""
        unit, record = self.desired.get(unit_id), self.recorded[unit_id]
        if unit is None:  # it is deleted, and deletions are in order
            return [(cause, below) for below in self.dependants.get(unit_id, ())]
        done = self.steps.get(unit_id)
        lost_too = done is not None and done.action is Action.CREATE and cause.action is Action.CREATE
        if not lost_too and (done is None or done.action is not Action.REPLACE):
            self.deferred.pop(unit_id, None)
            self.unreachable.pop(unit_id, None)
            self._step(Action.REPLACE, unit, record, f"{cause.resource} is made again")
        step = self.steps[unit_id]
        return [(step, below) for below in self._falling_with(step)]

    def _falling_with(self, step: Step) -> Sequence[str]:
        hold = self.rules.hold(step.unit.type)
        replaced = step.action is Action.REPLACE and hold is not Hold.NEVER
        # CREATE of a unit that has been there: its dependants may still hang on the one that is gone.
        remade = step.action is Action.CREATE and step.recorded is not None and hold is Hold.MISSING
        return self.dependants.get(step.unit.id, ()) if replaced or remade else ()

    def _keep_what_is_needed(self) -> None:
        """A deletion waits as long as something that stays as it is still needs the unit."""
        staying = [unit_id for unit_id in (*self.deferred, *self.unreachable) if unit_id in self.desired]
        needs = {unit_id: record.unit.needs for unit_id, record in self.recorded.items()}
        for unit_id in closure(staying, needs):
            step = self.steps.get(unit_id)
            if step is not None and step.action is Action.DELETE:
                self.deferred[unit_id] = self.steps.pop(unit_id)

    def _recorded_anew(self) -> tuple[Unit, ...]:
        """Units whose spec stays while their needs or owner change."""
        untouched = {*self.steps, *self.deferred, *self.unreachable}
        return tuple(
            unit
            for unit in self.desired.values()
            if unit.id not in untouched and unit.id in self.recorded and self.recorded[unit.id].unit != unit
        )

    def _step(self, action: Action, unit: Unit, record: RecordedUnit | None, reason: str) -> None:
        self.steps[unit.id] = Step(action=action, unit=unit, recorded=record, reason=reason)


def _seen(observation: Observation | None, otherwise: str) -> str:
    return observation.detail if observation and observation.detail else otherwise


def make_plan(
    desired: Sequence[Unit],
    recorded: Recorded,
    observations: Mapping[str, Observation],
    rules: Rules,
    *,
    restart: bool = False,
) -> Plan:
    """What has to be done so that the recorded units become the desired ones.

    Args:
        desired: the units that a topology compiles to.
        recorded: the units that the journal holds.
        observations: how recorded units were found; one that is not listed is taken to be well.
        rules: what the handlers say of their types.
        restart: whether power-cycles are allowed.

    Raises:
        LookupError: a unit changed whose type nobody handles.
    """
    return _Differ({unit.id: unit for unit in desired}, recorded, observations, rules, restart).run()


def plan_removal(recorded: Recorded) -> Plan:
    """The plan that removes everything recorded, whatever state it is in."""
    steps = [
        Step(action=Action.DELETE, unit=record.unit, recorded=record, reason="the lab goes")
        for record in recorded.values()
    ]
    ordered = in_order(steps)
    return Plan(steps=ordered, lines=lines_of(ordered, (), (), {}, recorded))
