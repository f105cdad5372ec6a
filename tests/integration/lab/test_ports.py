"""Port groups of a running lab: VLANs that reach only themselves, and ports that get and send no more than they may."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from labctl.linux.namespaces import run_in

pytestmark = [pytest.mark.needs("root", "nft"), pytest.mark.xdist_group("lab")]

TOPOLOGY = """
[network.production]
subnet = "10.10.0.0/24"

[portgroup.red]
network = "production"
vlan = 10

[portgroup.tap]
network = "production"
vlan = 10
promiscuous = "accept"

[portgroup.blue]
network = "production"
vlan = 20

[portgroup.loose]
network = "production"
mac_changes = "accept"
forged_transmits = "accept"

[node."red[1-3]"]
networks = ["production"]
portgroups = { production = "red" }

[node.tap1]
networks = ["production"]
portgroups = { production = "tap" }

[node."blue[1-2]"]
networks = ["production"]
portgroups = { production = "blue" }

[node.loose1]
networks = ["production"]
portgroups = { production = "loose" }

[node.plain1]
networks = ["production"]

[portgroup.stiff]
network = "production"
forged_transmits = "accept"

[node.stiff1]
networks = ["production"]
portgroups = { production = "stiff" }

[portgroup.honest]
network = "production"
mac_changes = "accept"

[node.honest1]
networks = ["production"]
portgroups = { production = "honest" }

[portgroup.slow]
network = "production"
shaping = { average = "16mbit", burst = "3MB" }

