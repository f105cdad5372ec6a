"""DRS as actions on a cluster: what it recommends, and having that done."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from labctl.model.json import Json, JsonObject
from labctl.model.resource import Resource
from labctl.plugin.api import Action, ActionContext
from labctl_server.drs.balancer import Balancer, as_json

_balancers: defaultdict[str, Balancer] = defaultdict(Balancer)
"""By cluster; labd serves one lab."""


def drs_actions() -> Mapping[str, Action]:
    """The actions by name."""
    return {"drs": show, "drs-apply": apply, "drs-task": task}


async def show(context: ActionContext, resource: Resource[Any], _arguments: JsonObject) -> dict[str, Any]:
    """Measure for two seconds; the cluster's load and `recommendations`, and the last `task`, or None. No arguments."""
    balancer = _balancers[resource.name]
    load = await balancer.measure(context, resource)
    return {**as_json(resource, load, balancer.recommend(resource, load)), "task": _task(balancer)}


async def apply(context: ActionContext, resource: Resource[Any], _arguments: JsonObject) -> dict[str, Any]:
    """Measure, and begin to do what is recommended. Returns what `show` does. No arguments.

    Raises:
        ConflictError: DRS is off, or is migrating already.
    """
    balancer = _balancers[resource.name]
    load = await balancer.measure(context, resource)
    moves = balancer.recommend(resource, load)
    balancer.begin(context, resource, moves)
    return {**as_json(resource, load, moves), "task": _task(balancer)}


async def task(_context: ActionContext, resource: Resource[Any], _arguments: JsonObject) -> Json:
    """The last task that migrated, or None. No arguments."""
    return _task(_balancers[resource.name])


async def tend(context: ActionContext, resource: Resource[Any]) -> float:
    """See labctl.plugin.api.Kind.tend."""
    await _balancers[resource.name].tend(context, resource)
    return float(resource.spec.drs_interval)


def _task(balancer: Balancer) -> dict[str, Any] | None:
    return balancer.balancing.to_json() if balancer.balancing else None
