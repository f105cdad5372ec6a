"""Runs a plan: what is ready runs at once, in batches by type of unit; the journal hears of it before and after.

Rules:
- A batch is everything of one type that is ready at one moment; handlers batch their work. Batches run concurrently.
- A failure keeps what depends on it from being attempted, and nothing else. All failures are reported together.
- Cancelling stops the handlers where they are and waits for them; the journal then says what was under way, and the next `up` or
  `down` goes on from there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from labctl.model.address import Address
from labctl.model.json import JsonObject
from labctl.model.unit import RecordedUnit, Unit, UnitState
from labctl.plan.order import Operation, Verb, operations
from labctl.plan.plan import Action, Plan, Step
from labctl.plugin.api import Removal, Services, UnitErrors, UnitHandler
from labctl.runtime.journal import Journal

_INTENTS = {Verb.CREATE: UnitState.CREATING, Verb.UPDATE: UnitState.UPDATING, Verb.DELETE: UnitState.DELETING}


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What happens to one unit while a plan runs.

    Args:
        phase: `started`, `done`, `failed`, `skipped`, or `at` (a message of a long step).
        verb: create, update or delete.
        unit: the unit's id.
        resource: the resource that it belongs to.
        message: the error, or what the step is at; or "".
    """

    phase: str
    verb: Verb
    unit: str
    resource: Address
    message: str = ""

    def to_json(self) -> JsonObject:
        """As it is sent to who watches."""
        return {
            "phase": self.phase,
            "verb": str(self.verb),
            "unit": self.unit,
            "resource": str(self.resource),
            "message": self.message,
        }


Watcher = Callable[[Progress], None]


@dataclass
class Outcome:
    """What became of the operations of a plan, by key in their order.

    Args:
        done: what succeeded.
        failed: what failed, with its error.
        skipped: what was not attempted, with the unit whose failure kept it.
    """

    done: dict[str, Operation] = field(default_factory=dict)
    failed: dict[str, tuple[Operation, Exception]] = field(default_factory=dict)
    skipped: dict[str, tuple[Operation, str]] = field(default_factory=dict)


class Executor:
    """Runs plans.

    Args:
        handler: the handler of a unit type; raises LabError where there is none.
        services: what handlers get.
        journal: where everything is recorded.
        watcher: told of everything that happens.
    """

    def __init__(
        self, handler: Callable[[str], UnitHandler], services: Services, journal: Journal, watcher: Watcher
    ) -> None:
        self._handler = handler
        self._services = services
        self._journal = journal
        self._watcher = watcher

    async def run(self, plan: Plan, removal: Removal | None = None, *, insist: bool = False) -> Outcome:
        """Run a plan to its end.

        Args:
            plan: what to do.
            removal: why units are deleted.
            insist: do what can be done even where something that it should wait for has failed (the second try of a `down`).
        """
        self._journal.reown(plan.recorded_anew)
        run = _Run(operations(plan.steps), insist=insist)
        tasks: dict[asyncio.Task[None], None] = {}
        try:
            while not run.over:
                for operation, cause in run.take_skipped():
                    self._tell("skipped", operation, f"{cause} failed")
                for batch in run.take_ready():
                    tasks[asyncio.create_task(self._batch(batch, removal or Removal(), run))] = None
                if not tasks and not run.over:
                    raise RuntimeError("operations wait for each other; order.py must not let them")
                if tasks:
                    finished, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                    for task in finished:
                        del tasks[task]
                        task.result()  # an error here is no handler's: the journal's, or a bug
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return run.outcome

    async def _batch(self, batch: Sequence[Operation], removal: Removal, run: _Run) -> None:
        verb = batch[0].verb
        for operation in batch:
            self._tell("started", operation)
        before = {operation.unit.id: self._journal.units.get(operation.unit.id) for operation in batch}
        errors: Mapping[str, Exception] = {}
        facts: Mapping[str, JsonObject] = {}
        try:
            handler = self._handler(batch[0].unit.type)
            self._journal.begin(_INTENTS[verb], [operation.unit for operation in batch])
            facts = await self._call(handler, verb, [operation.step for operation in batch], before, removal)
        except UnitErrors as failed:
            errors, facts = failed.errors, failed.facts
        except Exception as failed:
            errors = {operation.unit.id: failed for operation in batch}
        well = [operation.unit.id for operation in batch if operation.unit.id not in errors]
        if verb is Verb.DELETE:
            self._journal.gone(well)
        else:
            self._journal.made({unit_id: facts.get(unit_id, {}) for unit_id in well})
            self._journal.learnt({unit_id: facts[unit_id] for unit_id in errors if unit_id in facts})
        for operation in batch:
            error = errors.get(operation.unit.id)
            run.finish(operation, error)
            self._tell("failed" if error else "done", operation, str(error) if error else "")

    async def _call(
        self,
        handler: UnitHandler,
        verb: Verb,
        steps: Sequence[Step],
        before: Mapping[str, RecordedUnit | None],
        removal: Removal,
    ) -> Mapping[str, JsonObject]:
        if verb is Verb.CREATE:
            return await handler.create(self._services, [step.unit for step in steps])
        records = [record for step in steps if (record := before[step.unit.id]) is not None]
        if verb is Verb.DELETE:
            replaced = frozenset(step.unit.id for step in steps if step.action is Action.REPLACE)
            await handler.delete(self._services, records, replace(removal, replaced=replaced))
            return {}
        return await self._update(
            handler, [(_old(record), step.unit) for record, step in zip(records, steps, strict=True)]
        )

    async def _update(
        self, handler: UnitHandler, pairs: Iterable[tuple[RecordedUnit, Unit]]
    ) -> Mapping[str, JsonObject]:
        pairs = list(pairs)
        calls = (handler.update(self._services, old, new) for old, new in pairs)
        results = await asyncio.gather(*calls, return_exceptions=True)
        facts: dict[str, JsonObject] = {}
        errors: dict[str, Exception] = {}
        for (_, unit), result in zip(pairs, results, strict=True):
            if isinstance(result, UnitErrors):
                errors |= result.errors
            elif isinstance(result, Exception):
                errors[unit.id] = result
            elif isinstance(result, BaseException):
                raise result
            else:
                facts[unit.id] = result
        if errors:
            raise UnitErrors(errors, facts)
        return facts

    def _tell(self, phase: str, operation: Operation, message: str = "") -> None:
        unit = operation.unit
        self._watcher(Progress(phase=phase, verb=operation.verb, unit=unit.id, resource=unit.resource, message=message))


