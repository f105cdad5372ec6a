"""Unit type `firewall`: the rules at the ports of one node, as nftables tables in its namespace.

A change is one transaction, so that no packet meets half a policy; what is established stays (labctl_network.firewall.ruleset).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from labctl.linux.configure import Configured, configure
from labctl.linux.namespaces import exists
from labctl.linux.sockets import SocketPool
from labctl.model.unit import Health, Observation, Unit
from labctl.plugin.api import Services
from labctl_network import addressing
from labctl_network.firewall import nft, ruleset
from labctl_network.firewall.policy import Policy
from labctl_network.handlers.loaded import LoadedHandler

FAMILIES = ("bridge", "netdev")


class FirewallHandler(LoadedHandler):
    """Loads policies into nodes.

    Args:
        pool: the netlink sockets.
    """

    type = "firewall"

    def __init__(self, pool: SocketPool) -> None:
        self._pool = pool

    def load(self, services: Services, unit: Unit) -> None:
        """Load a policy, at all of a node's switches."""
        namespace, spec = services.namespace(str(unit.spec["node"])), cast("dict[str, Any]", unit.spec)
        mac = addressing.bridge_mac(services.lab.name, spec["node"])
        wanted = [Configured(namespace=namespace, name=name, kind="bridge", mac=mac) for name in spec["bridges"]]
        for failure in configure(self._pool, wanted).values():
            raise failure
        present = [
            each for family in FAMILIES for each in nft.listing(namespace, "table", family, ruleset.TABLE, terse=True)
        ]
        nft.apply(namespace, ruleset.commands(policy_of(unit), spec["bridges"], mac, present))

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
        wanted = {("bridge", ruleset.digest(policy_of(unit))), ("bridge", "prerouting")}
        bridges = cast("list[str]", unit.spec["bridges"])
        wanted |= {("netdev", ruleset.answering(bridge)) for bridge in bridges}
        if wanted <= chains:
            return Observation(health=Health.OK)
        return Observation(health=Health.MISSING, detail=f"the firewall of {unit.spec['node']} is not at work")


def policy_of(unit: Unit) -> Policy:
    """The policy that a unit carries."""
    return Policy.from_json(cast("dict[str, Any]", unit.spec))
