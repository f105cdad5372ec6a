"""From one policy to another at a node, by what differs alone: few commands for one rule among ten thousand. Pure.

The commands are one transaction. It begins by taking away the chain that bears the old policy's digest, so it fails, and changes
nothing, where the node has not just that policy; then the whole is loaded.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from labctl_network.firewall import ruleset
from labctl_network.firewall.policy import Policy
from labctl_network.firewall.ruleset import TABLE, Blocks, Command, Expression

Place = tuple[str, str]
"""Family and name."""


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """What a node has, or is to have.

    Args:
        policy: the rules, and the ports of the node.
        digest: the policy's, from ruleset.digest_of.
        bridges: its switches.
        blocks: the policy's, from ruleset.blocks_of.
    """

    policy: Policy
    digest: str
    bridges: tuple[str, ...]
    blocks: Blocks = field(repr=False)

    @classmethod
    def of(cls, told: Mapping[str, Any], bridges: Iterable[str]) -> Loaded:
        """A policy as Policy.to_json tells it, arranged, which takes most of the time."""
        policy = Policy.from_json(told)
        blocks = ruleset.blocks_of(policy)
        return cls(policy=policy, digest=ruleset.digest_of(told), bridges=tuple(bridges), blocks=blocks)


def changes(old: Loaded, new: Loaded, mac: str) -> list[Command] | None:
    """What makes a node's tables those of another policy.

    Args:
        old: what is there.
        new: what is to be there.
        mac: see ruleset.commands.

    Returns:
        The commands, or None where the whole has to be loaded.
    """
    rules = {rule.id: rule for rule in old.policy.rules}
    wanted = {rule.id: rule for rule in new.policy.rules}
    gone = [rule for rule in old.policy.rules if wanted.get(rule.id) != rule]
    come = [rule for rule in new.policy.rules if rules.get(rule.id) != rule]
    before = _Tables(ruleset.outline(old.policy, old.digest, old.bridges, mac, gone, old.blocks))
    after = _Tables(ruleset.outline(new.policy, new.digest, new.bridges, mac, come, new.blocks))
    if any(after.objects[place] != fields for place, fields in before.objects.items() if place in after.objects):
        return None  # something of the same name is of another make
    return _steps(before, after, _elements(old.blocks, new.blocks))


class _Tables:
    """Commands that make tables, taken apart."""

    def __init__(self, commands: Iterable[Command]) -> None:
        self.objects: dict[tuple[str, Place], Mapping[str, Any]] = {}
        self.rules: dict[Place, list[Expression]] = {}
        self.elements: dict[Place, dict[str, Any]] = {}
        for command in commands:
            ((what, told),) = command["add"].items()
            if what == "rule":
                self.rules[told["family"], told["chain"]].append(told["expr"])
            elif what != "table":
                self._take(what, (told["family"], told["name"]), told)

    def _take(self, what: str, place: Place, told: Mapping[str, Any]) -> None:
        self.objects[what, place] = {key: value for key, value in told.items() if key != "elem"}
        if what == "chain":
            self.rules[place] = []
        if what == "map":
            self.elements[place] = {json.dumps(each[0]): each for each in told.get("elem", ())}


def _steps(before: _Tables, after: _Tables, blocks: list[Command]) -> list[Command]:
    """What comes first is made, and what is left over goes last, when nothing leads there any more."""
    steps: list[Command] = []
    gone = [place for place in before.objects if place not in after.objects]
    steps += [
        {"delete": {"chain": _at(place)}} for what, place in gone if what == "chain" and place[1].startswith("is-")
    ]
    steps += [
        {"add": {what: fields}}
        for (what, place), fields in after.objects.items()
        if (what, place) not in before.objects
    ]
    for place, rules in before.rules.items():
        if rules and rules != after.rules.get(place):
            steps.append({"flush": {"chain": _at(place)}})
    for place, rules in after.rules.items():
        if rules != before.rules.get(place):
            chain = {"family": place[0], "table": TABLE, "chain": place[1]}
            steps += [{"add": {"rule": {**chain, "expr": expressions}}} for expressions in rules]
    for place, elements in after.elements.items():
        steps += _replaced(place, before.elements.get(place, {}), elements)
    steps += blocks
    for kind in ("map", "chain", "set", "counter"):
        steps += [
            {"delete": {what: _at(place)}} for what, place in gone if what == kind and not place[1].startswith("is-")
        ]
    return steps


def _replaced(place: Place, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Command]:
    gone = [each[0] for key, each in old.items() if new.get(key) != each]
    come = [each for key, each in new.items() if old.get(key) != each]
    return [
        {verb: {"element": {**_at(place), "elem": elements}}}
        for verb, elements in (("delete", gone), ("add", come))
        if elements
    ]


def _elements(old: Blocks, new: Blocks) -> list[Command]:
    """The elements of blocks that differ; all of those of new blocks, none of those of blocks that are gone."""
    before = {
        ruleset.block_name(number, place, block): block
        for number, blocks in old.items()
        for place, block in enumerate(blocks)
    }
    found: list[Command] = []
    for number, blocks in new.items():
        for place, block in enumerate(blocks):
            if not ruleset.is_mapped(block):
                continue
            name = ruleset.block_name(number, place, block)
            known = before.get(name)
            was = ruleset.block_elements(known) if known is not None else {}
            now = ruleset.block_elements(block)
            gone = [box for box, rule in was.items() if box not in now or now[box].id != rule.id]
            come = [(box, rule) for box, rule in now.items() if box not in was or was[box].id != rule.id]
            at = _at(("bridge", name))
            if gone:
                found.append({"delete": {"element": {**at, "elem": [ruleset.element(block, box) for box in gone]}}})
            if come:
                found.append({"add": {"element": {**at, "elem": [ruleset.element(block, *each) for each in come]}}})
    return found


def _at(place: Place) -> dict[str, Any]:
    return {"family": place[0], "table": TABLE, "name": place[1]}