def _old(record: RecordedUnit) -> RecordedUnit:
    """What an update starts from: after an interrupted one, what was there before that."""
    if record.previous is None:
        return record
    return RecordedUnit(unit=record.previous, state=record.state, facts=record.facts)


class _Run:
    """The bookkeeping of one run: what waits for what."""

    def __init__(self, every: Sequence[Operation], *, insist: bool) -> None:
        self.outcome = Outcome()
        self._insist = insist
        self._pending = {operation.key: operation for operation in every}
        self._open = len(self._pending)
        # Many operations share one tuple of what they come after: it is counted down once for all of them.
        self._barriers = {id(operation.after): set(operation.after) for operation in every}

    @property
    def over(self) -> bool:
        return self._open == 0

    def take_ready(self) -> list[list[Operation]]:
        """What can be started now, in batches."""
        batches: dict[tuple[Verb, str], list[Operation]] = {}
        for operation in self._pending.values():
            if not self._barriers[id(operation.after)] and all(self._fine(key) for key in operation.requires):
                batches.setdefault((operation.verb, operation.unit.type), []).append(operation)
        for batch in batches.values():
            for operation in batch:
                del self._pending[operation.key]
        return list(batches.values())

    def take_skipped(self) -> list[tuple[Operation, str]]:
        """What can never be started, because something that it requires failed."""
        found: list[tuple[Operation, str]] = []
        for operation in list(self._pending.values()):
            cause = next((key for key in operation.requires if self._spoilt(key)), None)
            if cause is not None and not self._insist:
                del self._pending[operation.key]
                known = self.outcome.skipped.get(cause)
                root = known[1] if known else cause.partition(":")[2]
                self.outcome.skipped[operation.key] = (operation, root)
                self._end(operation)
                found.append((operation, root))
        return found

    def finish(self, operation: Operation, error: Exception | None) -> None:
        if error is None:
            self.outcome.done[operation.key] = operation
        else:
            self.outcome.failed[operation.key] = (operation, error)
        self._end(operation)

    def _end(self, operation: Operation) -> None:
        self._open -= 1
        for waiting in self._barriers.values():
            waiting.discard(operation.key)

    def _fine(self, key: str) -> bool:
        return key in self.outcome.done or (self._insist and key in self.outcome.failed)

    def _spoilt(self, key: str) -> bool:
        return key in self.outcome.failed or key in self.outcome.skipped
