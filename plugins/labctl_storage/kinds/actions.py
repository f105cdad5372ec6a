"""What can be done to an array: each action is a call to its agent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from labctl.errors import UsageError
from labctl.model.json import Json, JsonObject
from labctl.model.resource import Resource
from labctl.plugin.api import Action, ActionContext

COPY_DEADLINE = 3600.0
"""Seconds for what moves a disk's data: cloning it, or merging the layers of a snapshot that goes."""


def array_actions() -> Mapping[str, Action]:
    """The actions by name."""
    return {
        "add-fault": add_fault,
        "list-faults": list_faults,
        "clear-faults": clear_faults,
        "list-volumes": list_volumes,
        "list-snapshots": list_snapshots,
        "create-snapshot": create_snapshot,
        "revert-snapshot": revert_snapshot,
        "delete-snapshot": delete_snapshot,
        "clone-volume": clone_volume,
        "delete-clone": delete_clone,
    }


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


async def list_volumes(context: ActionContext, resource: Resource[Any], _arguments: JsonObject) -> Json:
    """Its volumes, clones too: `datastore/name` → properties. No arguments."""
    return await context.services.agent(resource.name).call("GET", "/v1/volumes")


async def list_snapshots(context: ActionContext, resource: Resource[Any], arguments: JsonObject) -> Json:
    """The snapshots of `volume` on `datastore`, parents first; waits while one is merged."""
    path = f"{_volume(arguments)}/snapshots"
    return await context.services.agent(resource.name).call("GET", path, timeout=COPY_DEADLINE)


async def create_snapshot(context: ActionContext, resource: Resource[Any], arguments: JsonObject) -> Json:
    """Keep what `volume` on `datastore` holds now as `snapshot`. Returns the snapshot."""
    return await context.services.agent(resource.name).call("PUT", _snapshot(arguments), timeout=COPY_DEADLINE)


async def revert_snapshot(context: ActionContext, resource: Resource[Any], arguments: JsonObject) -> Json:
    """`volume` on `datastore` holds again what it held at `snapshot`."""
    path = f"{_snapshot(arguments)}/revert"
    return await context.services.agent(resource.name).call("POST", path, timeout=COPY_DEADLINE)


async def delete_snapshot(context: ActionContext, resource: Resource[Any], arguments: JsonObject) -> Json:
    """Forget `snapshot` of `volume` on `datastore`."""
    return await context.services.agent(resource.name).call("DELETE", _snapshot(arguments), timeout=COPY_DEADLINE)


async def clone_volume(context: ActionContext, resource: Resource[Any], arguments: JsonObject) -> Json:
    """Make `clone` from `volume` on `datastore`, as it is or as it was at `snapshot`. Returns the clone's properties."""
    body: JsonObject = {key: arguments[key] for key in ("clone", "snapshot") if arguments.get(key) is not None}
    path = f"{_volume(arguments)}/clone"
    return await context.services.agent(resource.name).call("POST", path, body, timeout=COPY_DEADLINE)


async def delete_clone(context: ActionContext, resource: Resource[Any], arguments: JsonObject) -> Json:
    """Delete the clone `volume` of `datastore`, with its data."""
    return await context.services.agent(resource.name).call("DELETE", f"{_volume(arguments)}/clone")


def _volume(arguments: JsonObject) -> str:
    """The path of `volume` on `datastore`. Raises UsageError."""
    datastore, volume = (quote(_word(arguments, key), safe="") for key in ("datastore", "volume"))
    return f"/v1/datastores/{datastore}/volumes/{volume}"


def _snapshot(arguments: JsonObject) -> str:
    return f"{_volume(arguments)}/snapshots/{quote(_word(arguments, 'snapshot'), safe='')}"


def _word(arguments: JsonObject, key: str) -> str:
    word = arguments.get(key)
    if not isinstance(word, str) or not word:
        raise UsageError(f"the argument {key} is missing", hint=f'give {{"{key}": "NAME", …}}')
    return word
