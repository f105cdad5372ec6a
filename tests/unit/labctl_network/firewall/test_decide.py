"""The first rule that matches decides, at the sender's port and then at the receiver's."""

from __future__ import annotations

from dataclasses import replace

import pytest

from labctl_network.firewall.decide import Packet, decide
from labctl_network.firewall.policy import Category, Rule, Verdict, parse_service
from tests.unit.labctl_network.firewall.policies import BASE, policy, port

SYN = Packet(source=BASE + 1, destination=BASE + 2, protocol="tcp", port=5432, source_mac="a", destination_mac="b")


def rule(name: str, verdict: str, *services: str, category: Category = Category.APPLICATION, **fields) -> Rule:
    meant = tuple(parse_service(each) for each in services) or None
    return Rule(id=name, category=category, verdict=Verdict(verdict), services=meant, **fields)


def said(rules: list[Rule], *profiles: tuple[int, ...], packet: Packet = SYN) -> list[tuple[str, str, str | None]]:
    wanted = policy(rules, *profiles)
    found = decide(wanted, packet, *wanted.ports)
    return [(each.direction, str(each.verdict), each.rule and each.rule.id) for each in found]


def test_the_first_match_decides() -> None:
    rules = [rule("db", "allow", "tcp/5432"), rule("rest", "drop")]
    assert said(rules) == [("out", "allow", "db")]
    assert said(rules, packet=replace(SYN, port=22)) == [("out", "drop", "rest")]


def test_what_no_rule_matches_is_allowed() -> None:
    assert said([rule("ssh", "drop", "tcp/22")]) == [("out", "allow", None)]


def test_both_ports_must_allow_where_their_rules_differ() -> None:
    rules = [rule("sender", "allow"), rule("receiver", "reject")]
    assert said(rules, (0,), (1,)) == [("out", "allow", "sender"), ("in", "reject", "receiver")]
    assert said(rules, (1,), (0,)) == [("out", "reject", "receiver")]


def test_only_the_receiver_is_asked_about_what_comes_from_elsewhere() -> None:
    wanted = policy([rule("all", "drop")])
    assert [each.direction for each in decide(wanted, SYN, None, port(2))] == ["in"]
    assert decide(wanted, SYN, None, None) == []


def test_an_ethernet_rule_that_allows_lets_the_packet_on_to_the_others() -> None:
    ethernet = rule("macs", "allow", category=Category.ETHERNET, source_macs=("a",))
    assert said([ethernet, rule("rest", "drop")]) == [("out", "drop", "rest")]


@pytest.mark.parametrize(
    ("fields", "dropped"),
    [
        ({}, True),
        ({"source_macs": ("a",), "destination_macs": ("b",)}, True),
        ({"source_macs": ("b",)}, False),
        ({"destination_macs": ()}, False),
        ({"ethertypes": ("arp",)}, False),
        ({"ethertypes": ("ip", "arp")}, True),
    ],
)
def test_an_ethernet_rule_goes_by_macs_and_type(fields, dropped) -> None:
    ethernet = rule("macs", "drop", category=Category.ETHERNET, **fields)
    assert said([ethernet]) == [("out", "drop" if dropped else "allow", "macs" if dropped else None)]


def test_an_empty_group_means_no_packet() -> None:
    assert said([rule("none", "drop", sources=())]) == [("out", "allow", None)]
