"""Unit type `image`: an image in the machine-wide cache. It is made once and shared by all labs, so that nothing here deletes it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from labctl.errors import LabError
from labctl.model.json import JsonObject
from labctl.model.unit import Change, Health, Hold, Observation, RecordedUnit, Unit
from labctl.plugin.api import Removal, Services, UnitErrors, UnitHandler
from labctl_server.image.disk import is_disk_file
from labctl_server.image.recipe import Image
from labctl_server.image.store import ImageStore


class ImageHandler(UnitHandler):
    """Builds what is missing.

    Args:
        store_of: opens a cache of images.
    """

    type = "image"
    hold = Hold.NEVER  # disks made from it carry on whatever becomes of it

    def __init__(self, store_of: Callable[[Path], ImageStore] = ImageStore) -> None:
        self._store_of = store_of

    def change(self, old: JsonObject, new: JsonObject) -> Change:
        """Nothing that exists is touched."""
        return Change.IN_PLACE

    async def create(self, services: Services, units: Sequence[Unit]) -> Mapping[str, JsonObject]:
        """Build the images that are missing, one after the other: each keeps the machine busy."""
        errors: dict[str, Exception] = {}
        facts: dict[str, JsonObject] = {}
        for unit in units:
            try:
                facts[unit.id] = await self._ensure(services, unit)
            except LabError as error:
                errors[unit.id] = error
        if errors:
            raise UnitErrors(errors, facts)
        return facts

    async def update(self, services: Services, old: RecordedUnit, new: Unit) -> JsonObject:
        """The same."""
        return await self._ensure(services, new)

    async def delete(self, services: Services, units: Sequence[RecordedUnit], removal: Removal) -> None:
        """Nothing: the cache belongs to the machine."""

    async def observe(self, services: Services, units: Sequence[RecordedUnit]) -> Mapping[str, Observation]:
        """Look into the cache."""
        ready = {image.name: image for image in self._store_of(services.lab.image_directory).list()}
        return {record.unit.id: _observe(ready, str(record.unit.spec["image"])) for record in units}

    async def _ensure(self, services: Services, unit: Unit) -> JsonObject:
        loop = asyncio.get_running_loop()

        def progress(message: str) -> None:
            loop.call_soon_threadsafe(services.progress, unit.id, message)

        store = self._store_of(services.lab.image_directory)
        image = await asyncio.to_thread(store.ensure, str(unit.spec["image"]), progress)
        return {"version": image.version}


def _observe(ready: Mapping[str, Image], name: str) -> Observation:
    image = ready.get(name)
    if image is None and not is_disk_file(name):
        return Observation(health=Health.MISSING, detail=f"image {name} is not built")
    # One of another version of labctl, or whose disk file is gone, does for the VMs that exist: what needs a newer one builds it.
    return Observation(health=Health.OK, properties={} if image is None else {"version": image.version})
