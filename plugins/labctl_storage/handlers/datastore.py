"""Unit type `datastore`: a target or an export, kept by its array's agent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from labctl.agent.client import AgentUnreachableError
from labctl.model.json import JsonObject
from labctl.model.unit import Change, Health, Observation, RecordedUnit, Unit
from labctl.plugin.api import Removal, Services, UnitHandler
from labctl.plugin.batch import for_each


class DatastoreHandler(UnitHandler):
    """Asks the agent; what the agent knows survives its restarts."""

    type = "datastore"

    def change(self, old: JsonObject, new: JsonObject) -> Change:
        """A datastore grows, and its export changes, in place; anything else makes another one of it."""
        fixed = {"array", "name", "protocol", "where"}
        return Change.IN_PLACE if all(old[key] == new[key] for key in fixed) else Change.REPLACE

    async def create(self, services: Services, units: Sequence[Unit]) -> Mapping[str, JsonObject]:
        """Put each datastore on its array."""
        await for_each(units, lambda unit: self._put(services, unit))
        return {}

    async def update(self, services: Services, old: RecordedUnit, new: Unit) -> JsonObject:
        """Put it again as it is now."""
        await self._put(services, new)
        return {}

    async def delete(self, services: Services, units: Sequence[RecordedUnit], removal: Removal) -> None:
        """Take each off its array. An array that does not answer forgets it with its own unit's files."""
        await for_each(units, lambda record: self._withdraw(services, record))

    async def observe(self, services: Services, units: Sequence[RecordedUnit]) -> Mapping[str, Observation]:
        """One question to each array."""
        return await observe_on_arrays(services, units, "/v1/datastores", key=lambda spec: str(spec["name"]))

    async def _withdraw(self, services: Services, record: RecordedUnit) -> None:
        spec = cast("dict[str, Any]", record.unit.spec)
        try:
            await services.agent(spec["array"]).call("DELETE", f"/v1/datastores/{spec['name']}")
        except AgentUnreachableError:
            services.progress(record.unit.id, f"{spec['array']} does not answer; its registry goes with it")

    async def _put(self, services: Services, unit: Unit) -> None:
        spec = cast("dict[str, Any]", unit.spec)
        body = {key: spec[key] for key in ("name", "protocol", "size", "where")}
        if spec.get("export") is not None:
            body["export"] = spec["export"]
        await services.agent(spec["array"]).call("PUT", f"/v1/datastores/{spec['name']}", body)


async def observe_on_arrays(
    services: Services, units: Sequence[RecordedUnit], path: str, key: Any
) -> dict[str, Observation]:
    """Look at units of several arrays with one request to each.

    Args:
        services: the runtime's services.
        units: the recorded units; their specs name their `array`.
        path: what to GET; the answer maps keys to properties.
        key: from a unit's spec to the key in the answer.
    """
    found: dict[str, Observation] = {}
    arrays: dict[str, list[RecordedUnit]] = {}
    for record in units:
        arrays.setdefault(str(record.unit.spec["array"]), []).append(record)
    for name, records in arrays.items():
        try:
            answer = cast("dict[str, JsonObject]", await services.agent(name).call("GET", path, timeout=3.0))
        except AgentUnreachableError:
            found |= {
                r.unit.id: Observation(health=Health.UNREACHABLE, detail=f"{name} does not answer") for r in records
            }
            continue
        for record in records:
            properties = answer.get(key(record.unit.spec))
            health = Health.MISSING if properties is None else Health.OK
            detail = "" if properties is None else str(properties.get("problem", ""))  # it waits for its storage
            found[record.unit.id] = Observation(health=health, detail=detail, properties=properties or {})
    return found
