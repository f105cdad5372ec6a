"""What a cluster's hosts and VMs use, as their agents tell it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from labctl.contracts.metrics import METRICS_PATH
from labctl.errors import LabError
from labctl.model.address import Address
from labctl.model.json import JsonObject
from labctl.plugin.api import ActionContext
from labctl_server.drs.load import HostLoad, Load, VmLoad

DEADLINE = 3.0
"""Seconds for a host to answer; one that is slower is left alone."""

SECONDS = 2.0
"""Seconds between two looks of one that wants to know now."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """The counters of a cluster's VMs at a time.

    Args:
        time: in seconds.
        cpu: VM and host → seconds of processor time; only of VMs that run.
        open: the hosts that answer, and are not in maintenance.
    """

    time: float
    cpu: Mapping[tuple[str, str], float]
    open: frozenset[str]


async def look(context: ActionContext, hosts: Sequence[str]) -> Look:
    """Ask all hosts at once."""
    answers = dict(zip(hosts, await asyncio.gather(*(_ask(context, host) for host in hosts)), strict=True))
    cpu = {}
    for told, _ in filter(None, answers.values()):
        found = {metric["name"]: metric["samples"] for metric in told["metrics"]}
        for sample in found.get("labctl_vm_cpu_seconds_total", ()):
            cpu[sample["labels"]["vm"], sample["labels"]["host"]] = float(sample["value"])
    return Look(
        time=time.monotonic(),
        cpu=cpu,
        open=frozenset(host for host, told in answers.items() if told and told[1] == "off"),
    )


def load_between(context: ActionContext, hosts: Sequence[str], before: Look, after: Look) -> Load:
    """The cluster as it was between two looks.

    Args:
        context: of the lab.
        hosts: the cluster's.
        before: the first look.
        after: the second; a VM that was not there before is taken to do nothing.
    """
    seconds = max(after.time - before.time, 1e-3)
    vms = {}
    for record in context.units_of_type("vm"):
        name, host = record.unit.resource.name, str(record.unit.spec["host"])
        if host not in hosts:
            continue
        used = after.cpu.get((name, host))
        known = context.description(record.unit.resource).properties
        vms[name] = VmLoad(
            name=name,
            host=host,
            cpu=max(0.0, (used or 0.0) - before.cpu.get((name, host), used or 0.0)) / seconds,
            memory=int(cast("dict[str, Any]", record.unit.spec["machine"])["memory"]),
            hosts=tuple(map(str, cast("list[str]", known.get("hosts") or ()))),
            rules=tuple(cast("list[JsonObject]", known.get("rules") or ())),
            running=used is not None,
        )
    return Load(hosts={host: _host(context, host, host in after.open) for host in hosts}, vms=vms)


def _host(context: ActionContext, name: str, is_open: bool) -> HostLoad:
    known: Mapping[str, Any] = context.description(Address("host", name)).properties
    return HostLoad(name=name, cpus=float(known.get("cpus", 1)), memory=int(known.get("memory", 0)), open=is_open)


async def _ask(context: ActionContext, host: str) -> tuple[dict[str, Any], str] | None:
    """A host's metrics, and the state of its maintenance mode; None where it does not answer."""
    try:
        agent = context.services.agent(host)
        told = await agent.call("GET", METRICS_PATH, timeout=DEADLINE)
        maintained = await agent.call("GET", "/v1/maintenance", timeout=DEADLINE)
    except LabError:
        return None
    return cast("dict[str, Any]", told), str(cast("dict[str, Any]", maintained)["state"])
