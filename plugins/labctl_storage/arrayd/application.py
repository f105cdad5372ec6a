"""The management interface of an array, as the agent's server runs it.

GET    /v1/datastores                       name → properties
PUT    /v1/datastores/{name}                make it, or make it again with another size
DELETE /v1/datastores/{name}                stop serving it; its volumes' data stays
GET    /v1/volumes                          datastore/name → properties
PUT    /v1/datastores/{name}/volumes/{vol}  make a disk (an existing one keeps its content)
DELETE /v1/datastores/{name}/volumes/{vol}  ?keep=true keeps its data
…      /v1/datastores/{name}/volumes/{vol}/snapshots and /clone: see labctl_storage.arrayd.snapshot_routes
GET    /v1/sessions                         who is connected
GET    /v1/metrics                          see labctl_storage.arrayd.metrics
GET    /v1/faults                           what is set, with hits
POST   /v1/faults                           set one (a FaultOrder)
DELETE /v1/faults                           clear all; /v1/faults/{id} clears one
GET    /v1/stages                           when commands passed which stage: see labctl_storage.arrayd.stages
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from labctl.agent.application import Publisher
from labctl.agent.metrics import metrics_route
from labctl.errors import ConflictError, LabError, NotRunningError, UsageError
from labctl_storage.arrayd.faults import ArrayFaults, FaultOrder
from labctl_storage.arrayd.metrics import ArrayMetrics
from labctl_storage.arrayd.registry import DatastoreRecord, Registry, VolumeRecord
from labctl_storage.arrayd.services import ArrayConfig, ArrayServices
from labctl_storage.arrayd.snapshot_routes import VOLUME, SnapshotRoutes
from labctl_storage.arrayd.stages import StageRoutes

if TYPE_CHECKING:
    from labctl.agent.config import AgentConfig

log = logging.getLogger(__name__)


class ArrayApplication:
    """The agent's part of the array's process.

    Args:
        config: the agent's configuration; its `config` is an ArrayConfig.
        publish: where events go.
        outside: threads that live in the machine's own network.
    """

    def __init__(self, config: AgentConfig, publish: Publisher, outside: Executor | None = None) -> None:
        self._publish = publish
        self._registry = Registry(config.directory / "array.json")
        array = ArrayConfig.model_validate(config.config)
        self._services = ArrayServices(array, config.directory, config.lab, outside)
        self._faults = ArrayFaults(config.node, self._registry, self._services.faults(), publish)
        self._metrics = ArrayMetrics(config.node, self._registry, self._services)
        self._lock = asyncio.Lock()  # one change of the configuration at a time
        self._snapshots = SnapshotRoutes(self._registry, self._services, self._faults, self._lock, publish)
        self._stages = StageRoutes(self._services.stage_switches())
        self._settling: asyncio.Task[None] | None = None

    def routes(self) -> Sequence[BaseRoute]:
        """The routes listed above."""
        datastore = "/v1/datastores/{name}"
        return [
            Route("/v1/datastores", self._list_datastores),
            Route(datastore, self._put_datastore, methods=["PUT"]),
            Route(datastore, self._delete_datastore, methods=["DELETE"]),
            Route("/v1/volumes", self._list_volumes),
            Route(VOLUME, self._put_volume, methods=["PUT"]),
            Route(VOLUME, self._delete_volume, methods=["DELETE"]),
            Route("/v1/sessions", self._list_sessions),
            Route("/v1/faults", self._list_faults),
            Route("/v1/faults", self._add_fault, methods=["POST"]),
            Route("/v1/faults", self._clear_faults, methods=["DELETE"]),
            Route("/v1/faults/{id}", self._clear_faults, methods=["DELETE"]),
            *self._snapshots.routes(),
            *self._stages.routes(),
            metrics_route(self._metrics.collect),
        ]

    async def start(self) -> None:
        """Serve again what was served before, and only then listen: an initiator that comes back must find its LUNs."""
        await self._restore()
        await self._services.start()
        self._settling = asyncio.create_task(self._settle())

    async def _restore(self) -> None:
        for datastore in self._registry.datastores.values():
            await self._services.remove_drafts(datastore)
            await self._services.offer(datastore)
            for volume in self._registry.volumes(datastore.name):
                if volume.clone_of is not None:
                    await self._snapshots.restore(datastore, volume)
                elif not self._services.outlives_agent:
                    self._forget_lost(volume)
                else:
                    await self._services.attach(datastore, volume, later=True)
        self._faults.restore()

    def _forget_lost(self, volume: VolumeRecord) -> None:
        """A disk in memory ended with the process: initiators learn that its LUN is gone, and `labctl up` makes it anew."""
        self._registry.drop_volume(volume.datastore, volume.name)
        log.warning("%s/%s was in memory, and is lost", volume.datastore, volume.name)
        self._publish(
            "volume.lost",
            datastore=volume.datastore,
            volume=volume.name,
            message=f"{volume.datastore}/{volume.name} was in the array's memory, and is lost",
        )

    async def _settle(self) -> None:
        """End what a kill interrupted, while the volumes are used."""
        async with self._lock:
            for datastore in self._registry.datastores.values():
                for volume in self._registry.volumes(datastore.name):
                    try:
                        await self._services.settle(datastore, volume)
                    except LabError as error:  # the volume serves on as it is; the next start tries again
                        log.warning("%s (%s)", error, error.hint)

    async def stop(self) -> None:
        """Flush and close every store."""
        self._stages.stop()
        if self._settling is not None:
            await self._settling
        self._faults.save()
        await self._services.stop()

    async def _list_datastores(self, request: Request) -> Response:
        return JSONResponse(
            {
                name: self._services.datastore_properties(record, self._registry.volumes(name))
                for name, record in self._registry.datastores.items()
            }
        )

    async def _list_volumes(self, request: Request) -> Response:
        return JSONResponse(
            {
                f"{datastore.name}/{volume.name}": self._services.volume_properties(datastore, volume)
                for datastore in self._registry.datastores.values()
                for volume in self._registry.volumes(datastore.name)
            }
        )

    async def _list_sessions(self, request: Request) -> Response:
        return JSONResponse(self._services.sessions())

    async def _list_faults(self, request: Request) -> Response:
        return JSONResponse(self._faults.listing())

    async def _add_fault(self, request: Request) -> Response:
        try:
            order = FaultOrder.model_validate(await request.json())
        except ValueError as error:
            raise UsageError(f"not a fault: {error}") from error
        return JSONResponse(self._faults.add(order))

    async def _clear_faults(self, request: Request) -> Response:
        return JSONResponse(self._faults.clear(request.path_params.get("id")))

    async def _put_datastore(self, request: Request) -> Response:
        record = DatastoreRecord.model_validate(await request.json())
        async with self._lock:
            await self._services.serve(record)
            self._registry.put_datastore(record)
        return JSONResponse(self._services.datastore_properties(record, self._registry.volumes(record.name)))

    async def _delete_datastore(self, request: Request) -> Response:
        name = request.path_params["name"]
        async with self._lock:
            record = self._registry.datastores.get(name)
            if record is not None:
                for volume in self._registry.volumes(name):
                    if volume.clone_of is not None:
                        await self._snapshots.remove_clone(record, volume)
                    else:
                        await self._services.detach(record, volume)
                self._faults.forget(name)
                await self._services.withdraw(record)
                self._registry.drop_datastore(name)
        return JSONResponse({})

    async def _put_volume(self, request: Request) -> Response:
        record = VolumeRecord.model_validate(await request.json())
        async with self._lock:
            datastore = self._datastore(request)
            present = self._registry.volume(datastore.name, record.name)
            if present is not None and record.size < present.size:
                raise LabError(
                    f"disk {record.name} cannot shrink from {present.size} to {record.size} bytes",
                    hint="make another disk and copy what is needed",
                )
            _check_free(record, self._registry.volumes(datastore.name))
            await self._services.make(datastore, record)
            await self._services.attach(datastore, record)
            self._registry.put_volume(record)
        self._publish("volume.provisioned", datastore=datastore.name, volume=record.name, size=record.size)
        return JSONResponse(self._services.volume_properties(datastore, record))

    async def _delete_volume(self, request: Request) -> Response:
        keep, problem = request.query_params.get("keep") == "true", ""
        async with self._lock:
            datastore = self._registry.datastores.get(request.path_params["name"])
            if datastore is None:
                return JSONResponse({})
            name = request.path_params["volume"]
            volume = self._registry.volume(datastore.name, name)
            if volume is not None:
                self._faults.forget(datastore.name, name)
                problem = await self._services.detach(datastore, volume, discard=not keep)
                self._registry.drop_volume(datastore.name, name)
            if not keep:
                await self._services.destroy(datastore, name)
        if problem:
            self._publish("volume.waiting", datastore=datastore.name, volume=name, message=problem)
        return JSONResponse({"problem": problem})

    def _datastore(self, request: Request) -> DatastoreRecord:
        name = request.path_params["name"]
        record = self._registry.datastores.get(name)
        if record is None:
            raise NotRunningError(f"this array has no datastore {name}", hint="labctl up configures it")
        return record


def _check_free(record: VolumeRecord, volumes: Sequence[VolumeRecord]) -> None:
    """A clone that users made keeps its name and LUN until they delete it. Raises ConflictError."""
    for clone in volumes:
        if clone.clone_of is not None and (clone.name == record.name or clone.lun == record.lun):
            raise ConflictError(
                f"{record.datastore}/{clone.name}, a clone of {clone.clone_of}, has the name or LUN of disk {record.name}",
                hint=f"delete it: labctl volume delete {record.datastore}/{clone.name}",
            )
