"""Unit type `ports`: what port groups let through the ports of one node."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, cast

from labctl.errors import LabError
from labctl.linux.namespaces import exists, run_in
from labctl.model.unit import Health, Observation, Unit
from labctl.plugin.api import Services
from labctl_network import ports
from labctl_network.firewall import nft
from labctl_network.handlers.loaded import LoadedHandler
from labctl_network.ports import PortRules

AGEING = 30000
"""Hundredths of a second that a bridge remembers who is where: IEEE 802.1D's 300 s, as the kernel has it."""

IP_DEADLINE = 30.0
"""Seconds for `ip`, which asks the kernel one thing."""


class PortsHandler(LoadedHandler):
    """Loads port rules into nodes."""

    type = "ports"

    def load(self, services: Services, unit: Unit) -> None:
        """Load port rules, and let the bridges forget or remember."""
        namespace = services.namespace(str(unit.spec["node"]))
        rules = _rules(unit)
        nft.apply(namespace, ports.commands(rules))
        for bridge, promiscuous in rules.bridges.items():
            done = _age(namespace, bridge, 0 if promiscuous else AGEING)
            if done.returncode:
                raise LabError(f"cannot let {bridge} in {unit.spec['node']} forget: {done.stderr.strip()}")

    def unload(self, services: Services, unit: Unit) -> None:
        """Remove the table, and let the bridges learn again."""
        namespace = services.namespace(str(unit.spec["node"]))
        if exists(namespace):
            nft.apply(namespace, ports.removal())
            for bridge in _rules(unit).bridges:
                _age(namespace, bridge, AGEING)  # one that is gone needs none

    def look(self, services: Services, unit: Unit) -> Observation:
        """Whether a node has just these rules."""
        namespace = services.namespace(str(unit.spec["node"]))
        wanted = ports.digest(_rules(unit))
        for each in nft.listing(namespace, "chains", "bridge") if exists(namespace) else []:
            if "chain" in each and (each["chain"]["table"], each["chain"]["name"]) == (ports.TABLE, wanted):
                return Observation(health=Health.OK)
        return Observation(health=Health.MISSING, detail=f"the port rules of {unit.spec['node']} are not at work")


def _rules(unit: Unit) -> PortRules:
    return PortRules.from_json(cast("dict[str, Any]", unit.spec))


def _age(namespace: Path, bridge: str, ageing: int) -> subprocess.CompletedProcess[str]:
    argv = ["ip", "link", "set", "dev", bridge, "type", "bridge", "ageing_time", str(ageing)]
    return run_in(
        namespace,
        lambda: subprocess.run(argv, capture_output=True, text=True, timeout=IP_DEADLINE, check=False),
    )
