"""Unit type `netns`: a node's network namespace."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from labctl.linux import namespaces
from labctl.linux.sockets import SocketPool
from labctl.model.json import JsonObject
from labctl.model.unit import Health, Hold, Observation, RecordedUnit, Unit
from labctl.plugin.api import Removal, Services, UnitErrors, UnitHandler


class NetnsHandler(UnitHandler):
    """Creates and deletes many at once, without a process for any.

    Args:
        pool: the netlink sockets that the other handlers use; an open one would keep a deleted namespace alive.
    """

    type = "netns"
    hold = Hold.MISSING

    def __init__(self, pool: SocketPool) -> None:
        self._pool = pool

    async def create(self, services: Services, units: Sequence[Unit]) -> Mapping[str, JsonObject]:
        """Make the namespaces that are not there."""
        by_path = {_path(services, unit): unit.id for unit in units}
        failures = await asyncio.to_thread(namespaces.create_many, list(by_path))
        if failures:
            raise UnitErrors({by_path[path]: error for path, error in failures.items()})
        return {}

    async def delete(self, services: Services, units: Sequence[RecordedUnit], removal: Removal) -> None:
        """Let go of the namespaces; the kernel takes them apart with all that is in them."""
        by_path = {_path(services, record.unit): record.unit.id for record in units}
        self._pool.drop(by_path)
        failures = await asyncio.to_thread(namespaces.delete_many, list(by_path))
        if failures:
            raise UnitErrors({by_path[path]: error for path, error in failures.items()})

    async def observe(self, services: Services, units: Sequence[RecordedUnit]) -> Mapping[str, Observation]:
        """Whether each is mounted."""
        return {
            record.unit.id: Observation(
                health=Health.OK if namespaces.exists(_path(services, record.unit)) else Health.MISSING
            )
            for record in units
        }


def _path(services: Services, unit: Unit) -> Path:
    return services.namespace(str(unit.spec["node"]))
