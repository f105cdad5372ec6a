"""Who a group or a name in a rule means, and the policy that a topology's tables come to. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING

from labctl.contracts.network import SwitchPort, SwitchPorts
from labctl.model.address import Address
from labctl_network.firewall.policy import (
    Category,
    Policy,
    ProtectedPort,
    Rule,
    Span,
    Verdict,
    merged,
    merged_services,
    parse_service,
)
from labctl_network.kinds.firewall_spec import ANY, FirewallRule, FirewallSpec

if TYPE_CHECKING:
    from labctl.plugin.api import CompileView, TopologyView
    from labctl_network.kinds.group import GroupSpec

OWNERS = ("vm", "node")
"""The kinds whose ports are protected."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """One port with whose it is.

    Args:
        owner: the VM or node.
        tags: what it carries.
        port: the port.
    """

    owner: Address
    tags: Sequence[str]
    port: SwitchPort


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """Whom some words of a rule mean.

    Args:
        spans: addresses; None for any.
        macs: likewise.
        ports: of those, the protected ones: (node, interface).
    """

    spans: tuple[Span, ...] | None
    macs: tuple[str, ...] | None
    ports: frozenset[tuple[str, str]] | None


def network_of(text: str) -> IPv4Network | None:
    """The addresses that a word is, if it is any: `10.20.0.0/24`, `10.10.0.1`."""
    try:
        return IPv4Network(text)
    except ValueError:
        return None


def known_names(view: TopologyView) -> dict[str, list[Address]]:
    """What a rule's words can name besides addresses: groups, VMs and nodes."""
    found: dict[str, list[Address]] = {}
    for kind in ("group", *OWNERS):
        for resource in view.resources(kind):
            found.setdefault(resource.name, []).append(resource.address)
    return found


def members(view: CompileView, protected_role: str) -> list[Member]:
    """The ports that rules hold for."""
    roles = {resource.name: resource.spec.role for resource in view.resources("network")}
    found = []
    for kind in OWNERS:
        for resource in view.resources(kind):
            owned = view.provider(resource.address, SwitchPorts)
            for port in owned.ports:
                if roles[port.network] == protected_role:
                    found.append(Member(owner=resource.address, tags=owned.tags, port=port))
    return found


def compile_policies(view: CompileView, protected_role: str) -> dict[str, Policy]:
    """The policy of each node that has a protected port."""
    everybody = members(view, protected_role)
    groups = {resource.name: resource.spec for resource in view.resources("group")}
    rules: list[Rule] = []
    applied: list[frozenset[tuple[str, str]] | None] = []
    policies = list(view.resources("firewall"))
    for category in Category:
        for resource in policies:
            spec: FirewallSpec = resource.spec
            if spec.category is category:
                rules += _rules(resource.name, spec, groups, everybody)
                holders = _choose(spec.applied_to, groups, everybody).ports if spec.applied_to else None
                applied += [holders] * len(spec.rules)
    profiles: dict[tuple[int, ...], int] = {}
    ports: dict[str, list[ProtectedPort]] = {}
    for member in everybody:
        port = member.port
        holding = tuple(n for n, holders in enumerate(applied) if holders is None or _key(member) in holders)
        profile = profiles.setdefault(holding, len(profiles))
        there = {key: value for key, value in vars(port).items() if key != "portgroup"}
        ports.setdefault(port.node, []).append(ProtectedPort(owner=member.owner.name, profile=profile, **there))
    return {node: Policy(rules=tuple(rules), profiles=tuple(profiles), ports=tuple(own)) for node, own in ports.items()}


def _rules(
    name: str, spec: FirewallSpec, groups: Mapping[str, GroupSpec], everybody: Sequence[Member]
) -> Iterable[Rule]:
    for number, rule in enumerate(spec.rules, 1):
        yield _rule(f"{name}/{rule.name or number}", spec.category, rule, groups, everybody)


def _rule(
    rule_id: str, category: Category, rule: FirewallRule, groups: Mapping[str, GroupSpec], everybody: Sequence[Member]
) -> Rule:
    sources = _choose(rule.sources, groups, everybody)
    destinations = _choose(rule.destinations, groups, everybody)
    is_ethernet = category is Category.ETHERNET
    return Rule(
        id=rule_id,
        category=category,
        verdict=Verdict(rule.action),
        sources=None if is_ethernet else sources.spans,
        destinations=None if is_ethernet else destinations.spans,
        services=merged_services(map(parse_service, rule.services)) if rule.services else None,
        source_macs=sources.macs if is_ethernet else None,
        destination_macs=destinations.macs if is_ethernet else None,
        ethertypes=tuple({"ipv4": "ip", "ipv6": "ip6"}.get(each, each) for each in rule.ethertypes) or None,
        log=rule.log,
        source_names=rule.sources,
        destination_names=rule.destinations,
    )


def _choose(words: Sequence[str], groups: Mapping[str, GroupSpec], everybody: Sequence[Member]) -> Chosen:
    if ANY in words:
        return Chosen(spans=None, macs=None, ports=None)
    found: dict[tuple[str, str], Member] = {}
    spans: list[Span] = []
    for word in words:
        addresses = [network_of(word)]
        if word in groups:
            addresses = [*groups[word].cidrs]
        spans += [(int(each[0]), int(each[-1])) for each in addresses if each is not None]
        for member in everybody:
            if _belongs(member, groups[word]) if word in groups else member.owner.name == word:
                found[_key(member)] = member
    spans += [(int(IPv4Address(each.port.address)),) * 2 for each in found.values() if each.port.address]
    macs = dict.fromkeys(each.port.mac for each in found.values())
    return Chosen(spans=merged(spans), macs=tuple(macs), ports=frozenset(found))


def _belongs(member: Member, group: GroupSpec) -> bool:
    return (
        any(tag in member.tags for tag in group.tags)
        or any(fnmatchcase(member.owner.name, pattern) for pattern in group.names)
        or member.owner.name in group.members
        or member.port.network in group.networks
    )


def _key(member: Member) -> tuple[str, str]:
    return member.port.node, member.port.interface
