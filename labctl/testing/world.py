"""A world in memory: handlers that make and remove things which exist only here, and that notice every misuse.

It is what the runtime is tested against, and what a plugin's author can put in place of other plugins' units. The world outlives any
number of runtimes, as a machine outlives labd.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from labctl.errors import LabError
from labctl.model.json import JsonObject
from labctl.model.unit import Change, Health, Hold, Observation, RecordedUnit, Unit
from labctl.plugin.api import Removal, Services, UnitErrors, UnitHandler


@dataclass
class FakeWorld:
    """What exists, and what was asked of it.

    Args:
        things: unit id → the spec it was made with.
        needs: unit id → what it stands on.
        calls: what was called, as `create a, b`, in order.
        broken: unit id → the error that making or removing it gives.
        health: unit id → how it is found, where that is not by its existence.
        facts: unit id → what its handler says it learnt.
    """

    things: dict[str, JsonObject] = field(default_factory=dict)
    needs: dict[str, tuple[str, ...]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    broken: dict[str, Exception] = field(default_factory=dict)
    health: dict[str, Health] = field(default_factory=dict)
    facts: dict[str, JsonObject] = field(default_factory=dict)

    def make(self, unit: Unit) -> None:
        """Make one thing; a second time is fine.

        Raises:
            LabError: it is broken.
            AssertionError: something that it needs does not exist, or another thing of its name does: the caller's order is wrong.
        """
        self._fail_if_broken(unit.id)
        missing = [need for need in unit.needs if need not in self.things]
        assert not missing, f"{unit.id} is made before {missing}"
        existing = self.things.get(unit.id, unit.spec)
        assert existing == unit.spec, f"{unit.id} is made over one with another spec"
        self.things[unit.id] = unit.spec
        self.needs[unit.id] = unit.needs

    def remove(self, unit_id: str, *, with_dependants: bool = True) -> None:
        """Remove one thing; one that is gone is fine.

        Raises:
            LabError: it is broken.
            AssertionError: something still stands on it.
        """
        self._fail_if_broken(unit_id)
        if with_dependants:
            above = [other for other, needs in self.needs.items() if unit_id in needs and other in self.things]
            assert not above, f"{unit_id} is removed under {above}"
        self.things.pop(unit_id, None)
        self.needs.pop(unit_id, None)

    def change(self, unit: Unit) -> None:
        """Change one thing in place."""
        self._fail_if_broken(unit.id)
        assert unit.id in self.things, f"{unit.id} is changed but does not exist"
        self.things[unit.id] = unit.spec
        self.needs[unit.id] = unit.needs

    def lose(self, unit_id: str) -> None:
        """Let a thing vanish without anybody's doing, as when a process is killed."""
        self.things.pop(unit_id, None)

    def _fail_if_broken(self, unit_id: str) -> None:
        if unit_id in self.broken:
            raise self.broken[unit_id]


class FakeHandler(UnitHandler):
    """Handles one type of unit in a FakeWorld.

    Args:
        unit_type: the type.
        world: the world.
        change: how its units get from one spec to another.
        hold: how far dependants hang on its units.
        gate: awaited before anything is done, for tests that want things to happen at one time.
    """

    def __init__(
        self,
        unit_type: str,
        world: FakeWorld,
        *,
        change: Change = Change.REPLACE,
        hold: Hold = Hold.REPLACED,
        gate: Callable[[str, Sequence[str]], asyncio.Future[None]] | None = None,
    ) -> None:
        self.type = unit_type  # type: ignore[misc]
        self.hold = hold  # type: ignore[misc]
        self.world = world
        self._change = change
        self._gate = gate

    def change(self, old: JsonObject, new: JsonObject) -> Change:
        """As the test says."""
        return self._change

    async def create(self, services: Services, units: Sequence[Unit]) -> Mapping[str, JsonObject]:
        """Make them in the world."""
        await self._called("create", [unit.id for unit in units])
        self._each([(unit.id, lambda unit=unit: self.world.make(unit)) for unit in units])  # type: ignore[misc]
        return {unit.id: self.world.facts[unit.id] for unit in units if unit.id in self.world.facts}

    async def delete(self, services: Services, units: Sequence[RecordedUnit], removal: Removal) -> None:
        """Remove them from the world."""
        await self._called("delete", [record.unit.id for record in units])
        checks = self.hold is not Hold.NEVER
        self._each(
            [
                (record.unit.id, lambda record=record: self.world.remove(record.unit.id, with_dependants=checks))  # type: ignore[misc]
                for record in units
            ]
        )

    async def update(self, services: Services, old: RecordedUnit, new: Unit) -> JsonObject:
        """Change it in the world."""
        await self._called("update", [new.id])
        self.world.change(new)
        return self.world.facts.get(new.id, {})

    async def observe(self, services: Services, units: Sequence[RecordedUnit]) -> Mapping[str, Observation]:
        """As the test says, else by existence."""
        found = {}
        for record in units:
            there = Health.OK if record.unit.id in self.world.things else Health.MISSING
            found[record.unit.id] = Observation(health=self.world.health.get(record.unit.id, there))
        return found

    async def _called(self, verb: str, unit_ids: Sequence[str]) -> None:
        self.world.calls.append(f"{verb} {', '.join(unit_ids)}")
        if self._gate is not None:
            await self._gate(verb, unit_ids)

    def _each(self, works: Sequence[tuple[str, Callable[[], None]]]) -> None:
        errors: dict[str, Exception] = {}
        for unit_id, work in works:
            try:
                work()
            except LabError as error:
                errors[unit_id] = error
        if errors:
            raise UnitErrors(errors)
