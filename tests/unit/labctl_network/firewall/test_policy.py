"""Policies survive JSON, services are read as people write them, and spans become as few as can be."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labctl_network.firewall.policy import (
    Category,
    Policy,
    Rule,
    Service,
    Verdict,
    merged,
    merged_services,
    parse_service,
)
from tests.unit.labctl_network.firewall.policies import policy, rule_lists


@given(rule_lists)
def test_a_policy_survives_json(rules) -> None:
    wanted = policy(rules)
    assert Policy.from_json(json.loads(json.dumps(wanted.to_json()))) == wanted


def test_an_ethernet_rule_survives_json() -> None:
    rule = Rule(
        id="a/b", category=Category.ETHERNET, verdict=Verdict.DROP, source_macs=("52:54:00:00:00:01",),
        ethertypes=("arp",), source_names=("web1",), log=True,
    )  # fmt: skip
    assert Rule.from_json(rule.to_json()) == rule


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)).map(lambda pair: (min(pair), max(pair)))))
def test_merged_spans_have_the_same_numbers_and_never_touch(spans) -> None:
    result = merged(spans)
    assert {n for a, b in result for n in range(a, b + 1)} == {n for a, b in spans for n in range(a, b + 1)}
    assert all(first[1] + 1 < second[0] for first, second in pairwise(result))


@pytest.mark.parametrize(
    ("text", "service"),
    [
        ("tcp/443", Service(protocol="tcp", ports=(443, 443))),
        ("UDP/5000-5010", Service(protocol="udp", ports=(5000, 5010))),
        ("icmp", Service(protocol="icmp")),
        ("tcp", Service(protocol="tcp")),
    ],
)
def test_a_service_is_read_as_written(text, service) -> None:
    assert parse_service(text) == service
    assert parse_service(str(service)) == service


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("http", '"http" is no service (write "tcp/443", "udp/5000-5010", "tcp" or "icmp")'),
        ("icmp/8", '"icmp/8" is no service (write "tcp/443", "udp/5000-5010", "tcp" or "icmp")'),
        ("tcp/70000", '"tcp/70000" has no port from 0 to 65535 (write "tcp/443" or "tcp/8000-8080")'),
        ("tcp/", '"tcp/" has no port from 0 to 65535 (write "tcp/443" or "tcp/8000-8080")'),
        ("tcp/20-10", '"tcp/20-10" ends before it begins (write "tcp/10-20")'),
    ],
)
def test_what_is_no_service_is_told_with_the_right_form(text, said) -> None:
    with pytest.raises(ValueError, match="write") as caught:
        parse_service(text)
    assert str(caught.value) == said


def test_services_of_a_protocol_are_merged() -> None:
    found = merged_services([parse_service(text) for text in ("tcp/81-90", "udp/53", "tcp/80", "tcp/85")])
    assert [str(each) for each in found] == ["tcp/80-90", "udp/53"]
