"""Unit type `ports`: what port groups let through the ports of one node."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from labctl.errors import LabError
from labctl.linux.namespaces import exists, run_in
from labctl.model.json import JsonObject
from labctl.model.unit import Change, Health, Hold, Observation, RecordedUnit, Unit
from labctl.plugin.api import Removal, Services, UnitHandler
from labctl.plugin.batch import for_each
from labctl_network import ports
from labctl_network.firewall import nft
from labctl_network.ports import PortRules

AGEING = 30000
"""Hundredths of a second that a bridge remembers who is where: IEEE 802.1D's 300 s, as the kernel has it."""

IP_DEADLINE = 30.0
"""Seconds for `ip`, which asks the kernel one thing."""


class PortsHandler(UnitHandler):
    """Loads port rules into nodes."""

    type = "ports"
    hold = Hold.NEVER

    def change(self, old: JsonObject, new: JsonObject) -> Change:
        """Other rules are loaded in place of the old ones; another node's are another unit."""
        return Change.IN_PLACE if old["node"] == new["node"] else Change.REPLACE

    async def create(self, services: Services, units: Sequence[Unit]) -> Mapping[str, JsonObject]:
        """Load them, whatever is there."""
        await for_each(units, lambda unit: asyncio.to_thread(_load, services, unit))
        return {}

    async def update(self, services: Services, old: RecordedUnit, new: Unit) -> JsonObject:
        """Load the new rules."""
        await self.create(services, [new])
        return {}

    async def delete(self, services: Services, units: Sequence[RecordedUnit], removal: Removal) -> None:
        """Remove the table, and let the bridges learn again."""
        await for_each(units, lambda record: asyncio.to_thread(_unload, services, record.unit))

    async def observe(self, services: Services, units: Sequence[RecordedUnit]) -> Mapping[str, Observation]:
        """Whether each node has just these rules."""
        return {record.unit.id: await asyncio.to_thread(_look, services, record.unit) for record in units}


def _rules(unit: Unit) -> PortRules:
    return PortRules.from_json(cast("dict[str, Any]", unit.spec))


def _load(services: Services, unit: Unit) -> None:
    namespace = services.namespace(str(unit.spec["node"]))
    rules = _rules(unit)
    nft.apply(namespace, ports.commands(rules))
    for bridge, promiscuous in rules.bridges.items():
        done = _age(namespace, bridge, 0 if promiscuous else AGEING)
        if done.returncode:
            raise LabError(f"cannot let {bridge} in {unit.spec['node']} forget: {done.stderr.strip()}")


def _unload(services: Services, unit: Unit) -> None:
    namespace = services.namespace(str(unit.spec["node"]))
    if exists(namespace):
        nft.apply(namespace, ports.removal())
        for bridge in _rules(unit).bridges:
            _age(namespace, bridge, AGEING)  # one that is gone needs none


def _age(namespace: Path, bridge: str, ageing: int) -> subprocess.CompletedProcess[str]:
    argv = ["ip", "link", "set", "dev", bridge, "type", "bridge", "ageing_time", str(ageing)]
    return run_in(
        namespace,
        lambda: subprocess.run(argv, capture_output=True, text=True, timeout=IP_DEADLINE, check=False),
    )


def _look(services: Services, unit: Unit) -> Observation:
    namespace = services.namespace(str(unit.spec["node"]))
    wanted = ports.digest(_rules(unit))
    for each in nft.listing(namespace, "chains", "bridge") if exists(namespace) else []:
        if "chain" in each and (each["chain"]["table"], each["chain"]["name"]) == (ports.TABLE, wanted):
            return Observation(health=Health.OK)
    return Observation(health=Health.MISSING, detail=f"the port rules of {unit.spec['node']} are not at work")
