"""Unit type `link`: a cable between a network's switch and a node.

Its impairment (labctl_network.impair) is a fact of the unit, not part of its spec: it is ordered while the lab runs, stays through an `up`
and a restart of labd, and is put to work again when the link is mended. It goes with the link, and with the lab.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, cast

from labctl.errors import LabError
from labctl.linux import links
from labctl.linux.links import End, LinkState, Veth
from labctl.linux.sockets import SocketPool
from labctl.model.json import JsonObject
from labctl.model.unit import Change, Health, Hold, Observation, RecordedUnit, Unit
from labctl.plugin.api import Removal, Services, UnitErrors, UnitHandler
from labctl_network.impair.apply import RELAY
from labctl_network.impair.impairment import LinkImpairment
from labctl_network.impair.links import ends_of, facts_of, impairer


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
        errors: dict[str, Exception] = {wanted[veth]: error for veth, error in failures.items()}
        facts = await asyncio.to_thread(
            self._impair, services, [unit for unit in units if unit.id not in errors], errors
        )
        if errors:
            raise UnitErrors(errors, facts)
        return facts

    async def update(self, services: Services, old: RecordedUnit, new: Unit) -> JsonObject:
        """Mend it to what it shall be."""
        return (await self.create(services, [new])).get(new.id, {})

    async def delete(self, services: Services, units: Sequence[RecordedUnit], removal: Removal) -> None:
        """Pull them out; a pair goes with either end."""
        ids = {}
        for record in units:
            end = _veth(services, record.unit).local
            ids[end.namespace, end.name] = record.unit.id
        for record in units:
            if record.facts:
                await asyncio.to_thread(impairer(services, self._pool).forget, record.unit.id)
        failures = await asyncio.to_thread(links.delete_links, self._pool, list(ids))
        if failures:
            raise UnitErrors({ids[key]: error for key, error in failures.items()})

    async def observe(self, services: Services, units: Sequence[RecordedUnit]) -> Mapping[str, Observation]:
        """Whether both ends are there and as they should be, with one look into each namespace."""
        veths = {record.unit.id: _veth(services, record.unit) for record in units}
        places = {end.namespace for veth in veths.values() for end in (veth.local, veth.peer)}
        found = await asyncio.to_thread(links.observe, self._pool, places)
        seen = {}
        for record in units:
            unit_id, veth = record.unit.id, veths[record.unit.id]
            wanted = LinkImpairment.from_json(record.facts.get("impairment"))
            down = {veth.local: wanted.down, veth.peer: False}
            wrong = [reason for end in down if (reason := _wrong(found.get(end.namespace, {}), end, down=down[end]))]
            if record.facts.get("way") == RELAY and impairer(services, self._pool).relay(unit_id) is None:
                wrong.append(f"the relay of {veth.peer.name} is gone")
            seen[unit_id] = _observation(veth, wrong, wanted)
        return seen

    def _impair(self, services: Services, units: Sequence[Unit], errors: dict[str, Exception]) -> dict[str, JsonObject]:
        """Put to work again what the links suffered before they were mended; returns their facts."""
        facts: dict[str, JsonObject] = {}
        for unit in units:
            wanted = LinkImpairment.from_json(services.facts(unit.id).get("impairment"))
            if not wanted:
                continue
            facts[unit.id] = dict(services.facts(unit.id))
            tool = impairer(services, self._pool)
            try:
                tool.forget(unit.id)
                facts[unit.id] = facts_of(wanted, tool.apply(unit.id, ends_of(services, unit), wanted))
            except LabError as error:
                errors[unit.id] = error
        return facts


def _observation(veth: Veth, wrong: Sequence[str], wanted: LinkImpairment) -> Observation:
    if wrong:
        return Observation(health=Health.MISSING, detail="; ".join(wrong))
    return Observation(health=Health.OK, detail=f"{veth.peer.name}: {wanted}" if wanted else "")


def _wrong(interfaces: Mapping[str, LinkState], end: End, *, down: bool) -> str:
    state = interfaces.get(end.name)
    if state is None or state.kind != "veth":
        return f"{end.name} is gone"
    if state.up == down:
        return f"{end.name} is {'up' if state.up else 'down'}"
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
