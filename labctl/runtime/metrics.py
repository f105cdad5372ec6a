"""A lab's metrics: each agent's own, and how every agent and resource is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, cast

from labctl.contracts.metrics import METRICS_PATH, Metrics
from labctl.errors import LabError
from labctl.model.inventory import Inventory
from labctl.model.json import Json, JsonObject
from labctl.plugin.api import AgentCalls
from labctl.runtime.view import AGENT_TYPE, CONNECTED

DEADLINE = 2.0
"""Seconds for an agent's answer; one that is slower is silent this time."""


Links = Callable[[str], AgentCalls]
"""Leads to a node's agent. Raises LabError."""


async def collect(inventory: Inventory, links: Links) -> JsonObject:
    """Ask all agents that are connected, at once.

    Args:
        inventory: of the lab.
        links: to its agents.

    Returns:
        `time`, `metrics`, and the nodes that were `silent`.
    """
    metrics = Metrics()
    agents = {str(each.properties["node"]): each for each in inventory.objects(AGENT_TYPE)}
    connected = [node for node, agent in agents.items() if agent.properties["connection"] == CONNECTED]
    answers = dict(zip(connected, await asyncio.gather(*(_ask(links, node) for node in connected)), strict=True))
    for node in agents:
        told = answers.get(node)
        metrics.gauge("labctl_agent_up", "Whether the agent answers", float(told is not None), node=node)
        if told is not None:
            metrics.add(told["metrics"])
    for managed in inventory.objects():
        if managed.type != AGENT_TYPE:
            labels = {
                "kind": managed.type,
                "name": str(managed.properties.get("name", "")),
                "state": _state(managed.properties),
            }
            metrics.gauge("labctl_resource_state", "1 for the state that the resource is in", 1.0, **labels)
    silent: list[Json] = [node for node in sorted(agents) if answers.get(node) is None]
    return {"time": time.time(), "metrics": cast("list[Json]", metrics.to_json()), "silent": silent}


def _state(properties: Mapping[str, Json]) -> str:
    return str(properties.get("state", ""))


async def _ask(links: Links, node: str) -> Mapping[str, Any] | None:
    """An agent's answer; None where it does not answer, or has no metrics to tell."""
    try:
        return cast("Mapping[str, Any]", await links(node).call("GET", METRICS_PATH, timeout=DEADLINE))
    except LabError:
        return None
