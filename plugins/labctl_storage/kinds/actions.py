"""What can be done to an array: each action is a call to its agent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from labctl.model.json import Json, JsonObject
from labctl.model.resource import Resource
from labctl.plugin.api import Action, ActionContext


def fault_actions() -> Mapping[str, Action]:
    """The actions by name."""
    return {"add-fault": add_fault, "list-faults": list_faults, "clear-faults": clear_faults}


async def add_fault(context: ActionContext, resource: Resource[Any], arguments: JsonObject) -> Json:
    """Set a fault; `arguments` is a labctl_storage.arrayd.faults.FaultOrder. Returns the fault."""
    return await context.services.agent(resource.name).call("POST", "/v1/faults", arguments)


async def list_faults(context: ActionContext, resource: Resource[Any], _arguments: JsonObject) -> Json:
    """The faults that are set, with their hits. No arguments."""
    return await context.services.agent(resource.name).call("GET", "/v1/faults")


async def clear_faults(context: ActionContext, resource: Resource[Any], arguments: JsonObject) -> Json:
    """Clear the fault `id`, or all where there is none named. Returns the ids of those cleared."""
    one = arguments.get("id")
    path = "/v1/faults" if one is None else f"/v1/faults/{quote(str(one), safe='')}"
    return await context.services.agent(resource.name).call("DELETE", path)
