"""Which rule decides about a packet: the reference that the kernel's tables are tested against, and `labctl firewall explain`.

A packet is looked at for its sender's port and for its receiver's; both must allow it: first by the Ethernet rules of both, then by the
others. For each port the first rule that matches decides, and what no rule matches is allowed. An Ethernet rule that allows lets the
packet on to the other categories.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from labctl_network.firewall.policy import Category, Policy, ProtectedPort, Rule, Service, Span, Verdict


@dataclass(frozen=True, kw_only=True)
class Packet:
    """The first packet of a connection.

    Args:
        source: its address.
        destination: its address.
        protocol: a key of PROTOCOLS.
        port: the destination port; 0 where the protocol has none.
        source_mac: the sender's MAC address.
        destination_mac: the receiver's.
    """

    source: int
    destination: int
    protocol: str
    port: int = 0
    source_mac: str = ""
    destination_mac: str = ""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What one port says of a packet.

    Args:
        port: where.
        direction: `out` of the sender, or `in` to the receiver.
        verdict: what becomes of it there.
        rule: the rule that decides, or None where none matches.
        ethernet: the Ethernet rule that let it on, where there is one.
    """

    port: ProtectedPort
    direction: str
    verdict: Verdict
    rule: Rule | None
    ethernet: Rule | None = None


def decide(
    policy: Policy, packet: Packet, sender: ProtectedPort | None, receiver: ProtectedPort | None
) -> list[Decision]:
    """What the ports on a packet's way say of it, in their order; the last is the one that settles it.

    Args:
        policy: the rules.
        packet: the packet.
        sender: the protected port that it leaves, or None where it comes from elsewhere.
        receiver: the protected port that it reaches, or None. The same list of rules is not asked twice: the answer would be the same.
    """
    asked: list[tuple[ProtectedPort, str]] = []
    for port, direction in ((sender, "out"), (receiver, "in")):
        if port is not None and port.profile not in [other.profile for other, _direction in asked]:
            asked.append((port, direction))
    decisions: list[Decision] = []
    for port, direction in asked:
        ethernet = _first(policy, port, lambda rule: rule.category is Category.ETHERNET and _frame(rule, packet))
        verdict = ethernet.verdict if ethernet else Verdict.ALLOW
        decisions.append(Decision(port=port, direction=direction, verdict=verdict, rule=ethernet, ethernet=ethernet))
        if verdict is not Verdict.ALLOW:
            return decisions
    ethernets = [each.ethernet for each in decisions]
    decisions = []
    for (port, direction), ethernet in zip(asked, ethernets, strict=True):
        found = _first(policy, port, lambda rule: rule.category is not Category.ETHERNET and matches(rule, packet))
        verdict = found.verdict if found else Verdict.ALLOW
        decisions.append(Decision(port=port, direction=direction, verdict=verdict, rule=found, ethernet=ethernet))
        if verdict is not Verdict.ALLOW:
            break
    return decisions


def _first(policy: Policy, port: ProtectedPort, meant: Callable[[Rule], bool]) -> Rule | None:
    return next((rule for rule in policy.rules_of(port.profile) if meant(rule)), None)


def matches(rule: Rule, packet: Packet) -> bool:
    """Whether an IP rule matches a packet."""
    return (
        _within(rule.sources, packet.source)
        and _within(rule.destinations, packet.destination)
        and _serves(rule.services, packet)
    )


def _within(spans: Iterable[Span] | None, number: int) -> bool:
    return spans is None or any(first <= number <= last for first, last in spans)


def _serves(services: Iterable[Service] | None, packet: Packet) -> bool:
    if services is None:
        return True
    return any(each.protocol == packet.protocol and _within((each.ports,), packet.port) for each in services)


def _frame(rule: Rule, packet: Packet) -> bool:
    return (
        (rule.source_macs is None or packet.source_mac in rule.source_macs)
        and (rule.destination_macs is None or packet.destination_mac in rule.destination_macs)
        and (rule.ethertypes is None or "ip" in rule.ethertypes)
    )
