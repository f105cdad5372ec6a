"""The routes of an array's snapshots and clones.

GET    …/volumes/{vol}/snapshots                     the volume's snapshots, parents first
PUT    …/volumes/{vol}/snapshots/{snapshot}          keep what the volume holds now
DELETE …/volumes/{vol}/snapshots/{snapshot}          forget it
POST   …/volumes/{vol}/snapshots/{snapshot}/revert   the volume holds again what it held then
POST   …/volumes/{vol}/clone                         a volume of its own, from a snapshot or from what is there now (a CloneOrder)
DELETE …/volumes/{vol}/clone                         delete a clone
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Final

from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from labctl.agent.application import Publisher
from labctl.errors import ConflictError, LabError, NotRunningError, UsageError
from labctl.model.suggest import did_you_mean
from labctl_storage.arrayd.faults import ArrayFaults
from labctl_storage.arrayd.registry import DatastoreRecord, Registry, VolumeRecord
from labctl_storage.arrayd.services import ArrayServices

VOLUME: Final = "/v1/datastores/{name}/volumes/{volume}"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_LAST_LUN: Final = 255
"""Clones take LUNs from here downwards, so that the topology's, which count from 0, stay theirs."""


class CloneOrder(BaseModel):
    """The clone's name, and the snapshot that it is made from (none: what the volume holds now)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    clone: str
    snapshot: str | None = None


class SnapshotRoutes:
    """What answers the routes above.

    Args:
        registry: the array's memory.
        services: its targets.
        faults: a deleted clone's go with it.
        lock: held for each change of the array's configuration.
        publish: where events go.
    """

    def __init__(
        self,
        registry: Registry,
        services: ArrayServices,
        faults: ArrayFaults,
        lock: asyncio.Lock,
        publish: Publisher,
    ) -> None:
        self._registry = registry
        self._services = services
        self._faults = faults
        self._lock = lock
        self._publish = publish

    def routes(self) -> Sequence[BaseRoute]:
        """The routes listed above."""
        snapshot = VOLUME + "/snapshots/{snapshot}"
        return [
            Route(VOLUME + "/snapshots", self._list),
            Route(snapshot, self._create, methods=["PUT"]),
            Route(snapshot, self._delete, methods=["DELETE"]),
            Route(snapshot + "/revert", self._revert, methods=["POST"]),
            Route(VOLUME + "/clone", self._clone, methods=["POST"]),
            Route(VOLUME + "/clone", self._delete_clone, methods=["DELETE"]),
        ]

    async def _list(self, request: Request) -> Response:
        snapshots, lun = self._services.snapshots(*self._volume(request))
        return JSONResponse(await snapshots.listing(lun))

    async def _create(self, request: Request) -> Response:
        name = _checked(request.path_params["snapshot"], "snapshot")
        async with self._lock:
            snapshots, lun = self._services.snapshots(*self._volume(request))
            await snapshots.create(lun, name)
            listed = await snapshots.listing(lun)
        self._tell("snapshot.created", request, snapshot=name, message=f"{lun.volume}: snapshot {name}")
        return JSONResponse(next(head for head in listed if head["name"] == name))

    async def _delete(self, request: Request) -> Response:
        name = request.path_params["snapshot"]
        async with self._lock:
            snapshots, lun = self._services.snapshots(*self._volume(request))
            await snapshots.delete(lun, name)
        self._tell("snapshot.deleted", request, snapshot=name, message=f"{lun.volume}: snapshot {name} is gone")
        return JSONResponse({})

    async def _revert(self, request: Request) -> Response:
        name = request.path_params["snapshot"]
        async with self._lock:
            datastore, volume = self._volume(request)
            snapshots, lun = self._services.snapshots(datastore, volume)
            await snapshots.revert(lun, name)
            await self._services.attach(datastore, volume)  # a disk that has grown since then is as large as before
        self._tell("snapshot.reverted", request, snapshot=name, message=f"{lun.volume} is as it was at {name}")
        return JSONResponse({})

    async def _clone(self, request: Request) -> Response:
        try:
            order = CloneOrder.model_validate(await request.json())
        except ValueError as error:
            raise UsageError(f"not an order for a clone: {error}") from error
        name = _checked(order.clone, "volume")
        async with self._lock:
            datastore, volume = self._volume(request)
            if self._registry.volume(datastore.name, name) is not None:
                raise ConflictError(f"{datastore.name} has a volume {name} already", hint="take another name")
            snapshots, lun = self._services.snapshots(datastore, volume)
            number = self._free_lun(datastore)
            await self._services.destroy(datastore, name)  # of a volume that the topology no longer has
            source = lun.volume if order.snapshot is None else f"{lun.volume}@{order.snapshot}"
            clone = VolumeRecord(
                datastore=datastore.name, name=name, size=volume.size, lun=number, persistent=True, clone_of=source
            )
            self._registry.put_volume(
                clone
            )  # first: its file appears when it is whole, and a start forgets one without
            try:
                await snapshots.copy(lun, order.snapshot, self._services.file(datastore, name))
                await self._services.attach(datastore, clone)
            except LabError:
                await self.remove_clone(datastore, clone)
                raise
        self._publish(
            "volume.cloned",
            datastore=datastore.name,
            volume=name,
            source=source,
            message=f"{datastore.name}/{name} is a clone of {source}",
        )
        return JSONResponse(self._services.volume_properties(datastore, clone))

    async def _delete_clone(self, request: Request) -> Response:
        async with self._lock:
            datastore, volume = self._volume(request)
            if volume.clone_of is None:
                raise ConflictError(
                    f"{datastore.name}/{volume.name} is a disk of the topology",
                    hint="take it out of its VM's disks there, then `labctl up`",
                )
            await self.remove_clone(datastore, volume)
        self._tell("volume.deleted", request, message=f"{datastore.name}/{volume.name} is gone")
        return JSONResponse({})

    async def remove_clone(self, datastore: DatastoreRecord, volume: VolumeRecord) -> None:
        """Withdraw a clone's LUN, forget it, and delete its data. The lock is held."""
        self._faults.forget(datastore.name, volume.name)
        await self._services.detach(datastore, volume)
        self._registry.drop_volume(datastore.name, volume.name)
        await self._services.destroy(datastore, volume.name)

    async def restore(self, datastore: DatastoreRecord, clone: VolumeRecord) -> None:
        """At a start: offer a clone again, or forget one whose copy was interrupted."""
        if self._services.file(datastore, clone.name).exists():
            await self._services.attach(datastore, clone)
        else:
            self._registry.drop_volume(datastore.name, clone.name)

    def _volume(self, request: Request) -> tuple[DatastoreRecord, VolumeRecord]:
        name, wanted = request.path_params["name"], request.path_params["volume"]
        datastore = self._registry.datastores.get(name)
        if datastore is None:
            raise NotRunningError(f"this array has no datastore {name}", hint="labctl up configures it")
        volume = self._registry.volume(name, wanted)
        if volume is None:
            known = [each.name for each in self._registry.volumes(name)]
            raise NotRunningError(
                f"datastore {name} has no volume {wanted}",
                hint=did_you_mean(wanted, known, what="its volumes") or "`labctl volume list` shows them",
            )
        return datastore, volume

    def _free_lun(self, datastore: DatastoreRecord) -> int:
        taken = {volume.lun for volume in self._registry.volumes(datastore.name)}
        free = next((lun for lun in range(_LAST_LUN, -1, -1) if lun not in taken), None)
        if free is None:
            raise LabError(f"{datastore.name} has no LUN left", hint="delete a clone: labctl volume delete")
        return free

    def _tell(self, event: str, request: Request, *, message: str, **more: str) -> None:
        where = request.path_params
        self._publish(event, datastore=where["name"], volume=where["volume"], message=message, **more)


def _checked(name: str, what: str) -> str:
    if _NAME.fullmatch(name) is None:
        raise UsageError(
            f"{name!r} cannot be the name of a {what}",
            hint="begin with a letter or a digit; then letters, digits, dots, dashes and underscores, 63 in all",
        )
    return name
