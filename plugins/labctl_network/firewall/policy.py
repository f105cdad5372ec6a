"""What the firewall enforces: rules in their order, and the ports that they hold for. Values that survive JSON, for a unit to carry them.

A rule's sources, destinations and services are unions of spans, or None for any. Addresses are numbers here (IPv4, big-endian), which
makes a /16 one span and not 65,536 members.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address
from typing import Any

from labctl.model.json import JsonObject

Span = tuple[int, int]
"""First and last, both included."""

ALL_ADDRESSES: Span = (0, 2**32 - 1)
ALL_PORTS: Span = (0, 65535)

SWITCH_PREFIX = "sw."
"""Before a network's name: the node of its switch; no resource's name has a dot."""

PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17}
"""IANA's protocol numbers."""

WITH_PORTS = ("tcp", "udp")


class Verdict(StrEnum):
    """What becomes of a packet. Reject tells the sender: a TCP reset, else an ICMP "administratively prohibited" (RFC 1812 5.2.7.1)."""

    ALLOW = "allow"
    DROP = "drop"
    REJECT = "reject"


class Category(StrEnum):
    """The categories in the order in which they are looked at."""

    ETHERNET = "ethernet"
    EMERGENCY = "emergency"
    INFRASTRUCTURE = "infrastructure"
    ENVIRONMENT = "environment"
    APPLICATION = "application"


@dataclass(frozen=True, kw_only=True, order=True)
class Service:
    """A protocol and, for TCP and UDP, destination ports.

    Args:
        protocol: a key of PROTOCOLS.
        ports: destination ports; ALL_PORTS for a protocol that has none.
    """

    protocol: str
    ports: Span = ALL_PORTS

    def __str__(self) -> str:
        first, last = self.ports
        if self.ports == ALL_PORTS:
            return self.protocol
        return f"{self.protocol}/{first}" if first == last else f"{self.protocol}/{first}-{last}"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule.

    Args:
        id: `POLICY/RULE`, unique.
        category: where it stands; rules come in the categories' order.
        verdict: what it does; an Ethernet rule does not reject.
        sources: addresses, merged and in order; None for any.
        destinations: likewise.
        services: None for any.
        source_macs: for an Ethernet rule: MAC addresses, or None for any.
        destination_macs: likewise.
        ethertypes: for an Ethernet rule: `arp`, `ip`, `ip6`; None for any.
        log: whether what it decides is noted.
        source_names: the groups and VMs as they were written, for people.
        destination_names: likewise.
    """

    id: str
    category: Category
    verdict: Verdict
    sources: tuple[Span, ...] | None = None
    destinations: tuple[Span, ...] | None = None
    services: tuple[Service, ...] | None = None
    source_macs: tuple[str, ...] | None = None
    destination_macs: tuple[str, ...] | None = None
    ethertypes: tuple[str, ...] | None = None
    log: bool = False
    source_names: tuple[str, ...] = ()
    destination_names: tuple[str, ...] = ()

    @property
    def is_everything(self) -> bool:
        """Whether it matches any packet there is, IPv6 included."""
        return self.sources is None and self.destinations is None and self.services is None

    def to_json(self) -> JsonObject:
        """As a unit's spec holds it; what is left at its default is left out."""
        told: dict[str, Any] = {"id": self.id, "category": str(self.category), "verdict": str(self.verdict)}
        if self.services is not None:
            told["services"] = [[each.protocol, *each.ports] for each in self.services]
        for key in ("sources", "destinations"):
            if (spans := getattr(self, key)) is not None:
                told[key] = [[str(IPv4Address(first)), str(IPv4Address(last))] for first, last in spans]
        for key in ("source_macs", "destination_macs", "ethertypes"):
            if (values := getattr(self, key)) is not None:
                told[key] = list(values)
        for key in ("source_names", "destination_names"):
            if values := getattr(self, key):
                told[key] = list(values)
        if self.log:
            told["log"] = True
        return told

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Rule:
        """The reverse of to_json."""

        def spans(key: str) -> tuple[Span, ...] | None:
            if key not in told:
                return None
            return tuple((int(IPv4Address(first)), int(IPv4Address(last))) for first, last in told[key])

        def values(key: str) -> tuple[str, ...] | None:
            return tuple(told[key]) if key in told else None

        services = told.get("services")
        return cls(
            id=told["id"],
            category=Category(told["category"]),
            verdict=Verdict(told["verdict"]),
            sources=spans("sources"),
            destinations=spans("destinations"),
            services=None if services is None else tuple(Service(protocol=p, ports=(a, b)) for p, a, b in services),
            source_macs=values("source_macs"),
            destination_macs=values("destination_macs"),
            ethertypes=values("ethertypes"),
            log=bool(told.get("log")),
            source_names=tuple(told.get("source_names", ())),
            destination_names=tuple(told.get("destination_names", ())),
        )


