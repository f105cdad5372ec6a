"""What handlers have in common whose units are rules that are loaded into a node's kernel, whole each time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import ClassVar

from labctl.model.json import JsonObject
from labctl.model.unit import Change, Hold, Observation, RecordedUnit, Unit
from labctl.plugin.api import Removal, Services, UnitHandler
from labctl.plugin.batch import for_each


class LoadedHandler(UnitHandler):
    """Loads rules into nodes; the spec of a unit has `node`."""

    hold: ClassVar[Hold] = Hold.NEVER

    def change(self, old: JsonObject, new: JsonObject) -> Change:
        """Other rules are loaded in place of the old ones; another node's are another unit."""
        return Change.IN_PLACE if old["node"] == new["node"] else Change.REPLACE

    async def create(self, services: Services, units: Sequence[Unit]) -> Mapping[str, JsonObject]:
        """Load them, whatever is there."""
        await for_each(units, lambda unit: asyncio.to_thread(self.load, services, unit))
        return {}

    async def update(self, services: Services, old: RecordedUnit, new: Unit) -> JsonObject:
        """Load the new rules."""
        await self.create(services, [new])
        return {}

    async def delete(self, services: Services, units: Sequence[RecordedUnit], removal: Removal) -> None:
        """Take them away: everything passes."""
        await for_each(units, lambda record: asyncio.to_thread(self.unload, services, record.unit))

    async def observe(self, services: Services, units: Sequence[RecordedUnit]) -> Mapping[str, Observation]:
        """Whether each node has just these rules."""
        return {record.unit.id: await asyncio.to_thread(self.look, services, record.unit) for record in units}

    def load(self, services: Services, unit: Unit) -> None:
        """Load a unit's rules in place of what is there; in a thread of its own, as the others."""
        raise NotImplementedError

    def unload(self, services: Services, unit: Unit) -> None:
        """Take a unit's rules away, if they are there."""
        raise NotImplementedError

    def look(self, services: Services, unit: Unit) -> Observation:
        """How a unit is."""
        raise NotImplementedError
