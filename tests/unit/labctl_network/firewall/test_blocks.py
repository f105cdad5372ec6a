"""Blocks asked in order decide as the rules do one by one, and many rules are few blocks."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from labctl_network.firewall.blocks import MOST_BOXES, Block, Shape, arrange, boxes_of
from labctl_network.firewall.decide import Packet, matches
from labctl_network.firewall.policy import PROTOCOLS, Category, Rule, Service, Verdict
from tests.unit.labctl_network.firewall.policies import BASE, packets, rule_lists


def asked(block: Block, packet: Packet) -> list[str]:
    """The rules of a block whose boxes a packet is in."""
    point = (packet.source, packet.destination, PROTOCOLS[packet.protocol], packet.port)
    return [
        rule.id
        for rule, boxes in block.rules
        if any(all(a <= n <= b for n, (a, b) in zip(point, box.sides, strict=True)) for box in boxes)
    ]


@settings(max_examples=300)
@given(rule_lists, st.lists(packets, min_size=1, max_size=30))
def test_blocks_decide_as_the_rules_do_one_by_one(rules, examples) -> None:
    blocks = arrange(rules)
    for packet in examples:
        first = next((rule.id for rule in rules if matches(rule, packet)), None)
        found = [asked(block, packet) for block in blocks]
        assert all(len(each) <= 1 for each in found)  # no order within a block
        assert next((each[0] for each in found if each), None) == first


def between(number: int, verdict: Verdict = Verdict.ALLOW, port: int = 443) -> Rule:
    return Rule(
        id=f"r/{number}",
        category=Category.APPLICATION,
        verdict=verdict,
        sources=((BASE + number, BASE + number),),
        destinations=((BASE + number + 1, BASE + number + 1),),
        services=(Service(protocol="tcp", ports=(port, port)),),
    )


def test_ten_thousand_rules_between_vms_are_one_map() -> None:
    (block,) = arrange([between(number) for number in range(10_000)])
    assert len(block.rules) == 10_000


def test_a_rule_moves_ahead_of_those_that_it_does_not_meet() -> None:
    icmp = Rule(id="ping", category=Category.APPLICATION, verdict=Verdict.ALLOW, services=(Service(protocol="icmp"),))
    blocks = arrange([between(1), icmp, between(2), between(3)])
    assert [[rule.id for rule, _boxes in block.rules] for block in blocks] == [["r/1", "r/2", "r/3"], ["ping"]]


def test_rules_that_meet_stay_in_order() -> None:
    blocks = arrange([between(1), between(1, Verdict.DROP), between(2)])
    assert [len(block.rules) for block in blocks] == [2, 1]


def test_nothing_comes_after_a_rule_for_everything() -> None:
    everything = Rule(id="all", category=Category.APPLICATION, verdict=Verdict.DROP)
    assert [block.shape for block in arrange([everything, between(1)])] == [Shape.EVERYTHING]


def test_a_rule_of_too_many_boxes_stands_by_itself_and_still_keeps_its_place() -> None:
    scattered = tuple((BASE + 2 * number, BASE + 2 * number) for number in range(70))
    wide = Rule(
        id="wide", category=Category.APPLICATION, verdict=Verdict.DROP, sources=scattered, destinations=scattered
    )
    assert MOST_BOXES < 70 * 70
    assert boxes_of(wide)[0] is Shape.SETS
    assert [block.shape for block in arrange([wide, between(1)])] == [Shape.SETS, Shape.PORTS]


def test_an_empty_group_makes_no_box() -> None:
    assert arrange([Rule(id="none", category=Category.APPLICATION, verdict=Verdict.DROP, sources=())]) == []
