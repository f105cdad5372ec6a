"""What can be asked of a running lab's networks: who is on them, and which way frames take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labctl.model.json import Json, JsonObject
from labctl.model.resource import Resource
from labctl.model.unit import UnitState
from labctl.plugin.api import Action, ActionContext
from labctl_network import reach
from labctl_network.impair.impairment import LinkImpairment


class ReachActions:
    """`attached` of one network, `path` of all: any network can be asked."""

    def by_name(self) -> Mapping[str, Action]:
        """The actions by name."""
        return {"attached": self.attached, "path": self.path}

    async def attached(self, context: ActionContext, resource: Resource[Any], _arguments: JsonObject) -> Json:
        """What is on the network. No arguments."""
        found, broken = _everything(context)
        return [
            {**each.to_json(), "suffers": broken.get(each.link) or None}
            for each in found
            if each.network == resource.name
        ]

    async def path(self, context: ActionContext, _resource: Resource[Any], arguments: JsonObject) -> Json:
        """The way of a frame.

        Args:
            context: the runtime.
            resource: any network.
            arguments: `from` and `to`: names of resources, or addresses.
        """
        found, broken = _everything(context)
        ends = str(arguments.get("from")), str(arguments.get("to"))
        return reach.path(found, *ends, broken, routers_of(context))


def routers_of(context: ActionContext) -> list[reach.RouterLegs]:
    """The lab's routers, as its topology has them."""
    found = []
    for record in context.units_of_type("routing"):
        if record.unit.resource.kind == "router":
            told: dict[str, Any] = dict(context.description(record.unit.resource).properties)
            found.append(
                reach.RouterLegs(
                    name=record.unit.resource.name,
                    networks=told.get("networks", ()),
                    uplink=told.get("uplink") or "",
                    hidden=bool(told.get("snat")),
                )
            )
    return found


def _everything(context: ActionContext) -> tuple[list[reach.Attachment], dict[str, str]]:
    """All attachments, and what links suffer, in words."""
    records = [record for record in context.units_of_type("link") if record.state is UnitState.CREATED]
    found = [reach.of_link(each.unit.resource.kind, each.unit.resource.name, dict(each.unit.spec)) for each in records]
    uplinks = [each for each in found if each.bridge]
    for record in context.units_of_type("vm"):
        vm = record.unit.resource
        found += reach.of_vm(vm.name, context.description(vm).properties, uplinks)
    broken = {}
    for record in records:
        suffers = LinkImpairment.from_json(record.facts.get("impairment"))
        broken[record.unit.id.removeprefix("link:")] = str(suffers) if suffers else ""
    return found, broken
