"""What an `up` or a `down` comes to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from labctl.errors import ExitCode, LabError
from labctl.model.json import JsonObject
from labctl.plan.plan import Line, Plan
from labctl.runtime.executor import Outcome


class ChangeError(LabError):
    """Some units could not be made, changed or removed; the message lists them all."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """One unit that failed.

    Args:
        unit: its id.
        resource: the resource that it belongs to.
        verb: create, update or delete.
        message: what happened.
        hint: what to do about it, or None.
        skipped: units that were not attempted because of it.
    """

    unit: str
    resource: str
    verb: str
    message: str
    hint: str | None = None
    skipped: tuple[str, ...] = ()


@dataclass
class Report:
    """What was done.

    Args:
        lines: what happened to each resource, for people.
        done: how many operations succeeded.
        failures: what failed.
        unreachable: ids of units that were left alone because they do not respond.
        deferred: whether something waits for --restart.
        seconds: how long it took.
    """

    lines: list[Line] = field(default_factory=list)
    done: int = 0
    failures: list[Failure] = field(default_factory=list)
    unreachable: Sequence[str] = ()
    deferred: bool = False
    seconds: float = 0.0

    @property
    def nothing_to_do(self) -> bool:
        """Whether everything was as asked for."""
        return not self.done and not self.failures

    def add(self, plan: Plan, outcome: Outcome) -> None:
        """Add one round."""
        self.lines += [line for line in plan.lines if line not in self.lines]
        self.done += len(outcome.done)
        self.failures = [_failure(key, outcome) for key in outcome.failed]
        self.unreachable = tuple(record.unit.id for record in plan.unreachable)
        self.deferred = bool(plan.deferred)

    def raise_failures(self) -> None:
        """Turn failures into one error.

        Raises:
            ChangeError: something failed; exit code and hint are those of the failure where there is one alone.
        """
        if not self.failures:
            return
        lines = [
            f"{failure.resource}: cannot {failure.verb} {failure.unit}: {failure.message}" for failure in self.failures
        ]
        hints = list(dict.fromkeys(failure.hint for failure in self.failures if failure.hint))
        error = ChangeError("\n".join(lines), hint=hints[0] if len(hints) == 1 else None)
        error.exit_code = ExitCode.FAILED
        raise error

    def to_json(self) -> JsonObject:
        """As it is sent to who asked."""
        return {
            "nothing_to_do": self.nothing_to_do,
            "lines": lines_to_json(self.lines),
            "done": self.done,
            "failures": [{**vars(failure)} for failure in self.failures],
            "unreachable": self.unreachable,
            "deferred": self.deferred,
            "seconds": round(self.seconds, 3),
        }


def _failure(key: str, outcome: Outcome) -> Failure:
    operation, error = outcome.failed[key]
    bug = "" if isinstance(error, LabError) else f"{type(error).__name__}: "
    return Failure(
        unit=operation.unit.id,
        resource=str(operation.unit.resource),
        verb=str(operation.verb),
        message=f"{bug}{error}",
        hint=error.hint if isinstance(error, LabError) else None,
        skipped=tuple(kept.unit.id for kept, cause in outcome.skipped.values() if cause == operation.step.unit.id),
    )


def lines_to_json(lines: Sequence[Line]) -> list[JsonObject]:
    """A plan's lines as they are sent."""
    return [{"resource": str(line.resource), "action": line.action, "text": line.text} for line in lines]


def plan_to_json(plan: Plan) -> JsonObject:
    """A plan as it is sent."""
    steps = [*((step, False) for step in plan.steps), *((step, True) for step in plan.deferred)]
    listed: list[Mapping[str, object]] = [
        {
            "action": str(step.action),
            "unit": step.unit.id,
            "resource": str(step.resource),
            "reason": step.reason,
            "power_cycle": step.power_cycle,
            "deferred": deferred,
        }
        for step, deferred in steps
    ]
    return {
        "nothing_to_do": plan.nothing_to_do,
        "lines": lines_to_json(plan.lines),
        "steps": listed,  # type: ignore[dict-item]
        "unreachable": [record.unit.id for record in plan.unreachable],
    }
