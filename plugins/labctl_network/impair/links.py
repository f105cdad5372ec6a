"""A lab's links as things to impair: their names, their ends, their facts; and the actions behind `labctl link`.

A link is named `NODE/INTERFACE`, as its unit is. Actions belong to the network that the link is on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, cast

from labctl.errors import NotRunningError, UsageError
from labctl.linux.sockets import SocketPool
from labctl.model.json import Json, JsonObject
from labctl.model.resource import Resource
from labctl.model.suggest import did_you_mean
from labctl.model.unit import RecordedUnit, Unit, UnitState
from labctl.plugin.api import Action, ActionContext, Services
from labctl_network.impair.apply import Impairer, LinkEnd
from labctl_network.impair.impairment import DIRECTIONS, LinkImpairment
from labctl_network.impair.words import parse_quantity

QUANTITIES = ("delay", "jitter", "loss", "duplicate", "corrupt", "reorder", "rate")
"""What `set-link` takes, as words."""


def impairer(services: Services, pool: SocketPool) -> Impairer:
    """What impairs the links of a lab."""
    return Impairer(pool, services.lab.directory / "relays")


def ends_of(services: Services, unit: Unit) -> Mapping[str, LinkEnd]:
    """Where frames leave a link, by direction: `to` its node at the switch's port, `from` it at the node's interface."""
    spec = cast("dict[str, Any]", unit.spec)
    mtu = int(spec["mtu"])
    return {
        "to": LinkEnd(namespace=services.namespace(spec["switch"]), device=spec["switch_port"], mtu=mtu),
        "from": LinkEnd(namespace=services.namespace(spec["node"]), device=spec["interface"], mtu=mtu),
    }


def facts_of(wanted: LinkImpairment, way: str) -> JsonObject:
    """What is recorded of a link: nothing where it is sound."""
    return {"impairment": wanted.to_json(), "way": way} if wanted else {}


class LinkActions:
    """`list-links` and `set-link` of a network. One change at a time."""

    def __init__(self) -> None:
        self._change = asyncio.Lock()

    def by_name(self) -> Mapping[str, Action]:
        """The actions by name."""
        return {"list-links": self.list, "set-link": self.set}

    async def list(self, context: ActionContext, resource: Resource[Any], _arguments: JsonObject) -> Json:
        """The network's links and what each suffers. No arguments."""
        return [_told(record) for record in _links(context, resource.name)]

    async def set(self, context: ActionContext, resource: Resource[Any], arguments: JsonObject) -> Json:
        """Change what a link suffers; returns the link.

        Args:
            context: the runtime.
            resource: the network.
            arguments: `link` (NODE/INTERFACE); any of QUANTITIES as people write them, `0` for none; `direction` (to, from, or both where
                it is left out); `down` (true or false); `clear`: all sound again.
        """
        async with self._change:
            record = _find(context, resource.name, arguments.get("link"))
            before = LinkImpairment.from_json(record.facts.get("impairment"))
            wanted = LinkImpairment() if arguments.get("clear") else _changed(before, arguments)
            way = await asyncio.to_thread(_work, context.services, record.unit, wanted)
            await context.learn(record.unit.id, facts_of(wanted, way))
            name = record.unit.id.removeprefix("link:")
            if wanted != before:
                event, text = ("link.impaired", str(wanted)) if wanted else ("link.cleared", "sound again")
                context.services.emit(event, resource=record.unit.resource, message=f"{name}: {text}", link=name)
            return _told(_find(context, resource.name, name))


def _work(services: Services, unit: Unit, wanted: LinkImpairment) -> str:
    # Sockets of our own: the handlers' are let go of with a namespace, these at once.
    with SocketPool() as pool:
        tool, ends = impairer(services, pool), ends_of(services, unit)
        if wanted:
            return tool.apply(unit.id, ends, wanted)
        tool.remove(unit.id, ends)
        return ""


def _changed(before: LinkImpairment, arguments: JsonObject) -> LinkImpairment:
    direction = arguments.get("direction") or "both"
    if direction not in (*DIRECTIONS, "both"):
        raise UsageError(f'"{direction}" is no direction', hint="to (the node), from (the node) or both")
    wanted = {name: parse_quantity(name, arguments[name]) for name in QUANTITIES if arguments.get(name) is not None}
    down = arguments.get("down")
    if not wanted and down is None:
        raise UsageError("nothing to set", hint="for example --delay 20ms, --loss 1%, --down, or --clear")
    directions = DIRECTIONS if direction == "both" else (str(direction),)
    return before.changed(wanted, directions, down=None if down is None else bool(down))


def _links(context: ActionContext, network: str) -> list[RecordedUnit]:
    switch = f"sw.{network}"
    return [
        record
        for record in context.units_of_type("link")
        if record.unit.spec["switch"] == switch and record.state is UnitState.CREATED
    ]


def _find(context: ActionContext, network: str, link: Json) -> RecordedUnit:
    there = {record.unit.id.removeprefix("link:"): record for record in _links(context, network)}
    if not isinstance(link, str) or link not in there:
        hint = did_you_mean(str(link), there) or "`labctl link list` names them"
        raise NotRunningError(f"network {network} has no link {link}", hint=hint)
    return there[link]


def _told(record: RecordedUnit) -> JsonObject:
    spec, facts = record.unit.spec, record.facts
    wanted = LinkImpairment.from_json(facts.get("impairment"))
    return {
        "link": record.unit.id.removeprefix("link:"),
        "network": str(spec["switch"]).removeprefix("sw."),
        "resource": str(record.unit.resource),
        "node": spec["node"],
        "interface": spec["interface"],
        "switch_port": spec["switch_port"],
        "address": spec["address"],
        "mtu": spec["mtu"],
        "impairment": wanted.to_json(),
        "way": facts.get("way") or None,
        "text": str(wanted),
    }
