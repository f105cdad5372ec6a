"""The networks are separate: every attempt to cross fails, and storage traffic is on the storage network alone."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.needs("root", "qemu", "tun", "tcpdump"), pytest.mark.xdist_group("lab")]

NETWORKS = {"production": "10.10.0", "storage": "10.20.0", "management": "10.30.0"}


def addresses(quickstart, network: str) -> list[str]:
    return [r["addresses"][network] for r in quickstart.status().values() if network in r.get("addresses", {})]


def test_there_is_something_to_reach_on_each_network(quickstart) -> None:
    for network in NETWORKS:
        assert len(addresses(quickstart, network)) >= 3, network
    storage = addresses(quickstart, "storage")[0]
    assert quickstart.inside("esx1", "ping", "-c1", "-W2", storage, check=False).returncode == 0


@pytest.mark.parametrize("network", ["storage", "management"])
def test_a_node_on_production_reaches_nothing_on_the_others(quickstart, network) -> None:
    for address in addresses(quickstart, network):
        assert quickstart.inside("client", "ping", "-c1", "-W1", address, check=False).returncode != 0, address


def test_a_node_on_production_cannot_cross_by_routing_through_a_host_or_guest(quickstart) -> None:
    target = addresses(quickstart, "storage")[0]
    for gateway in addresses(quickstart, "production"):
        quickstart.inside("client", "ip", "route", "replace", f"{target}/32", "via", gateway, check=False)
        try:
            assert quickstart.inside("client", "ping", "-c1", "-W1", target, check=False).returncode != 0, gateway
        finally:
            quickstart.inside("client", "ip", "route", "del", f"{target}/32", check=False)


@pytest.mark.parametrize("port", ["3260", "2049", "111", "443"])
def test_a_guest_cannot_reach_the_array(quickstart, port) -> None:
    for network in ("storage", "management"):
        for address in [quickstart.status()["array.san1"]["addresses"][network]]:
            assert quickstart.exec("web1", "nc", "-w2", address, port, check=False).returncode != 0, (address, port)


def test_the_machine_itself_reaches_none_of_the_networks(quickstart) -> None:
    for network in NETWORKS:
        for address in addresses(quickstart, network):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
                probe.connect((address, 9))
                assert not probe.getsockname()[0].startswith(NETWORKS[network]), address
    links = subprocess.check_output(["ip", "-o", "addr"], text=True)
    assert not any(f" {prefix}." in links for prefix in NETWORKS.values())


def test_frames_of_nine_thousand_bytes_pass_on_storage_unfragmented(quickstart) -> None:
    storage = quickstart.status()["array.san1"]["addresses"]["storage"]
    ping = ["ping", "-c1", "-W2", "-M", "do", "-s"]
    assert quickstart.inside("esx1", *ping, str(9000 - 28), storage, check=False).returncode == 0
    assert quickstart.inside("esx1", *ping, str(9001 - 28), storage, check=False).returncode != 0


@contextlib.contextmanager
def capture(quickstart, network: str, file: Path) -> Iterator[None]:
    """Capture all of a network at its switch until the block ends."""
    switch = quickstart.namespace(f"sw.{network}")
    argv = [
        "nsenter",
        f"--net={switch}",
        "tcpdump",
        "-i",
        "any",
        "--immediate-mode",
        "-U",
        "-s0",
        "-B",
        "65536",
        "-w",
        str(file),
    ]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        while "listening on" not in process.stderr.readline():
            pass
        try:
            yield
        finally:
            process.terminate()
            process.communicate(timeout=20)


def test_the_storage_network_carries_the_guests_io_and_the_others_carry_none_of_it(quickstart, tmp_path) -> None:
    marker = b"marked-by-the-separation-test"
    files = {network: tmp_path / f"{network}.pcap" for network in NETWORKS}
    with contextlib.ExitStack() as stack:
        for network, file in files.items():
            stack.enter_context(capture(quickstart, network, file))
        for vm in ("web1", "db1"):
            script = f"yes {marker.decode()} | head -c 1048576 > /root/marked && sync"
            quickstart.exec(vm, "sh", "-c", script)
    counts = {network: file.read_bytes().count(marker) for network, file in files.items()}
    written = 2 * 1048576 // (len(marker) + 1)
    assert counts["storage"] >= written * 0.95, counts  # a marker may be cut by a segment's end
    assert counts["production"] == 0, counts
    assert counts["management"] == 0, counts  # the command that names the marker goes there, inside TLS