[node.slow1]
networks = ["production"]
portgroups = { production = "slow" }
"""
NAMES = ["red1", "red2", "red3", "tap1", "blue1", "blue2", "loose1", "plain1", "stiff1", "honest1", "slow1"]
ADDRESSES = {name: f"10.10.0.{11 + number}" for number, name in enumerate(NAMES)}


@pytest.fixture(scope="module")
def grouped(lab_of) -> Any:
    """Nodes in port groups, shared by this module."""
    return lab_of(TOPOLOGY)


OTHER_MAC = bytes.fromhex("02aaaaaaaaaa")


def reaches(lab: Any, source: str, target: str, seconds: int) -> bool:
    asked = ("ping", "-n", "-c1", f"-W{seconds}", ADDRESSES[target])
    return lab.inside(source, *asked, check=False, timeout=seconds + 60).returncode == 0


@pytest.mark.parametrize(
    ("source", "target"), [("red1", "red2"), ("tap1", "red3"), ("blue1", "blue2"), ("loose1", "plain1")]
)
def test_ports_of_one_vlan_reach_one_another(grouped, source, target) -> None:
    assert reaches(grouped, source, target, 60)


def test_ports_of_different_vlans_do_not_even_find_one_another(grouped) -> None:
    for source, target in permutations(["red1", "blue1", "plain1"], 2):
        assert not reaches(grouped, source, target, 1), (source, target)


@contextmanager
def listening(lab: Any, *nodes: str) -> Iterator[dict[str, socket.socket]]:
    """Sockets that get whatever frame comes to nodes."""

    def opened() -> socket.socket:
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
        made.bind(("eth0", 0))
        made.settimeout(60)
        return made

    with ExitStack() as stack:
        yield {node: stack.enter_context(run_in(Path(lab.namespace(node)), opened)) for node in nodes}


def until_the_end(listener: socket.socket) -> list[bytes]:
    """The frames that came to a node before the broadcast that ends the test."""
    frames = []
    while b"that is all" not in (frame := listener.recv(4096)):
        frames.append(frame)
    return frames


def say_the_end(lab: Any, node: str) -> None:
    with run_in(Path(lab.namespace(node)), lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sender.sendto(b"that is all", ("10.10.0.255", 9))


def test_only_a_promiscuous_port_gets_what_is_meant_for_others(grouped) -> None:
    with listening(grouped, "tap1", "red3", "blue1") as listeners:
        assert reaches(grouped, "red1", "red2", 60)
        say_the_end(grouped, "red1")
        say_the_end(grouped, "blue2")
        pings = {node: [f for f in until_the_end(each) if f[23] == 1] for node, each in listeners.items()}
    assert len(pings["tap1"]) == 2  # the question and its answer
    assert pings["red3"] == pings["blue1"] == []


@contextmanager
def other_mac(lab: Any, node: str) -> Iterator[None]:
    before = lab.inside(node, "ip", "-br", "link", "show", "dev", "eth0").stdout.split()[2]
    lab.inside(node, "ip", "link", "set", "dev", "eth0", "address", "02:aa:aa:aa:aa:aa")
    try:
        yield
    finally:
        lab.inside(node, "ip", "link", "set", "dev", "eth0", "address", before)
        lab.inside(node, "ip", "neigh", "flush", "all")


def test_a_port_that_must_not_forge_sends_nothing_from_another_address(grouped) -> None:
    with listening(grouped, "plain1") as listeners, other_mac(grouped, "honest1"):
        assert not reaches(grouped, "honest1", "plain1", 1)
        say_the_end(grouped, "loose1")
        assert not any(frame[6:12] == OTHER_MAC for frame in until_the_end(listeners["plain1"]))
    assert reaches(grouped, "honest1", "plain1", 60)


def test_a_port_that_may_changes_its_address_and_is_reached_at_it(grouped) -> None:
    with other_mac(grouped, "loose1"):
        grouped.inside("plain1", "ip", "neigh", "flush", "all")
        assert reaches(grouped, "loose1", "plain1", 60)
    grouped.inside("plain1", "ip", "neigh", "flush", "all")


def test_a_port_that_must_not_change_its_address_gets_nothing_at_another(grouped) -> None:
    with listening(grouped, "plain1") as listeners, other_mac(grouped, "stiff1"):
        grouped.inside("plain1", "ip", "neigh", "flush", "all")
        assert not reaches(grouped, "stiff1", "plain1", 1)
        say_the_end(grouped, "stiff1")
        assert any(frame[6:12] == OTHER_MAC for frame in until_the_end(listeners["plain1"]))  # it may send
    grouped.inside("plain1", "ip", "neigh", "flush", "all")
    assert reaches(grouped, "stiff1", "plain1", 60)


def test_a_change_of_vlan_holds_at_once_and_what_was_flushed_is_mended(grouped) -> None:
    topology = grouped.home / "lab.toml"
    try:
        topology.write_text(TOPOLOGY.replace("vlan = 20", "vlan = 10"))
        grouped.up(topology)
        assert reaches(grouped, "blue1", "red1", 60)
        grouped.inside("sw.production", "nft", "flush", "ruleset")
        assert grouped.status()["portgroup.red"]["state"] != "running"
    finally:
        topology.write_text(TOPOLOGY)
        grouped.up(topology)
    assert grouped.status()["portgroup.red"]["state"] == "running"
    assert not reaches(grouped, "blue1", "red1", 1)


SO_RCVBUFFORCE = 33
"""socket(7); the module socket does not name it."""

AVERAGE, BURST = 2_000_000, 3_000_000
"""Bytes a second, and bytes, of the port group "slow"."""


@pytest.mark.parametrize(("source", "target"), [("slow1", "plain1"), ("plain1", "slow1")])
def test_a_shaped_port_carries_its_average_and_a_burst_whichever_way(grouped, source: str, target: str) -> None:
    """A flood of datagrams far above the rate; what arrives is counted when the last has come, or was dropped."""
    assert reaches(grouped, source, target, 60)

    def opened(address: str) -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
        made.bind((address, 0))
        return made

    with (
        run_in(Path(grouped.namespace(target)), lambda: opened(ADDRESSES[target])) as receiver,
        run_in(Path(grouped.namespace(source)), lambda: opened(ADDRESSES[source])) as sender,
    ):
        begin = time.monotonic()
        while (seconds := time.monotonic() - begin) < 1.5:
            sender.sendto(bytes(1400), receiver.getsockname())
        receiver.setblocking(False)
        arrived = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                arrived += len(receiver.recv(2048))
    frames = arrived * 1442 / 1400  # headers count too
    assert 0.8 < frames / (BURST + AVERAGE * seconds) < 1.1
