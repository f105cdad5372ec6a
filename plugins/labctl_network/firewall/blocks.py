"""Arranges a list of rules so that one look into a map stands for many of them, and the first match still decides.

A rule is a set of boxes: a span of source addresses, of destination addresses, a protocol, a span of ports. Rules of which no two boxes
meet may be asked in any order, so they go into one map (a block). A rule goes into the earliest block of its shape that comes after
every block with a rule that it meets; where there is none, a new one. Ten thousand rules between single VMs are one block.

Whether two boxes meet is found by index and not by comparing all: a box is entered under choices of those of its dimensions that are
single values, and asked for under the dimensions that both have as single values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import product

from labctl_network.firewall.policy import ALL_ADDRESSES, ALL_PORTS, PROTOCOLS, Rule, Span

LOOK_BACK = 32
"""Blocks that are searched for a rule's place, from the last: rules that all meet one another would else take time by their square."""

MOST_BOXES = 4096
"""A rule with more boxes stands by itself, as three sets and not as their product: 64 x 64 addresses are a kernel map of some 0.5 MB."""


class Shape(StrEnum):
    """Which fields a block's map looks at. A field that all its rules leave open is left out: not every packet has every field."""

    PORTS = "ports"  # source, destination, protocol, port
    PROTOCOLS = "protocols"  # source, destination, protocol
    HOSTS = "hosts"  # source, destination
    EVERYTHING = "everything"  # nothing: the rule matches every packet
    SETS = "sets"  # one rule by itself, as sets


_LOOKED_AT = {Shape.PORTS: 4, Shape.PROTOCOLS: 3, Shape.HOSTS: 2, Shape.EVERYTHING: 0, Shape.SETS: 0}
"""How many of a box's sides a shape looks at."""


@dataclass(frozen=True)
class Box:
    """A box: spans of source, destination, protocol number and port."""

    source: Span
    destination: Span
    protocol: Span
    ports: Span

    @property
    def sides(self) -> tuple[Span, Span, Span, Span]:
        """Its four sides."""
        return (self.source, self.destination, self.protocol, self.ports)

    def meets(self, other: Box) -> bool:
        """Whether some packet is in both."""
        return all(
            mine[0] <= yours[1] and yours[0] <= mine[1] for mine, yours in zip(self.sides, other.sides, strict=True)
        )


@dataclass
class Block:
    """Rules of one shape that may be asked in any order.

    Args:
        shape: which fields the map looks at.
        rules: the rules with their boxes, in the policy's order.
        has_spans: whether a side that the shape looks at is more than a single value.
    """

    shape: Shape
    rules: list[tuple[Rule, Sequence[Box]]] = field(default_factory=list)
    has_spans: bool = False
    _index: _Index = field(default_factory=lambda: _Index(), repr=False)

    def add(self, rule: Rule, boxes: Sequence[Box]) -> None:
        """Take a rule in; the caller has seen that it meets none here."""
        self.rules.append((rule, boxes))
        sides = _LOOKED_AT[self.shape]
        for box in boxes:
            self._index.add(box)
            self.has_spans = self.has_spans or any(first != last for first, last in box.sides[:sides])

    def meets(self, boxes: Sequence[Box]) -> bool:
        """Whether one of the boxes meets one of the block's."""
        return any(self._index.meets(box) for box in boxes)


def arrange(rules: Sequence[Rule]) -> list[Block]:
    """The blocks of a list of IP rules, in the order in which they are to be asked."""
    blocks: list[Block] = []
    for rule in rules:
        shape, boxes = boxes_of(rule)
        if not boxes:
            continue  # an empty group: no packet is meant
        place = None if shape in (Shape.EVERYTHING, Shape.SETS) else _place(blocks, shape, boxes)
        if place is None:
            place = Block(shape)
            blocks.append(place)
        place.add(rule, boxes)
        if shape is Shape.EVERYTHING:
            break  # nothing gets past it
    return blocks


def boxes_of(rule: Rule) -> tuple[Shape, Sequence[Box]]:
    """A rule's shape and its boxes, of which no two meet."""
    if rule.is_everything:
        return Shape.EVERYTHING, [Box(ALL_ADDRESSES, ALL_ADDRESSES, (0, 255), ALL_PORTS)]
    sources = (ALL_ADDRESSES,) if rule.sources is None else rule.sources
    destinations = (ALL_ADDRESSES,) if rule.destinations is None else rule.destinations
    services: list[tuple[Span, Span]] = [((0, 255), ALL_PORTS)]
    shape = Shape.HOSTS
    if rule.services is not None:
        services = [((PROTOCOLS[each.protocol],) * 2, each.ports) for each in rule.services]
        shape = Shape.PROTOCOLS if all(ports == ALL_PORTS for _protocol, ports in services) else Shape.PORTS
    if len(sources) * len(destinations) * len(services) > MOST_BOXES:
        hull = [
            _hull(sources),
            _hull(destinations),
            _hull([each[0] for each in services]),
            _hull([each[1] for each in services]),
        ]
        return Shape.SETS, [Box(*hull)]
    return shape, [Box(a, b, protocol, ports) for a, b, (protocol, ports) in product(sources, destinations, services)]


def _hull(spans: Sequence[Span]) -> Span:
    return min(first for first, _last in spans), max(last for _first, last in spans)


def _place(blocks: Sequence[Block], shape: Shape, boxes: Sequence[Box]) -> Block | None:
    """The earliest block of the shape after all that the boxes meet, as far as LOOK_BACK reaches."""
    place = None
    for block in reversed(blocks[-LOOK_BACK:]):
        if block.meets(boxes):
            break
        if block.shape is shape:
            place = block
    return place


_Dimensions = tuple[int, ...]


class _Index:
    """Boxes by those of their sides that are single values; a choice of sides is entered when it is first asked for."""

    def __init__(self) -> None:
        self._boxes: dict[_Dimensions, list[Box]] = {}
        self._found: dict[_Dimensions, dict[_Dimensions, dict[_Dimensions, list[Box]]]] = {}

    def add(self, box: Box) -> None:
        single = _single(box)
        self._boxes.setdefault(single, []).append(box)
        for chosen, by_value in self._found.get(single, {}).items():
            by_value.setdefault(_values(box, chosen), []).append(box)

    def meets(self, box: Box) -> bool:
        mine = set(_single(box))
        for pattern in self._boxes:
            common = tuple(each for each in pattern if each in mine)
            candidates = self._by_value(pattern, common).get(_values(box, common), ())
            if any(box.meets(other) for other in candidates):
                return True
        return False

    def _by_value(self, pattern: _Dimensions, chosen: _Dimensions) -> dict[_Dimensions, list[Box]]:
        entered = self._found.setdefault(pattern, {})
        known = entered.get(chosen)
        if known is None:
            known = entered[chosen] = {}
            for box in self._boxes[pattern]:
                known.setdefault(_values(box, chosen), []).append(box)
        return known


def _single(box: Box) -> _Dimensions:
    return tuple(number for number, (first, last) in enumerate(box.sides) if first == last)


def _values(box: Box, dimensions: _Dimensions) -> _Dimensions:
    sides = box.sides
    return tuple([sides[number][0] for number in dimensions])