@dataclass(frozen=True, kw_only=True)
class ProtectedPort:
    """A port at which rules are enforced: a VM's tap, or a node's port on its switch.

    Args:
        owner: `web1`: the VM or node.
        node: in whose namespace the port is.
        bridge: the switch there.
        interface: the port's name there.
        network: the network that it leads to.
        mac: of whoever is behind it.
        address: likewise, without a prefix length.
        profile: the number of the list of rules that hold for it (Policy.profiles).
    """

    owner: str
    node: str
    bridge: str
    interface: str
    network: str
    mac: str
    address: str
    profile: int

    @property
    def is_nodes(self) -> bool:
        """Whether it is a node's, on its network's switch, and not a VM's tap on a host."""
        return self.node == f"{SWITCH_PREFIX}{self.network}"


@dataclass(frozen=True, kw_only=True)
class Policy:
    """All rules, and who they hold for.

    Args:
        rules: in the order in which they are looked at.
        profiles: for each profile the indexes into `rules`, in order: ports with the same applied-to share one.
        ports: all protected ports, or those of one node.
    """

    rules: tuple[Rule, ...]
    profiles: tuple[tuple[int, ...], ...]
    ports: tuple[ProtectedPort, ...]

    def rules_of(self, profile: int) -> list[Rule]:
        """The rules of a profile."""
        return [self.rules[index] for index in self.profiles[profile]]

    def to_json(self) -> JsonObject:
        """As a unit's spec holds it."""
        return {
            "rules": [rule.to_json() for rule in self.rules],
            "profiles": [list(profile) for profile in self.profiles],
            "ports": [dict(vars(port)) for port in self.ports],
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Policy:
        """The reverse of to_json."""
        return cls(
            rules=tuple(Rule.from_json(each) for each in told["rules"]),
            profiles=tuple(tuple(each) for each in told["profiles"]),
            ports=tuple(ProtectedPort(**each) for each in told["ports"]),
        )


def merged(spans: Iterable[Span]) -> tuple[Span, ...]:
    """The same numbers in as few spans as can be, in order."""
    found: list[Span] = []
    for first, last in sorted(spans):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return tuple(found)


def merged_services(services: Iterable[Service]) -> tuple[Service, ...]:
    """The same services in as few spans as can be, by protocol."""
    by_protocol: dict[str, list[Span]] = {}
    for each in services:
        by_protocol.setdefault(each.protocol, []).append(each.ports)
    return tuple(
        Service(protocol=name, ports=ports) for name in sorted(by_protocol) for ports in merged(by_protocol[name])
    )


def parse_service(text: str) -> Service:
    """`tcp/443`, `udp/5000-5010`, `icmp`.

    Raises:
        ValueError: it is none, told with the right form.
    """
    name, slash, ports = text.strip().lower().partition("/")
    if name not in PROTOCOLS or (slash and name not in WITH_PORTS):
        raise ValueError(f'"{text}" is no service (write "tcp/443", "udp/5000-5010", "tcp" or "icmp")')
    if not slash:
        return Service(protocol=name)
    first, dash, last = ports.partition("-")
    numbers: Sequence[str] = (first, last if dash else first)
    if not all(number.isascii() and number.isdecimal() and 0 <= int(number) <= ALL_PORTS[1] for number in numbers):
        raise ValueError(f'"{text}" has no port from 0 to 65535 (write "tcp/443" or "tcp/8000-8080")')
    low, high = int(numbers[0]), int(numbers[1])
    if low > high:
        raise ValueError(f'"{text}" ends before it begins (write "{name}/{high}-{low}")')
    return Service(protocol=name, ports=(low, high))
