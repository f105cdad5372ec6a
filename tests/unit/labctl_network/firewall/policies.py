"""Random policies in a small world, where rules meet one another often."""

from __future__ import annotations

from hypothesis import strategies as st

from labctl_network.firewall.decide import Packet
from labctl_network.firewall.policy import (
    Category,
    Policy,
    ProtectedPort,
    Rule,
    Service,
    Verdict,
    merged,
    merged_services,
)

BASE = int.from_bytes(bytes([10, 10, 0, 0]))
HOSTS = 8

addresses = st.integers(BASE, BASE + HOSTS - 1)


def spans(values: st.SearchStrategy[int], size: int = 3) -> st.SearchStrategy[tuple[tuple[int, int], ...]]:
    one = st.tuples(values, values).map(lambda pair: (min(pair), max(pair)))
    return st.lists(st.one_of(one, values.map(lambda value: (value, value))), max_size=size).map(merged)


services = st.one_of(
    st.builds(Service, protocol=st.sampled_from(["icmp", "tcp", "udp"])),
    st.builds(
        lambda protocol, span: Service(protocol=protocol, ports=span[0]),
        st.sampled_from(["tcp", "udp"]),
        spans(st.integers(1, 6), 1).filter(bool),
    ),
)
ip_rules = st.builds(
    lambda **fields: Rule(id="", **fields),
    category=st.just(Category.APPLICATION),
    verdict=st.sampled_from(list(Verdict)),
    sources=st.none() | spans(addresses),
    destinations=st.none() | spans(addresses),
    services=st.none() | st.lists(services, min_size=1, max_size=3).map(merged_services),
    log=st.booleans(),
)


def numbered(rules: list[Rule]) -> list[Rule]:
    return [Rule(**{**vars(rule), "id": f"test/{number}"}) for number, rule in enumerate(rules)]


rule_lists = st.lists(ip_rules, max_size=14).map(numbered)
packets = st.builds(
    lambda source, destination, kind: Packet(source=source, destination=destination, protocol=kind[0], port=kind[1]),
    addresses,
    addresses,
    st.one_of(st.just(("icmp", 0)), st.tuples(st.sampled_from(["tcp", "udp"]), st.integers(1, 6))),
)


def port(number: int, profile: int = 0) -> ProtectedPort:
    return ProtectedPort(
        owner=f"vm{number}", node="esx1", bridge="vSwitch0", interface=f"vm{number}.0", network="production",
        mac=f"52:54:00:00:00:{number:02x}", address=f"10.10.0.{number}", profile=profile,
    )  # fmt: skip


def policy(rules: list[Rule], *profiles: tuple[int, ...]) -> Policy:
    lists = profiles or (tuple(range(len(rules))),)
    return Policy(rules=tuple(rules), profiles=lists, ports=(port(1), port(2, len(lists) - 1)))
