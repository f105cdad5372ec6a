"""The order of steps: which operation must wait for which.

A REPLACE is two operations, a removal and a making. The rules, with old needs as recorded and new needs as desired:

1. A making waits for the makings of all that the unit newly needs.
2. A making waits for the removal of the same unit.
3. A removal waits for the removals of all that recorded a need of the unit.
4. A removal waits for the update of what recorded a need of the unit and drops it.
5. A making comes after all removals that need not wait for a making (an address or a LUN number that one unit gives up may be what the
   next one takes), but it is done even if such a removal failed.

Rules 1-4 are requirements: when one fails, what waits for it is not attempted. Rule 5 is order alone. Rule 4 alone can contradict the
others (what drops the unit may newly need something that takes its place); it then yields.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from labctl.model.graph import closure, ordered, reverse
from labctl.model.unit import Unit
from labctl.plan.plan import Action, Step


class Verb(StrEnum):
    """What an operation calls in a handler."""

    DELETE = "delete"
    CREATE = "create"
    UPDATE = "update"


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One call for one unit.

    Args:
        key: unique in a plan, `delete:link:esx1/vmk0`.
        verb: what is called.
        step: the step that it is part of.
        requires: operations that must have succeeded.
        after: operations that must be over, well or not.
    """

    key: str
    verb: Verb
    step: Step
    requires: tuple[str, ...]
    after: tuple[str, ...] = ()

    @property
    def unit(self) -> Unit:
        """The unit that is made or changed; for a removal the recorded one."""
        if self.verb is Verb.DELETE and self.step.recorded is not None:
            return self.step.recorded.unit
        return self.step.unit


_BARRIER = ""


def _removal(unit_id: str) -> str:
    return f"delete:{unit_id}"


def _making(unit_id: str) -> str:
    return f"make:{unit_id}"


def operations(steps: Iterable[Step]) -> Sequence[Operation]:
    """The operations of the steps, with what each waits for; in an order in which they could be done one by one."""
    by_unit = {step.unit.id: step for step in steps}
    requires: dict[str, list[str]] = {}
    for unit_id, step in by_unit.items():
        if step.action in (Action.DELETE, Action.REPLACE):
            requires.setdefault(_removal(unit_id), [])
        if step.action is not Action.DELETE:
            requires[_making(unit_id)] = [
                _making(need) for need in step.unit.needs if need in by_unit and _makes(by_unit[need])
            ]
            if step.action is Action.REPLACE:
                requires[_making(unit_id)].append(_removal(unit_id))
    for step in by_unit.values():
        _removals_first(step, requires)
    for step in by_unit.values():
        _updates_first(step, by_unit, requires)
    early = _early_removals(requires)
    after = {key: () if key.startswith("delete:") else early for key in requires}
    # One node stands for the barrier of rule 5: edges from each making to each removal would be many.
    edges = {key: (*needed, _BARRIER) if after[key] else tuple(needed) for key, needed in requires.items()}
    order = ordered({**edges, _BARRIER: early})
    return [_operation(key, by_unit, requires, after[key]) for key in order if key != _BARRIER]


def in_order(steps: Sequence[Step]) -> tuple[Step, ...]:
    """The steps in an order in which they could be done one by one; a REPLACE stands where the unit is made again."""
    last = {operation.step.unit.id: number for number, operation in enumerate(operations(steps))}
    return tuple(sorted(steps, key=lambda step: last[step.unit.id]))


def _makes(step: Step) -> bool:
    return step.action is not Action.DELETE


def _removals_first(step: Step, requires: dict[str, list[str]]) -> None:
    """Rule 3: what this unit needed is removed after it."""
    for need in _old_needs(step) if step.action in (Action.DELETE, Action.REPLACE) else ():
        if _removal(need) in requires:
            requires[_removal(need)].append(_removal(step.unit.id))


def _updates_first(step: Step, by_unit: dict[str, Step], requires: dict[str, list[str]]) -> None:
    """Rule 4: what this unit lets go is removed after that."""
    for need in _old_needs(step) if step.action is Action.UPDATE else ():
        dropped = need in by_unit and by_unit[need].action is Action.DELETE
        if dropped and _removal(need) not in closure([_making(step.unit.id)], requires):
            requires[_removal(need)].append(_making(step.unit.id))


def _old_needs(step: Step) -> tuple[str, ...]:
    if step.recorded is None:
        return ()
    old = step.recorded.previous or step.recorded.unit
    return tuple(dict.fromkeys((*old.needs, *step.recorded.unit.needs)))


def _early_removals(requires: dict[str, list[str]]) -> tuple[str, ...]:
    makings = [key for key in requires if key.startswith("make:")]
    late = closure(makings, reverse(requires))
    return tuple(key for key in requires if key not in late)


def _operation(key: str, by_unit: dict[str, Step], requires: dict[str, list[str]], after: tuple[str, ...]) -> Operation:
    prefix, _, unit_id = key.partition(":")
    step = by_unit[unit_id]
    verb = Verb.DELETE if prefix == "delete" else Verb.UPDATE if step.action is Action.UPDATE else Verb.CREATE
    return Operation(key=key, verb=verb, step=step, requires=tuple(requires[key]), after=after)
