"""The handler of units of type `agent` (labctl.contracts.agent)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from typing import ClassVar

from labctl.model.json import JsonObject
from labctl.model.unit import Change, Health, Observation, RecordedUnit, Unit
from labctl.plugin.api import Removal, Services, UnitErrors, UnitHandler
from labctl.runtime.agents.agents import Agents, node_of
from labctl.runtime.agents.monitor import AgentState


class AgentHandler(UnitHandler):
    """Makes and removes agents.

    Args:
        agents: the lab's agents.
    """

    type: ClassVar[str] = "agent"

    def __init__(self, agents: Agents) -> None:
        self._agents = agents

    def change(self, old: JsonObject, new: JsonObject) -> Change:
        """A new configuration is given to the running agent; anything else makes it anew."""
        same = {key: value for key, value in old.items() if key != "config"} == {
            key: value for key, value in new.items() if key != "config"
        }
        return Change.IN_PLACE if same else Change.REPLACE

    async def create(self, services: Services, units: Sequence[Unit]) -> Mapping[str, JsonObject]:
        """Start them all at once."""
        facts: dict[str, JsonObject] = {}

        async def one(unit: Unit) -> None:
            services.progress(unit.id, "starting")
            facts[unit.id] = await self._agents.start(unit)

        await _all({unit.id: one(unit) for unit in units}, facts)
        return facts

    async def delete(self, services: Services, units: Sequence[RecordedUnit], removal: Removal) -> None:
        """End them all at once."""
        await _all({record.unit.id: self._agents.remove(node_of(record.unit)) for record in units})

    async def update(self, services: Services, old: RecordedUnit, new: Unit) -> JsonObject:
        """Give it its new configuration."""
        return await self._agents.reconfigure(new)

    async def observe(self, services: Services, units: Sequence[RecordedUnit]) -> Mapping[str, Observation]:
        """From the process and the event stream, without asking the agent: it says itself that it is there each second."""
        return {record.unit.id: self._observe(node_of(record.unit)) for record in units}

    def _observe(self, node: str) -> Observation:
        if not self._agents.is_alive(node):
            return Observation(health=Health.MISSING, detail="its process is gone", properties={"state": "dead"})
        state = self._agents.states.get(node, AgentState.CONNECTING)
        health = Health.UNREACHABLE if state is AgentState.NOT_RESPONDING else Health.OK
        return Observation(
            health=health, detail=str(state) if health is not Health.OK else "", properties={"state": str(state)}
        )


async def _all(work: Mapping[str, Awaitable[object]], facts: Mapping[str, JsonObject] | None = None) -> None:
    """Do all of it at once, and raise the failures together.

    Raises:
        UnitErrors: some failed.
    """
    results = await asyncio.gather(*work.values(), return_exceptions=True)
    errors = {unit: error for unit, error in zip(work, results, strict=True) if isinstance(error, Exception)}
    if errors:
        raise UnitErrors(errors, facts)
