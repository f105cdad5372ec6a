"""What is drawn: buses, and boxes that hang on them and hold others.

Built from the descriptions that `status` and a compiled topology share, so a lab is drawn alike before and while it runs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

DEFAULT_COLOUR = "#57606a"


@dataclass(frozen=True, kw_only=True)
class Link:
    """A line from a box to a bus.

    Args:
        bus: the bus's id.
        label: the interface ("vmk1").
        address: the address there, or "".
    """

    bus: str
    label: str
    address: str = ""


@dataclass(frozen=True, kw_only=True)
class Bus:
    """A network: `id` is its address (`network.storage`), `title` its name, `caption` a few words."""

    id: str
    title: str
    caption: str = ""
    colour: str = DEFAULT_COLOUR


@dataclass(kw_only=True)
class Box:
    """A thing: what it is inside of is said by its place in `children`."""

    id: str
    kind: str
    title: str
    caption: str = ""
    state: str = ""
    links: list[Link] = field(default_factory=list)
    children: list[Box] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """One resource as the drawing needs it (a subset of what `labctl inspect --json` prints).

    Args:
        id: `kind.name`.
        summary: a few words.
        state: "" when the lab does not run.
        drawn: box, bus or none.
        colour: of a bus, or "".
        parent: the id of what it is inside of, or None.
        links: id → label.
        addresses: network's name → address.
    """

    id: str
    summary: str = ""
    state: str = ""
    drawn: str = "box"
    colour: str = ""
    parent: str | None = None
    links: dict[str, str] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Diagram:
    """A whole drawing, in the topology's order."""

    title: str
    buses: list[Bus]
    boxes: list[Box]


def build(title: str, resources: Iterable[Drawn]) -> Diagram:
    """Sort resources into buses, boxes, and boxes inside boxes.

    A parent that is not drawn is passed over: its children stand on their own.
    """
    listed = list(resources)
    buses = [
        Bus(id=r.id, title=_name(r.id), caption=r.summary, colour=r.colour or DEFAULT_COLOUR)
        for r in listed
        if r.drawn == "bus"
    ]
    bus_ids = {bus.id for bus in buses}
    boxes = {r.id: _box(r, bus_ids) for r in listed if r.drawn == "box"}
    top: list[Box] = []
    for resource in listed:
        if resource.id not in boxes:
            continue
        parent = boxes.get(resource.parent) if resource.parent else None
        (top if parent is None else parent.children).append(boxes[resource.id])
    return Diagram(title=title, buses=buses, boxes=top)


def _box(resource: Drawn, buses: set[str]) -> Box:
    links = [
        Link(bus=target, label=label, address=resource.addresses.get(_name(target), ""))
        for target, label in resource.links.items()
        if target in buses
    ]
    kind, _, name = resource.id.partition(".")
    return Box(id=resource.id, kind=kind, title=name, caption=resource.summary, state=resource.state, links=links)


def _name(address: str) -> str:
    return address.partition(".")[2]
