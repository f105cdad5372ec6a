"""Unit type `link`: a cable between a network's switch and a node."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, cast

from labctl.linux import links
from labctl.linux.links import End, LinkState, Veth
from labctl.linux.sockets import SocketPool
from labctl.model.json import JsonObject
from labctl.model.unit import Change, Health, Hold, Observation, RecordedUnit, Unit
from labctl.plugin.api import Removal, Services, UnitErrors, UnitHandler


class LinkHandler(UnitHandler):
    """Makes veth pairs in batches, from the switch's side.

    Args:
        pool: the netlink sockets.
    """

    type = "link"
    hold = Hold.NEVER

    def __init__(self, pool: SocketPool) -> None:
        self._pool = pool

    def change(self, old: JsonObject, new: JsonObject) -> Change:
        """Addresses, MTU and MAC change in place; another node, interface or switch is another cable."""
        fixed = ("node", "interface", "switch", "switch_port")
        return Change.IN_PLACE if all(old[key] == new[key] for key in fixed) else Change.REPLACE

    async def create(self, services: Services, units: Sequence[Unit]) -> Mapping[str, JsonObject]:
        """Make or mend them."""
        wanted = {_veth(services, unit): unit.id for unit in units}
        failures = await asyncio.to_thread(links.ensure_veths, self._pool, list(wanted))
        if failures:
            raise UnitErrors({wanted[veth]: error for veth, error in failures.items()})
        return {}

    async def update(self, services: Services, old: RecordedUnit, new: Unit) -> JsonObject:
        """Mend it to what it shall be."""
        await self.create(services, [new])
        return {}

    async def delete(self, services: Services, units: Sequence[RecordedUnit], removal: Removal) -> None:
        """Pull them out; a pair goes with either end."""
        ids = {}
        for record in units:
            end = _veth(services, record.unit).local
            ids[end.namespace, end.name] = record.unit.id
        failures = await asyncio.to_thread(links.delete_links, self._pool, list(ids))
        if failures:
            raise UnitErrors({ids[key]: error for key, error in failures.items()})

    async def observe(self, services: Services, units: Sequence[RecordedUnit]) -> Mapping[str, Observation]:
        """Whether both ends are there and as they should be, with one look into each namespace."""
        veths = {record.unit.id: _veth(services, record.unit) for record in units}
        places = {end.namespace for veth in veths.values() for end in (veth.local, veth.peer)}
        found = await asyncio.to_thread(links.observe, self._pool, places)
        seen = {}
        for unit_id, veth in veths.items():
            wrong = [reason for end in (veth.local, veth.peer) if (reason := _wrong(found.get(end.namespace, {}), end))]
            health = Health.MISSING if wrong else Health.OK
            seen[unit_id] = Observation(health=health, detail="; ".join(wrong))
        return seen


def _wrong(interfaces: Mapping[str, LinkState], end: End) -> str:
    state = interfaces.get(end.name)
    if state is None or state.kind != "veth":
        return f"{end.name} is gone"
    if not state.up:
        return f"{end.name} is down"
    if state.mtu != end.mtu:
        return f"{end.name} has MTU {state.mtu}"
    if not set(end.addresses) <= set(state.addresses):
        return f"{end.name} lacks {', '.join(set(end.addresses) - set(state.addresses))}"
    if end.bridge is not None and state.master != getattr(interfaces.get(end.bridge), "index", None):
        return f"{end.name} is not plugged into {end.bridge}"
    return ""


def _veth(services: Services, unit: Unit) -> Veth:
    spec = cast("dict[str, Any]", unit.spec)
    mtu = int(spec["mtu"])
    switch = End(
        namespace=services.namespace(spec["switch"]), name=spec["switch_port"], mtu=mtu, bridge=spec["switch_bridge"]
    )
    node = End(
        namespace=services.namespace(spec["node"]),
        name=spec["interface"],
        mac=spec["mac"],
        mtu=mtu,
        bridge=spec["bridge"],
        addresses=(spec["address"],) if spec["address"] else (),
    )
    return Veth(local=switch, peer=node)
