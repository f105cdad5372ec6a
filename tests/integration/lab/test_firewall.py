"""The distributed firewall of a running lab: what packets do is what `explain` says, and a change keeps what is established."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import labctl_topologies
from labctl.linux.namespaces import run_in
from labctl.testing.waiting import wait_for

pytestmark = [pytest.mark.needs("root", "nft"), pytest.mark.xdist_group("lab")]

TEXT = (Path(labctl_topologies.__file__).parent / "three-tier.toml").read_text()
ADDRESSES = {
    name: f"10.10.0.{11 + number}" for number, name in enumerate(["web1", "web2", "app1", "app2", "db1", "client"])
}
ALLOWED = [("client", "web1", 80), ("client", "web2", 443), ("web1", "app2", 8080), ("app1", "db1", 5432)]
REFUSED = [
    ("client", "web1", 22),
    ("client", "db1", 5432),
    ("web1", "web2", 80 + 8000),
    ("web1", "db1", 5432),
    ("app1", "web1", 22),
    ("db1", "client", 80),
]


@pytest.fixture(scope="module")
def three_tier(lab_of) -> Any:
    """The example, shared by this module; a test that changes it brings it back."""
    return lab_of(TEXT)


@contextmanager
def listening(lab: Any, node: str, port: int) -> Iterator[socket.socket]:
    with run_in(Path(lab.namespace(node)), lambda: socket.socket()) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((ADDRESSES[node], port))
        server.listen()
        server.settimeout(60)
        yield server


def connect(lab: Any, source: str, target: str, port: int) -> socket.socket:
    opened = run_in(Path(lab.namespace(source)), lambda: socket.socket())
    opened.settimeout(60)
    try:
        opened.connect((ADDRESSES[target], port))
    except OSError:
        opened.close()
        raise
    return opened


def explained(lab: Any, source: str, target: str, port: int) -> dict:
    return lab.json("firewall", "explain", "--from", source, "--to", target, "--tcp", str(port))["explanation"]


def hits(lab: Any) -> dict[str | None, int]:
    return {each["rule"]: each["hits"] for each in lab.json("firewall", "hits")["rules"]}


@pytest.mark.parametrize(("source", "target", "port"), ALLOWED)
def test_what_explain_allows_connects_and_is_counted(three_tier, source, target, port) -> None:
    said, before = explained(three_tier, source, target, port), hits(three_tier)
    assert said["verdict"] == "allow"
    with listening(three_tier, target, port), connect(three_tier, source, target, port):
        pass
    assert hits(three_tier)[said["rule"]] == before[said["rule"]] + 1


@pytest.mark.parametrize(("source", "target", "port"), REFUSED)
def test_what_explain_rejects_is_refused_though_somebody_listens(three_tier, source, target, port) -> None:
    assert explained(three_tier, source, target, port)["verdict"] == "reject"
    with listening(three_tier, target, port), pytest.raises(ConnectionRefusedError):
        connect(three_tier, source, target, port)


def test_a_refused_datagram_is_told_as_prohibited(three_tier) -> None:
    with run_in(Path(three_tier.namespace("web1")), lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sender:
        sender.settimeout(60)
        sender.connect((ADDRESSES["db1"], 53))
        sender.send(b"?")
        with pytest.raises(OSError, match=os.strerror(errno.EHOSTUNREACH)):  # of ICMP type 3 code 13
            sender.recv(1)


def test_pings_pass_by_the_rule_for_the_infrastructure(three_tier) -> None:
    said = three_tier.json("firewall", "explain", "--from", "web1", "--to", "db1", "--icmp")["explanation"]
    assert (said["verdict"], said["rule"]) == ("allow", "operations/ping")
    assert three_tier.inside("web1", "ping", "-c1", "-W60", ADDRESSES["db1"]).returncode == 0


def test_noted_connections_say_who_met_which_rule(three_tier) -> None:
    with pytest.raises(ConnectionRefusedError):
        connect(three_tier, "web2", "db1", 1234)
    (entry,) = [each for each in three_tier.json("firewall", "log")["entries"] if each["service"] == "tcp/1234"]
    assert (entry["from_owner"], entry["to_owner"], entry["rule"]) == ("web2", "db1", "shop/rest-in")
    assert 0 <= entry["age"] <= 600


def test_a_change_keeps_what_is_established_and_holds_for_all_that_is_new(three_tier) -> None:
    topology = three_tier.home / "lab.toml"
    rule = '{ name = "web-to-app", from = "web", to = "app", services = "tcp/8080", action = "allow" }'
    assert rule in TEXT
    before = hits(three_tier)["operations/ping"]
    with listening(three_tier, "app1", 8080) as server, connect(three_tier, "web1", "app1", 8080) as ours:
        theirs, _address = server.accept()
        with theirs:
            try:
                topology.write_text(TEXT.replace(rule, rule.replace("allow", "drop")))
                three_tier.up(topology)
                assert explained(three_tier, "web1", "app1", 8080)["verdict"] == "drop"
                for sender, receiver in ((ours, theirs), (theirs, ours)):
                    receiver.settimeout(60)
                    sender.sendall(b"still here")
                    assert receiver.recv(100) == b"still here"
                with run_in(Path(three_tier.namespace("web1")), lambda: socket.socket()) as fresh:
                    fresh.settimeout(2)  # of nobody: a dropped segment has no other sign than silence
                    with pytest.raises(TimeoutError):
                        fresh.connect((ADDRESSES["app1"], 8080))
                assert hits(three_tier)["operations/ping"] >= before  # the counts of rules that stay, stay
            finally:
                topology.write_text(TEXT)
                three_tier.up(topology)
    with listening(three_tier, "app1", 8080), connect(three_tier, "web1", "app1", 8080):
        pass


def test_rules_that_were_flushed_by_hand_show_and_are_mended(three_tier) -> None:
    three_tier.inside("sw.production", "nft", "flush", "ruleset")
    assert three_tier.status()["firewall.operations"]["state"] != "running"
    three_tier.up(three_tier.home / "lab.toml")
    assert three_tier.status()["firewall.operations"]["state"] == "running"
    with listening(three_tier, "db1", 5432), pytest.raises(ConnectionRefusedError):
        connect(three_tier, "web1", "db1", 5432)


def test_a_second_up_has_nothing_to_do(three_tier) -> None:
    assert "nothing to do" in three_tier.up(three_tier.home / "lab.toml").stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--from", "web1", "--to", "db1"), "say what is sent"),
        (("--from", "wep1", "--to", "db1", "--icmp"), 'did you mean "web1"?'),
        (("--from", "web1", "--to", "db1", "--tcp", "70000"), "has no port from 0 to 65535"),
    ],
)
def test_a_question_that_makes_no_sense_is_told_so(three_tier, options, said) -> None:
    done = three_tier.run("firewall", "explain", *options, check=False)
    assert done.returncode == 2
    assert said in done.stderr


def test_the_tables_list_what_the_topology_says(three_tier) -> None:
    listed = three_tier.run("firewall", "list").stdout
    assert [line.split()[0] for line in listed.splitlines()][:3] == ["rule", "operations/ping", "shop/users-to-web"]
    assert "(no rule)" in three_tier.run("firewall", "hits").stdout


GUESTS = """
[network.production]
subnet = "10.10.0.0/24"
[network.storage]
role = "storage"
subnet = "10.20.0.0/24"
[network.management]
role = "management"
subnet = "10.30.0.0/24"
[array.san1]
[datastore.gold]
array = "san1"
protocol = "iscsi"
size = "8GiB"
[host."esx[1-2]"]
[cluster.compute]
hosts = ["esx1", "esx2"]
[vm.db1]
host = "esx1"
[vm.web1]
cluster = "compute"
tags = ["front"]
[node.client]
networks = ["production"]
[group.front]
tags = ["front"]
[firewall.shop]
rules = [
    { name = "ping", from = "front", to = "db1", services = "icmp", action = "drop" },
    { name = "feed", from = "client", to = "front", services = "tcp/7000", action = "allow" },
    { name = "rest", from = "front", services = "tcp", action = "reject" },
]
"""
TICKING = "(nc -l -p 7000 -e sh -c 'while true; do echo tick; sleep 1; done') >/dev/null 2>&1 &"


@pytest.mark.needs("qemu", "tun")
def test_guests_are_kept_apart_at_their_taps_and_rules_and_connections_follow_one_to_another_host(lab_of) -> None:
    lab = lab_of(GUESTS)
    addresses = {name: lab.status()[f"vm.{name}"]["addresses"]["production"] for name in ("web1", "db1")}
    lab.exec("web1", "sh", "-c", TICKING)
    with feed(lab, addresses["web1"]) as ticks:
        assert ticks.recv(100)
        lab.run("vm", "migrate", "web1", "--to", "esx1")
        for _tick in range(3):  # what the guest sends unasked, its new host has not seen begin
            assert ticks.recv(100)
    # Now both are on one host and one segment.
    assert lab.exec("web1", "ping", "-c1", "-W3", addresses["db1"], check=False).returncode != 0
    hit = next(each for each in lab.json("firewall", "hits")["rules"] if each["rule"] == "shop/ping")
    assert hit["by_node"]["esx1"]["packets"] == hit["hits"] >= 1
    said = lab.json("firewall", "explain", "--from", "web1", "--to", "db1", "--icmp")["explanation"]
    assert [(each["node"], each["interface"]) for each in said["decisions"]] == [("esx1", "web1.0")]
    lab.up(write(lab, GUESTS.replace('"drop"', '"allow"')))
    assert lab.exec("web1", "ping", "-c1", "-W60", addresses["db1"]).returncode == 0


def feed(lab: Any, address: str) -> socket.socket:
    """A connection to the guest's port, once it listens."""

    def connected() -> socket.socket | None:
        opened = run_in(Path(lab.namespace("client")), lambda: socket.socket())
        opened.settimeout(60)
        try:
            opened.connect((address, 7000))
        except ConnectionRefusedError:
            opened.close()
            return None
        return opened

    return wait_for(connected, what="somebody who listens in web1")


def write(lab: Any, text: str) -> Path:
    path: Path = lab.home / "lab.toml"
    path.write_text(text)
    return path
