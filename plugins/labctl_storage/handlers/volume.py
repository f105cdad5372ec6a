"""Unit type `volume`: a VM's disk on a datastore."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from labctl.model.json import JsonObject
from labctl.model.unit import Change, Observation, RecordedUnit, Unit
from labctl.plugin.api import Removal, Services, UnitHandler
from labctl.plugin.batch import for_each
from labctl_storage.handlers.datastore import observe_on_arrays

CREATE_DEADLINE = 180.0
"""Seconds for the array to copy an image into a new disk."""

REMOVE_DEADLINE = 180.0
"""Seconds for the array to bring a disk's last changes to storage elsewhere, or to remove it from there."""


class VolumeHandler(UnitHandler):
    """Asks the agent. A persistent volume outlives its unit: only `down --purge` deletes its data."""

    type = "volume"

    def change(self, old: JsonObject, new: JsonObject) -> Change:
        """What a disk was first filled with never matters again; where it is, does."""
        fixed = {"array", "datastore", "name", "lun"}
        return Change.IN_PLACE if all(old[key] == new[key] for key in fixed) else Change.REPLACE

    async def create(self, services: Services, units: Sequence[Unit]) -> Mapping[str, JsonObject]:
        """Put each volume on its datastore; one that is there keeps its content."""
        await for_each(units, lambda unit: self._put(services, unit))
        return {}

    async def update(self, services: Services, old: RecordedUnit, new: Unit) -> JsonObject:
        """Put it again: a volume grows."""
        await self._put(services, new)
        return {}

    async def delete(self, services: Services, units: Sequence[RecordedUnit], removal: Removal) -> None:
        """Take each away, and its data unless that is persistent or for the volume that is made in its place."""
        await for_each(units, lambda record: self._remove(services, record, removal))

    async def observe(self, services: Services, units: Sequence[RecordedUnit]) -> Mapping[str, Observation]:
        """One question to each array."""
        return await observe_on_arrays(
            services, units, "/v1/volumes", key=lambda spec: f"{spec['datastore']}/{spec['name']}"
        )

    async def _remove(self, services: Services, record: RecordedUnit, removal: Removal) -> None:
        spec = cast("dict[str, Any]", record.unit.spec)
        keep = (bool(spec["persistent"]) and not removal.purge) or record.unit.id in removal.replaced
        path = f"/v1/datastores/{spec['datastore']}/volumes/{spec['name']}?keep={'true' if keep else 'false'}"
        answer = await services.agent(spec["array"]).call("DELETE", path, timeout=REMOVE_DEADLINE)
        if isinstance(answer, dict) and answer.get("problem"):
            services.progress(record.unit.id, str(answer["problem"]))

    async def _put(self, services: Services, unit: Unit) -> None:
        services.progress(unit.id, "provisioning")
        spec = cast("dict[str, Any]", unit.spec)
        body = {key: spec[key] for key in ("datastore", "name", "size", "lun", "source", "persistent")}
        path = f"/v1/datastores/{spec['datastore']}/volumes/{spec['name']}"
        await services.agent(spec["array"]).call("PUT", path, body, timeout=CREATE_DEADLINE)
