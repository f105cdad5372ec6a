"""Unit type `bridge`: a switch inside a node."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from labctl.linux import links
from labctl.linux.links import Bridge
from labctl.linux.sockets import SocketPool
from labctl.model.json import JsonObject
from labctl.model.unit import Change, Health, Observation, RecordedUnit, Unit
from labctl.plugin.api import Removal, Services, UnitErrors, UnitHandler


class BridgeHandler(UnitHandler):
    """Makes bridges that forward at once.

    Args:
        pool: the netlink sockets.
    """

    type = "bridge"

    def __init__(self, pool: SocketPool) -> None:
        self._pool = pool

    def change(self, old: JsonObject, new: JsonObject) -> Change:
        """A bridge's MTU changes in place; another name or node is another bridge."""
        return Change.IN_PLACE if (old["node"], old["name"]) == (new["node"], new["name"]) else Change.REPLACE

    async def create(self, services: Services, units: Sequence[Unit]) -> Mapping[str, JsonObject]:
        """Make or mend them."""
        wanted = {_bridge(services, unit): unit.id for unit in units}
        failures = await asyncio.to_thread(links.ensure_bridges, self._pool, list(wanted))
        if failures:
            raise UnitErrors({wanted[bridge]: error for bridge, error in failures.items()})
        return {}

    async def update(self, services: Services, old: RecordedUnit, new: Unit) -> JsonObject:
        """Mend it to its new MTU."""
        await self.create(services, [new])
        return {}

    async def delete(self, services: Services, units: Sequence[RecordedUnit], removal: Removal) -> None:
        """Delete them."""
        ids = {(services.namespace(str(r.unit.spec["node"])), str(r.unit.spec["name"])): r.unit.id for r in units}
        failures = await asyncio.to_thread(links.delete_links, self._pool, list(ids))
        if failures:
            raise UnitErrors({ids[key]: error for key, error in failures.items()})

    async def observe(self, services: Services, units: Sequence[RecordedUnit]) -> Mapping[str, Observation]:
        """Whether each is there, up, and as wide as it should be."""
        bridges = {record.unit.id: _bridge(services, record.unit) for record in units}
        found = await asyncio.to_thread(links.observe, self._pool, {bridge.namespace for bridge in bridges.values()})
        seen = {}
        for unit_id, bridge in bridges.items():
            state = found.get(bridge.namespace, {}).get(bridge.name)
            whole = state is not None and state.kind == "bridge" and state.up and state.mtu == bridge.mtu
            seen[unit_id] = Observation(health=Health.OK if whole else Health.MISSING)
        return seen


def _bridge(services: Services, unit: Unit) -> Bridge:
    spec = unit.spec
    return Bridge(namespace=services.namespace(str(spec["node"])), name=str(spec["name"]), mtu=int(str(spec["mtu"])))
