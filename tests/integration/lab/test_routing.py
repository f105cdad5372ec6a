"""Routers with real packets: between segments, out by the tier above with its address, in by its ports; and what becomes of changes."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import labctl_topologies
from labctl.testing.waiting import wait_for

pytestmark = [pytest.mark.needs("root"), pytest.mark.xdist_group("lab"), pytest.mark.timeout(300)]

SERVE = """
import socket
server = socket.create_server(("", {port}))
while True:
    connection, peer = server.accept()
    connection.sendall(f"{name} to {{peer[0]}}".encode())
    connection.close()
"""
ASK = """
import socket
print(socket.create_connection(("{address}", {port}), timeout=3).makefile().read())
"""


@pytest.fixture(scope="module")
def routed(lab_of) -> Iterator:
    return lab_of((Path(labctl_topologies.__file__).parent / "routed.toml").read_text())


@contextmanager
def serving(lab, node: str, port: int) -> Iterator[None]:
    """A server that says who it is, and whom it sees."""
    code = SERVE.format(port=port, name=node)
    argv = ["nsenter", f"--net={lab.namespace(node)}", "python3", "-c", code]
    server = subprocess.Popen(argv, env=lab.environment)
    try:
        wait_for(lambda: f":{port} " in lab.inside(node, "ss", "-tln").stdout, what=f"{node} to listen")
        yield
    finally:
        server.kill()
        server.wait()


def ask(lab, node: str, address: str, port: int) -> str:
    return lab.inside(node, "python3", "-c", ASK.format(address=address, port=port)).stdout.strip()


def address(lab, name: str, network: str) -> str:
    return str(lab.status()[name]["addresses"][network])


def reaches(lab, node: str, to: str, *options: str) -> bool:
    return lab.inside(node, "ping", "-c1", "-W2", *options, to, check=False).returncode == 0


def test_segments_reach_one_another_by_their_gateway_and_the_way_is_shown(routed) -> None:
    db1 = address(routed, "node.db1", "db")
    assert reaches(routed, "web1", db1)
    hops = routed.json("net", "path", "--from", "web1", "--to", "db1")["path"]["hops"]
    assert [hop["where"] for hop in hops if hop["kind"] == "router"] == ["core"]
    seen = routed.inside("web1", "ping", "-c1", "-W2", "-t1", db1, check=False).stdout
    assert "10.1.0.1" in seen, "the gateway says that the time to live was exceeded"
    assert "10.1.0.1" in routed.run("net", "list").stdout


def test_who_is_inside_gets_out_with_the_edges_address_and_nobody_gets_in_by_himself(routed) -> None:
    client = address(routed, "node.client", "outside")
    with serving(routed, "client", 9000):
        for node in ("web1", "db1"):
            assert ask(routed, node, client, 9000) == "client to 192.0.2.10"
    hops = routed.json("net", "path", "--from", "app1", "--to", "client")["path"]["hops"]
    assert [hop["where"] for hop in hops if hop["kind"] == "router"] == ["core", "edge"]
    assert not reaches(routed, "client", address(routed, "node.web1", "web"))
    refused = routed.run("net", "path", "--from", "client", "--to", "web1", check=False)
    assert "client is on outside, web1 on web; no router leads from one to the other" in refused.stderr


def test_forwarded_ports_are_answered_by_their_servers_in_turn_also_for_those_inside(routed) -> None:
    client = address(routed, "node.client", "outside")
    with serving(routed, "web1", 8080), serving(routed, "web2", 8080), serving(routed, "db1", 5432):
        answers = [ask(routed, "client", "192.0.2.10", 80) for _ in range(4)]
        assert sorted(answers) == [f"web1 to {client}", f"web1 to {client}", f"web2 to {client}", f"web2 to {client}"]
        assert ask(routed, "client", "192.0.2.10", 5432) == f"db1 to {client}"
        assert ask(routed, "app1", "192.0.2.10", 80).startswith("web")


def test_a_change_holds_at_once_and_what_is_broken_by_hand_is_mended(routed) -> None:
    file = routed.home / "lab.toml"
    before = file.read_text()
    web1, client = address(routed, "node.web1", "web"), address(routed, "node.client", "outside")
    try:
        file.write_text(before.replace("snat = true\n", ""))
        routed.up(file)
        assert not reaches(routed, "web1", client), "the client knows no way back"
        routed.inside("client", "ip", "route", "add", "10.0.0.0/8", "via", "192.0.2.10")
        assert reaches(routed, "web1", client)
        assert reaches(routed, "client", web1)
    finally:
        routed.inside("client", "ip", "route", "del", "10.0.0.0/8", check=False)
        file.write_text(before)
        routed.up(file)
    assert reaches(routed, "web1", client)

    for node, command in (
        ("edge", ("nft", "flush", "ruleset")),
        ("edge", ("ip", "route", "del", "10.1.0.0/24")),
        ("core", ("sysctl", "-qw", "net.ipv4.ip_forward=0")),
        ("web1", ("ip", "link", "del", "eth0")),
    ):
        routed.inside(node, *command)
        assert not reaches(routed, "web1", client), command
        routed.up(file)
        assert reaches(routed, "web1", client), command
    assert "nothing to do" in routed.up(file).stdout


VM = """
[network.management]
role = "management"
subnet = "10.30.0.0/24"
[network.storage]
role = "storage"
subnet = "10.20.0.0/24"
[network.inside]
subnet = "10.1.0.0/24"
[network.outside]
subnet = "192.0.2.0/24"
[router.edge]
networks = ["inside"]
uplink = "outside"
snat = true
[host.esx1]
networks = { production = "inside" }
[array.gold]
[datastore.gold]
array = "gold"
protocol = "iscsi"
size = "2GiB"
[vm.web1]
image = "micro"
memory = "128MiB"
[node.client]
networks = ["outside"]
"""


@pytest.mark.needs("qemu", "tun")
def test_a_vm_routes_by_its_networks_gateway(lab_of) -> None:
    lab = lab_of(VM)
    client = address(lab, "node.client", "outside")
    assert "default via 10.1.0.1" in lab.exec("web1", "ip", "route").stdout
    with serving(lab, "client", 9000):
        edge = address(lab, "router.edge", "outside")
        assert lab.exec("web1", "sh", "-c", f"nc {client} 9000 </dev/null").stdout == f"client to {edge}"
    assert lab.exec(
        "web1", "ping", "-c1", "-W2", lab.status()["array.gold"]["addresses"]["storage"], check=False
    ).returncode
