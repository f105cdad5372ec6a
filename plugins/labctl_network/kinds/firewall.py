"""Kind `firewall`: a section of the distributed firewall's rules.

All sections together are one list: by category, then in the file's order. It is enforced at every VM's and node's own port on a production
network, before the switch sees a frame. The first section's resource owns the units, one a node with such ports.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from labctl.model.problem import Problem
from labctl.model.resource import Resource
from labctl.model.suggest import did_you_mean
from labctl.model.unit import Unit
from labctl.plugin.api import Action, CompileView, Description, Kind, TopologyView
from labctl_network.firewall.actions import FirewallActions
from labctl_network.firewall.members import compile_policies, known_names, network_of
from labctl_network.firewall.policy import Category
from labctl_network.kinds.firewall_spec import ANY, FirewallRule, FirewallSpec
from labctl_network.kinds.network import PROTECTED_ROLE


class FirewallKind(Kind[FirewallSpec]):
    """Rules, and the tables that enforce them."""

    name = "firewall"
    summary = "a section of the distributed firewall's rules"
    spec = FirewallSpec

    def __init__(self) -> None:
        self._actions = FirewallActions()

    def check(self, resource: Resource[FirewallSpec], view: TopologyView) -> Iterable[Problem]:
        """Its rules name what there is, each rule has a name of its own, and what its category cannot do is not asked for."""
        names: set[str] = set()
        for number, rule in enumerate(resource.spec.rules):
            has_addresses = resource.spec.category is not Category.ETHERNET
            for key, words in (("from", rule.sources), ("to", rule.destinations)):
                yield from _check_words(resource, view, ("rules", number, key), words, addresses=has_addresses)
            yield from _check_category(resource, number, rule)
            name = rule.name or str(number + 1)
            if name in names:
                yield Problem(
                    path=resource.path("rules", number, "name"),
                    message=f'two rules are called "{name}"',
                    hint="hits are told by name; give each rule its own, or none",
                )
            names.add(name)
        yield from _check_words(resource, view, ("applied_to",), resource.spec.applied_to, addresses=False)

    def compile(self, resource: Resource[FirewallSpec], view: CompileView) -> Iterable[Unit]:
        """A unit for each node with protected ports, all with the first section."""
        if view.resources("firewall")[0].address != resource.address:
            return
        for node, policy in compile_policies(view, PROTECTED_ROLE).items():
            bridges = sorted({port.bridge for port in policy.ports})
            yield Unit(
                id=f"firewall:{node}",
                type="firewall",
                resource=resource.address,
                spec={"node": node, "bridges": [*bridges], **policy.to_json()},
                needs=(f"netns:{node}", *(f"bridge:{node}/{bridge}" for bridge in bridges)),
            )

    def describe(self, resource: Resource[FirewallSpec], view: CompileView) -> Description:
        """Its category and how many rules it has."""
        spec = resource.spec
        count = len(spec.rules)
        summary = f"{spec.category}, {count} rule{'s' if count != 1 else ''}"
        if spec.applied_to:
            summary += f", at {', '.join(spec.applied_to)}"
        return Description(summary=summary, drawn="none", properties={"category": str(spec.category), "rules": count})

    def actions(self) -> Mapping[str, Action]:
        """What `labctl firewall` asks."""
        return self._actions.by_name()


def _check_words(
    resource: Resource[FirewallSpec],
    view: TopologyView,
    where: tuple[str | int, ...],
    words: Sequence[str],
    *,
    addresses: bool,
) -> Iterable[Problem]:
    known = known_names(view)
    for word in words:
        if (word == ANY and where[0] == "rules") or (addresses and network_of(word) is not None):
            continue
        if len(known.get(word, ())) > 1:
            both = " and ".join(str(each) for each in known[word])
            yield Problem(
                path=resource.path(*where), message=f'"{word}" can mean {both}', hint="give the group another name"
            )
        elif word not in known:
            what = "group, VM, node, address or subnet" if addresses else "group, VM or node"
            hint = did_you_mean(word, known, what="the names") or 'add a group: [group.NAME] with tags = ["web"]'
            yield Problem(path=resource.path(*where), message=f'"{word}" is no {what}', hint=hint)


def _check_category(resource: Resource[FirewallSpec], number: int, rule: FirewallRule) -> Iterable[Problem]:
    if resource.spec.category is not Category.ETHERNET:
        if rule.ethertypes:
            yield Problem(
                path=resource.path("rules", number, "ethertypes"),
                message=f"ethertypes mean nothing in the category {resource.spec.category}",
                hint='put the rule into a section with category = "ethernet"',
            )
        return
    if rule.services:
        yield Problem(
            path=resource.path("rules", number, "services"),
            message="an Ethernet rule looks at MAC addresses and ethertypes, not at services",
            hint="put the rule into another category",
        )
    if rule.action == "reject":
        yield Problem(
            path=resource.path("rules", number, "action"),
            message="an Ethernet rule cannot reject: there is nobody to tell",
            hint='use "drop"',
        )
