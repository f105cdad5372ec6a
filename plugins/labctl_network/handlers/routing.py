"""Unit type `routing`: routes, forwarding and address translation of one node.

Its routes carry a protocol number of their own (rtnetlink(7), rtm_protocol), so that they are told from those which somebody added by hand.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, cast

from labctl.errors import LabError
from labctl.linux.namespaces import exists, run_in, write_sysctls
from labctl.model.unit import Health, Observation, Unit
from labctl.plugin.api import Services
from labctl_network.firewall import nft
from labctl_network.handlers.loaded import LoadedHandler
from labctl_network.routing import nat
from labctl_network.routing.unit import Routing

PROTOCOL = "76"
"""Ours, of those that /etc/iproute2/rt_protos leaves free."""

IP_DEADLINE = 30.0
"""Seconds for `ip`, which asks the kernel a few things."""

FORWARDING = "net/ipv4/ip_forward"


class RoutingHandler(LoadedHandler):
    """Has nodes route."""

    type = "routing"

    def load(self, services: Services, unit: Unit) -> None:
        """Set the routes, the translation, then the forwarding."""
        namespace, routing = _place(services, unit), _routing(unit)
        present = _routes(namespace)
        steps = [f"route replace {to} via {via} proto {PROTOCOL}" for to, via in routing.routes.items()]
        steps += [f"route del {to} proto {PROTOCOL}" for to in present if to not in routing.routes]
        if steps:
            _ip(namespace, "-batch", "-", text="\n".join(steps))
        if routing.nat or unit.resource.kind == "router":
            nft.apply(namespace, nat.commands(routing.nat))
        _forward(namespace, routing.forward)

    def unload(self, services: Services, unit: Unit) -> None:
        """Remove what `load` set."""
        namespace = _place(services, unit)
        if not exists(namespace):
            return
        _forward(namespace, False)
        _ip(namespace, "route", "flush", "proto", PROTOCOL)
        if _routing(unit).nat:
            nft.apply(namespace, nat.removal())

    def look(self, services: Services, unit: Unit) -> Observation:
        """Whether a node has just these routes and rules."""
        namespace, routing = _place(services, unit), _routing(unit)
        if not exists(namespace):
            return Observation(health=Health.MISSING, detail=f"{unit.spec['node']} is gone")
        present = _routes(namespace)
        lost = [to for to, via in routing.routes.items() if present.get(to) != via]
        if lost:
            return Observation(health=Health.MISSING, detail=f"{unit.spec['node']} has no route to {', '.join(lost)}")
        if routing.forward and run_in(namespace, _forwards) != "1":
            return Observation(health=Health.MISSING, detail=f"{unit.spec['node']} does not forward")
        if routing.nat and nat.digest(routing.nat) not in {
            each["chain"]["name"] for each in nft.listing(namespace, "chains", nat.FAMILY) if "chain" in each
        }:
            return Observation(
                health=Health.MISSING, detail=f"the address translation of {unit.spec['node']} is not at work"
            )
        return Observation(health=Health.OK)


def _place(services: Services, unit: Unit) -> Path:
    return services.namespace(str(unit.spec["node"]))


def _routing(unit: Unit) -> Routing:
    return Routing.of(cast("dict[str, Any]", unit.spec))


def _forward(namespace: Path, on: bool) -> None:
    run_in(namespace, lambda: write_sysctls({FORWARDING: str(int(on))}))


def _forwards() -> str:
    return Path("/proc/sys", FORWARDING).read_text().strip()


def _routes(namespace: Path) -> dict[str, str]:
    """Our routes: destination → next hop."""
    told = _ip(namespace, "-json", "route", "show", "proto", PROTOCOL)
    return {each["dst"]: each.get("gateway", "") for each in json.loads(told or "[]")}


def _ip(namespace: Path, *arguments: str, text: str = "") -> str:
    def run() -> subprocess.CompletedProcess[str]:
        argv = ["ip", "-4", *arguments]
        return subprocess.run(argv, input=text, capture_output=True, text=True, timeout=IP_DEADLINE, check=False)

    done = run_in(namespace, run)
    if done.returncode:
        told = (done.stderr.strip().splitlines() or ["ip gave no reason"])[0]
        raise LabError(f"cannot set the routes of {namespace.name}: {told}")
    return done.stdout
