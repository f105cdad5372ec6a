"""Links of a running lab are impaired, and real packets suffer it; sound again, they do not."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from labctl.linux.namespaces import run_in
from labctl.testing.waiting import wait_for

pytestmark = [pytest.mark.needs("root", "tun"), pytest.mark.xdist_group("lab")]

TOPOLOGY = """
[network.production]
subnet = "10.10.0.0/24"

[node.a]
networks = ["production"]

[node.b]
networks = ["production"]
"""
LINK = "a/eth0"
B = "10.10.0.12"


@pytest.fixture(scope="module")
def pair(lab_of) -> Any:
    """Two nodes on a network, shared by this module."""
    return lab_of(TOPOLOGY)


@pytest.fixture
def pair_lab(pair: Any) -> Iterator[Any]:
    """The same, sound again after the test."""
    yield pair
    pair.run("link", "set", LINK, "--clear")


def set_link(lab: Any, *options: str) -> dict:
    return lab.json("link", "set", LINK, *options)["link"]


def listed(lab: Any) -> dict:
    return {each["link"]: each for each in lab.json("link", "list")["links"]}


def ping(lab: Any, count: int = 20, *options: str) -> str:
    return lab.inside("a", "ping", "-n", "-i0.01", "-W5", f"-c{count}", *options, B, check=False).stdout


def answered(output: str) -> int:
    found = re.search(r"(\d+) received", output)
    assert found, output
    return int(found[1])


def fastest(output: str) -> float:
    """Milliseconds."""
    found = re.search(r"rtt min/avg/max/mdev = ([\d.]+)/", output)
    assert found, output
    return float(found[1])


def send_to_b(lab: Any, payloads: list[bytes], *, quiet: float = 2.0) -> list[bytes]:
    """Send datagrams from a to b; returns what b got until nothing more came."""
    received: list[bytes] = []
    listener = run_in(Path(lab.namespace("b")), lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    sender = run_in(Path(lab.namespace("a")), lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    with listener, sender:
        listener.bind((B, 7000))
        listener.settimeout(quiet)

        def collect() -> None:
            try:
                while True:
                    received.append(listener.recv(2048))
            except TimeoutError:
                return

        thread = threading.Thread(target=collect)
        thread.start()
        for payload in payloads:
            sender.sendto(payload, (B, 7000))
            time.sleep(0.001)  # paces: no queue of ours may overflow
        thread.join()
    return received


def test_a_delay_holds_every_frame_both_ways_and_one_way_half_as_long(pair_lab) -> None:
    assert set_link(pair_lab, "--delay", "30ms")["text"] == "delay 30 ms"
    assert fastest(ping(pair_lab)) >= 60
    set_link(pair_lab, "--delay", "0", "--direction", "to")
    assert fastest(ping(pair_lab)) >= 30
    assert listed(pair_lab)[LINK]["impairment"] == {"from": {"delay": 0.03}}


def test_a_loss_loses_its_share_and_no_other_link_suffers(pair_lab) -> None:
    set_link(pair_lab, "--loss", "40%", "--direction", "from")
    got = answered(ping(pair_lab, 200))
    assert 80 <= got <= 160, got  # 120 expected, sigma 7
    assert listed(pair_lab)["b/eth0"]["impairment"] == {}
    set_link(pair_lab, "--loss", "100%")
    assert answered(ping(pair_lab, 3, "-W1")) == 0


def test_duplicates_arrive_twice(pair_lab) -> None:
    set_link(pair_lab, "--duplicate", "100%", "--direction", "from")
    got = send_to_b(pair_lab, [b"%d" % number for number in range(20)])
    assert sorted(got) == sorted([b"%d" % number for number in range(20)] * 2)


def test_reordered_frames_overtake_the_delayed(pair_lab) -> None:
    set_link(pair_lab, "--delay", "100ms", "--reorder", "30%", "--direction", "from")
    sent = [b"%03d" % number for number in range(100)]
    got = send_to_b(pair_lab, sent)
    assert sorted(got) == sent
    assert got != sent


def test_corrupted_frames_do_not_pass_a_checksum(pair_lab) -> None:
    set_link(pair_lab, "--corrupt", "100%", "--direction", "from")
    sent = [bytes([number]) * 1000 for number in range(50)]
    got = send_to_b(pair_lab, sent)
    assert len(got) < 10  # nearly every bit of the frame is under UDP's checksum, IP's, or decides where it goes
    assert set(got) <= set(sent)


def test_a_rate_is_not_exceeded(pair_lab) -> None:
    set_link(pair_lab, "--rate", "1mbit", "--direction", "from")
    start = time.monotonic()
    got = send_to_b(pair_lab, [bytes(1000)] * 100, quiet=3.0)
    assert len(got) == 100
    assert time.monotonic() - start - 3.0 >= 100 * 1042 * 8 / 1e6 * 0.95


def test_large_segments_arrive_whole_through_a_delay(pair_lab) -> None:
    set_link(pair_lab, "--delay", "2ms")
    content = os.urandom(2 * 1024 * 1024)
    server = run_in(Path(pair_lab.namespace("b")), lambda: socket.create_server((B, 7001)))
    client = run_in(Path(pair_lab.namespace("a")), lambda: socket.create_connection((B, 7001), timeout=60))
    with server, client:
        connection, _ = server.accept()
        thread = threading.Thread(target=lambda: (client.sendall(content), client.shutdown(socket.SHUT_WR)))
        thread.start()
        with connection, connection.makefile("rb") as stream:
            assert stream.read() == content
        thread.join()


def test_a_pulled_cable_carries_nothing_shows_no_carrier_and_is_plugged_in_again(pair_lab) -> None:
    carrier = ("cat", "/sys/class/net/eth0/carrier")
    in_a = ["ip", "netns", "exec", f"{pair_lab.name}-a", *carrier]
    set_link(pair_lab, "--down")
    assert subprocess.run(in_a, capture_output=True, text=True, check=True).stdout.strip() == "0"
    assert answered(ping(pair_lab, 2, "-W1")) == 0
    assert "eth0: down" in pair_lab.status()["node.a"]["detail"]
    set_link(pair_lab, "--up")
    wait_for(lambda: answered(ping(pair_lab, 1, "-W1")) == 1, timeout=60)


def test_it_shows_in_status_and_events_and_is_gone_when_cleared(pair_lab) -> None:
    set_link(pair_lab, "--loss", "1%", "--delay", "10ms")
    assert pair_lab.status()["node.a"]["detail"] == "eth0: delay 10 ms, loss 1 %"
    assert pair_lab.status()["node.a"]["state"] == "running"
    cleared = set_link(pair_lab, "--clear")
    assert cleared["impairment"] == {}
    assert pair_lab.status()["node.a"]["detail"] == ""
    told = [json.loads(line) for line in pair_lab.run("events", "--json").stdout.splitlines()]
    mine = [each["properties"]["message"] for each in told if str(each.get("event")).startswith("link.")]
    assert mine[-2:] == ["a/eth0: delay 10 ms, loss 1 %", "a/eth0: sound again"]
    for node, device in (("a", "eth0"), ("sw.production", "a-eth0")):
        there = pair_lab.inside(node, "tc", "qdisc", "show", "dev", device).stdout
        assert "clsact" not in there
        assert "netem" not in there
        assert "imp-" not in pair_lab.inside(node, "ip", "link").stdout


def test_it_outlives_up_and_labd_and_comes_back_with_a_link_that_was_lost(pair_lab) -> None:
    set_link(pair_lab, "--delay", "30ms")
    assert "nothing to do" in pair_lab.up(pair_lab.home / "lab.toml").stdout
    os.kill(pair_lab.labd_pid, signal.SIGKILL)
    assert listed(pair_lab)[LINK]["text"] == "delay 30 ms"
    assert fastest(ping(pair_lab, 5)) >= 60
    pair_lab.inside("a", "ip", "link", "del", "eth0")
    pair_lab.up(pair_lab.home / "lab.toml")
    assert listed(pair_lab)[LINK]["text"] == "delay 30 ms"
    assert fastest(ping(pair_lab, 5)) >= 60
    set_link(pair_lab, "--clear")
    assert fastest(ping(pair_lab, 5)) < 60


def test_a_killed_relay_is_told_and_mended(pair_lab) -> None:
    if set_link(pair_lab, "--delay", "30ms")["way"] != "relay":
        return  # the kernel does it itself here: there is nothing to kill
    for found in Path("/proc").glob("[0-9]*/cmdline"):
        if b"labctl_network.impair.relay" in (words := found.read_bytes()) and str(pair_lab.home).encode() in words:
            os.kill(int(found.parent.name), signal.SIGKILL)
    wait_for(lambda: pair_lab.status()["node.a"]["state"] == "broken", timeout=60)
    assert "the relay of eth0 is gone" in pair_lab.status()["node.a"]["detail"]
    pair_lab.up(pair_lab.home / "lab.toml")
    assert pair_lab.status()["node.a"]["state"] == "running"
    assert fastest(ping(pair_lab, 5)) >= 60


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--loss", "200%"], 'loss: "200%" is not a share of the frames'),
        (["--delay", "soon"], 'delay: "soon" is not a duration'),
        (["--rate", "fast"], 'rate: "fast" is not a rate'),
        (["--reorder", "5%"], "reordering needs a delay"),
        ([], "nothing to set"),
        (["--delay", "1ms", "--direction", "up"], '"up" is no direction'),
        (["--clear", "--down"], "--clear makes the whole link sound"),
    ],
    ids=["share", "duration", "rate", "reorder", "nothing", "direction", "clear"],
)
def test_nonsense_is_refused_and_changes_nothing(pair_lab, words, said) -> None:
    refused = pair_lab.run("link", "set", LINK, *words, check=False)
    assert refused.returncode == 2
    assert said in refused.stderr
    assert listed(pair_lab)[LINK]["impairment"] == {}


def test_a_link_that_is_not_there_is_named(pair_lab) -> None:
    refused = pair_lab.run("link", "set", "a/eth1", "--down", check=False)
    assert refused.returncode == 6
    assert "has no link a/eth1" in refused.stderr
    assert "a/eth0" in refused.stderr
