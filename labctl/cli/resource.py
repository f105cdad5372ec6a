"""Finds the resource that a user names."""

from __future__ import annotations

from typing import Any

from labctl.daemon.client import DaemonClient
from labctl.errors import NotRunningError, UsageError


def find(client: DaemonClient, wanted: str) -> dict[str, Any]:
    """The resource with that address (`vm.web1`), or that name where only one has it.

    Raises:
        NotRunningError: the lab has none such.
        UsageError: several kinds have one of that name.
    """
    resources = client.get("/v1/status")["resources"]
    found = [item for item in resources if wanted in (f"{item['kind']}.{item['name']}", item["name"])]
    if len(found) == 1:
        return dict(found[0])
    if found:
        addresses = [f"{item['kind']}.{item['name']}" for item in found]
        raise UsageError(f"several resources are called {wanted}: {', '.join(addresses)}", hint=f"say {addresses[0]}")
    from labctl.model.suggest import did_you_mean

    names = [item["name"] for item in resources] + [f"{item['kind']}.{item['name']}" for item in resources]
    raise NotRunningError(
        f"lab {client.lab} has no resource {wanted}",
        hint=did_you_mean(wanted, names) or "`labctl status` lists them",
    )


def find_enterable(client: DaemonClient, wanted: str) -> dict[str, Any]:
    """As find, among the resources that can be entered (a node or a guest); a name that one of them has is that one's.

    Raises:
        NotRunningError: there is none such.
        UsageError: it cannot be entered.
    """
    resources = client.get("/v1/status")["resources"]
    inside = [item for item in resources if item["name"] == wanted and (item.get("node") or item.get("guest"))]
    item = dict(inside[0]) if len(inside) == 1 else find(client, wanted)
    if not (item.get("node") or item.get("guest")):
        raise UsageError(f"{item['kind']}.{item['name']} is nothing that a command can run in")
    return item
