"""Unit type `firewall`: the rules at the ports of one node, as nftables tables in its namespace.

A change is one transaction, so that no packet meets half a policy; what is established stays (labctl_network.firewall.ruleset).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from labctl.linux.configure import Configured, configure
from labctl.linux.namespaces import exists
from labctl.linux.sockets import SocketPool
from labctl.model.json import JsonObject
from labctl.model.unit import Change, Health, Hold, Observation, RecordedUnit, Unit
from labctl.plugin.api import Removal, Services, UnitHandler
from labctl.plugin.batch import for_each
from labctl_network import addressing
from labctl_network.firewall import nft, ruleset
from labctl_network.firewall.policy import Policy

FAMILIES = ("bridge", "netdev")


class FirewallHandler(UnitHandler):
    """Loads policies into nodes.

    Args:
        pool: the netlink sockets.
    """

    type = "firewall"
    hold = Hold.NEVER

    def __init__(self, pool: SocketPool) -> None:
        self._pool = pool

    def change(self, old: JsonObject, new: JsonObject) -> Change:
        """Any other policy is loaded in place of the old one; another node's is another unit."""
        return Change.IN_PLACE if old["node"] == new["node"] else Change.REPLACE

    async def create(self, services: Services, units: Sequence[Unit]) -> Mapping[str, JsonObject]:
        """Load them, whatever is there."""
        await for_each(units, lambda unit: asyncio.to_thread(self._load, services, unit))
        return {}

    async def update(self, services: Services, old: RecordedUnit, new: Unit) -> JsonObject:
        """Load the new policy."""
        await self.create(services, [new])
        return {}

    async def delete(self, services: Services, units: Sequence[RecordedUnit], removal: Removal) -> None:
        """Remove the tables: everything passes."""
        await for_each(units, lambda record: asyncio.to_thread(_unload, services, record.unit))

    async def observe(self, services: Services, units: Sequence[RecordedUnit]) -> Mapping[str, Observation]:
        """Whether each node has just this policy, at all its switches."""
        seen = {}
        for record in units:
            seen[record.unit.id] = await asyncio.to_thread(_look, services, record.unit)
        return seen

    def _load(self, services: Services, unit: Unit) -> None:
        namespace, spec = services.namespace(str(unit.spec["node"])), cast("dict[str, Any]", unit.spec)
        mac = addressing.bridge_mac(services.lab.name, spec["node"])
        wanted = [Configured(namespace=namespace, name=name, kind="bridge", mac=mac) for name in spec["bridges"]]
        for failure in configure(self._pool, wanted).values():
            raise failure
        present = [
            each for family in FAMILIES for each in nft.listing(namespace, "table", family, ruleset.TABLE, terse=True)
        ]
        nft.apply(namespace, ruleset.commands(policy_of(unit), spec["bridges"], mac, present))


def _unload(services: Services, unit: Unit) -> None:
    namespace = services.namespace(str(unit.spec["node"]))
    if exists(namespace):
        nft.apply(namespace, ruleset.removal())


def policy_of(unit: Unit) -> Policy:
    """The policy that a unit carries."""
    return Policy.from_json(cast("dict[str, Any]", unit.spec))


def _look(services: Services, unit: Unit) -> Observation:
    namespace: Path = services.namespace(str(unit.spec["node"]))
    chains = {
        (each["chain"]["family"], each["chain"]["name"])
        for each in (nft.listing(namespace, "chains") if exists(namespace) else [])
        if "chain" in each and each["chain"]["table"] == ruleset.TABLE
    }
    wanted = {("bridge", ruleset.digest(policy_of(unit))), ("bridge", "prerouting")}
    bridges = cast("list[str]", unit.spec["bridges"])
    wanted |= {("netdev", ruleset.answering(bridge)) for bridge in bridges}
    if wanted <= chains:
        return Observation(health=Health.OK)
    return Observation(health=Health.MISSING, detail=f"the firewall of {unit.spec['node']} is not at work")
