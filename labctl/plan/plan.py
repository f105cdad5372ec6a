"""The plan: what has to be done so that what is recorded becomes what is desired, and why.

Pure values. A plan is made by labctl.plan.diff, put in order by labctl.plan.order, and worded by labctl.plan.words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from labctl.model.address import Address
from labctl.model.json import JsonObject
from labctl.model.unit import Change, Hold, RecordedUnit, Unit


class Action(StrEnum):
    """What is done to a unit."""

    CREATE = "create"
    UPDATE = "update"
    REPLACE = "replace"
    DELETE = "delete"


@dataclass(frozen=True, kw_only=True)
class Step:
    """One unit and what is done to it.

    Args:
        action: what.
        unit: what it shall be; for a DELETE what it was.
        recorded: what the journal has of it, or None.
        reason: why, for people ("memory 128 MiB → 256 MiB").
        power_cycle: whether it stops and starts what runs.
    """

    action: Action
    unit: Unit
    recorded: RecordedUnit | None
    reason: str
    power_cycle: bool = False

    @property
    def resource(self) -> Address:
        """The resource that it is about."""
        return self.unit.resource


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a plan as people read it: a resource and what becomes of it.

    Args:
        resource: which.
        action: add, remove, change, replace, repair, deferred or not responding.
        text: why, or "".
    """

    resource: Address
    action: str
    text: str

    def __str__(self) -> str:
        return f"{self.resource}: {self.action}" + (f" ({self.text})" if self.text else "")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that an `up` or a `down` will do.

    Args:
        steps: in an order in which they could be done one by one.
        deferred: what needs a power-cycle (or hangs on what does) and waits for --restart.
        unreachable: units that cannot be looked at now; they are left alone.
        recorded_anew: units of which only the needs or the owner changed: nothing is done, the journal learns it.
        lines: the same for people, one line a resource.
    """

    steps: Sequence[Step] = ()
    deferred: Sequence[Step] = ()
    unreachable: Sequence[RecordedUnit] = ()
    recorded_anew: Sequence[Unit] = ()
    lines: Sequence[Line] = ()

    @property
    def nothing_to_do(self) -> bool:
        """Whether what runs is what is asked for, as far as can be seen and without a restart."""
        return not self.steps


class Rules(Protocol):
    """What the plan asks the handlers."""

    def change(self, unit_type: str, old: JsonObject, new: JsonObject) -> Change:
        """How a unit of that type gets from one spec to another.

        Raises:
            LookupError: nobody handles that type.
        """

    def hold(self, unit_type: str) -> Hold:
        """How far its dependants hang on a unit of that type (REPLACED where nobody handles it)."""


Recorded = Mapping[str, RecordedUnit]
"""What the journal holds, by unit id, in the order in which it was written."""
