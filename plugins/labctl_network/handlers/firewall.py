"""Unit type `firewall`: the rules at the ports of one node, as nftables tables in its namespace.

A change is one transaction, so that no packet meets half a policy; what is established stays (labctl_network.firewall.ruleset). It
is of what differs alone where a node has what it is to have (labctl_network.firewall.change), and else of the whole.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, cast

from labctl.errors import LabError
from labctl.linux.configure import Configured, configure
from labctl.linux.namespaces import exists
from labctl.linux.sockets import SocketPool
from labctl.model.json import JsonObject
from labctl.model.unit import Health, Observation, RecordedUnit, Unit
from labctl.plugin.api import Services
from labctl_network import addressing
from labctl_network.firewall import nft, ruleset
from labctl_network.firewall.change import Loaded, changes
from labctl_network.firewall.policy import Policy
from labctl_network.handlers.loaded import LoadedHandler

FAMILIES = ("bridge", "netdev")

KEPT: Final = 8
"""Policies that are remembered: ten thousand rules are some 30 MB, and a second's work to arrange."""

log = logging.getLogger(__name__)


class FirewallHandler(LoadedHandler):
    """Loads policies into nodes.

    Args:
        pool: the netlink sockets.
    """

    type = "firewall"

    def __init__(self, pool: SocketPool) -> None:
        self._pool = pool
        self._known: OrderedDict[str, Loaded] = OrderedDict()

    async def update(self, services: Services, old: RecordedUnit, new: Unit) -> JsonObject:
        """Change what differs."""
        await asyncio.to_thread(self._change, services, old.unit, new)
        return {}

    def _change(self, services: Services, old: Unit, new: Unit) -> None:
        namespace, mac = self._prepare(services, new)
        commands = changes(self._of(old), self._of(new), mac)
        if commands is not None:
            try:
                if commands:
                    nft.apply(namespace, commands)
            except LabError as error:
                log.warning("%s has not the firewall that it should have had: %s", new.spec["node"], error.message)
            else:
                return
        self.load(services, new)

    def _of(self, unit: Unit) -> Loaded:
        """What a unit stands for; the last few are kept, since a change begins where the last one ended."""
        digest, bridges = ruleset.digest_of(unit.spec), cast("list[str]", unit.spec["bridges"])
        known = self._known.pop(digest, None) or Loaded.of(unit.spec, bridges)
        known = replace(known, bridges=tuple(bridges))
        self._known[digest] = known
        while len(self._known) > KEPT:
            self._known.popitem(last=False)
        return known

    def _prepare(self, services: Services, unit: Unit) -> tuple[Path, str]:
        """Give the node's switches the MAC address that answers to what is rejected; returns the namespace and the address."""
        namespace, spec = services.namespace(str(unit.spec["node"])), cast("dict[str, Any]", unit.spec)
        mac = addressing.bridge_mac(services.lab.name, spec["node"])
        wanted = [Configured(namespace=namespace, name=name, kind="bridge", mac=mac) for name in spec["bridges"]]
        for failure in configure(self._pool, wanted).values():
            raise failure
        return namespace, mac

    def load(self, services: Services, unit: Unit) -> None:
        """Load a policy, at all of a node's switches."""
        namespace, mac = self._prepare(services, unit)
        present = [
            each for family in FAMILIES for each in nft.listing(namespace, "table", family, ruleset.TABLE, terse=True)
        ]
        bridges = cast("list[str]", unit.spec["bridges"])
        nft.apply(namespace, ruleset.commands(policy_of(unit), bridges, mac, present))

    def unload(self, services: Services, unit: Unit) -> None:
        """Remove the tables: everything passes."""
        namespace = services.namespace(str(unit.spec["node"]))
        if exists(namespace):
            nft.apply(namespace, ruleset.removal())

    def look(self, services: Services, unit: Unit) -> Observation:
        """Whether a node has just this policy, at all its switches."""
        namespace: Path = services.namespace(str(unit.spec["node"]))
        chains = {
            (each["chain"]["family"], each["chain"]["name"])
            for each in (nft.listing(namespace, "chains") if exists(namespace) else [])
            if "chain" in each and each["chain"]["table"] == ruleset.TABLE
        }
        wanted = {("bridge", ruleset.digest_of(unit.spec)), ("bridge", "prerouting")}
        bridges = cast("list[str]", unit.spec["bridges"])
        wanted |= {("netdev", ruleset.answering(bridge)) for bridge in bridges}
        if wanted <= chains:
            return Observation(health=Health.OK)
        return Observation(health=Health.MISSING, detail=f"the firewall of {unit.spec['node']} is not at work")


def policy_of(unit: Unit) -> Policy:
    """The policy that a unit carries."""
    return Policy.from_json(cast("dict[str, Any]", unit.spec))
