"""A small network built, mended, observed and removed through labctl.linux; run as root by the tests, and rootless as a program.

    python scenario.py FOLDER PREFIX

Everything is asserted here; a rootless run differs in nothing but who runs it.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from labctl.linux.links import (
    Bridge,
    End,
    Veth,
    delete_links,
    ensure_bridges,
    ensure_route,
    ensure_veths,
    observe,
    set_up,
)
from labctl.linux.namespaces import create_many, delete_many, exists, run_in
from labctl.linux.sockets import SocketPool

NODES = 3


def network(folder: Path, prefix: str) -> tuple[Path, list[Path], Bridge, list[Veth]]:
    switch = folder / f"{prefix}-sw"
    nodes = [folder / f"{prefix}-{index}" for index in range(NODES)]
    veths = [
        Veth(
            local=End(namespace=switch, name=f"p{index}", bridge="br0", mtu=9000),
            peer=End(
                namespace=node,
                name="eth0",
                mac=f"02:00:00:00:00:{index:02x}",
                mtu=9000,
                addresses=(f"10.99.0.{index + 1}/24",),
            ),
        )
        for index, node in enumerate(nodes)
    ]
    return switch, nodes, Bridge(namespace=switch, name="br0", mtu=9000), veths


def build(pool: SocketPool, folder: Path, prefix: str) -> None:
    switch, nodes, bridge, veths = network(folder, prefix)
    assert create_many([switch, *nodes]) == {}
    assert ensure_bridges(pool, [bridge]) == {}
    assert ensure_veths(pool, veths) == {}


def remove(pool: SocketPool, folder: Path, prefix: str) -> None:
    switch, nodes, _bridge, _veths = network(folder, prefix)
    pool.drop([switch, *nodes])
    assert delete_many([switch, *nodes]) == {}
    assert not any(path.exists() for path in (switch, *nodes))
    assert str(folder / prefix) not in Path("/proc/self/mountinfo").read_text()


def send_and_receive(sender: Path, receiver: Path, address: str, payload: bytes) -> bytes:
    def listening() -> socket.socket:
        handle = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        handle.bind((address, 5000))
        handle.settimeout(5)
        return handle

    inside: Callable[[], socket.socket] = lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)  # noqa: E731
    with run_in(receiver, listening) as server, run_in(sender, inside) as client:
        client.sendto(payload, (address, 5000))
        return server.recv(65535)


def check_traffic(pool: SocketPool, folder: Path, prefix: str) -> None:
    _switch, nodes, _bridge, _veths = network(folder, prefix)
    jumbo = os.urandom(8900)  # one frame at MTU 9000
    assert send_and_receive(nodes[0], nodes[-1], f"10.99.0.{NODES}", jumbo) == jumbo


def check_state(pool: SocketPool, folder: Path, prefix: str) -> None:
    switch, nodes, _bridge, _veths = network(folder, prefix)
    states = observe(pool, [switch, *nodes, folder / "no-such-namespace"])
    assert set(states) == {switch, *nodes}
    bridge = states[switch]["br0"]
    assert (bridge.kind, bridge.mtu, bridge.up) == ("bridge", 9000, True)
    for index, node in enumerate(nodes):
        port, link = states[switch][f"p{index}"], states[node]["eth0"]
        assert (port.master, port.peer, link.peer) == (bridge.index, link.index, port.index)
        assert (link.kind, link.mtu, link.up, link.carrier) == ("veth", 9000, True, True)
        assert link.mac == f"02:00:00:00:00:{index:02x}"
        assert link.addresses == (f"10.99.0.{index + 1}/24",)
        assert states[node]["lo"].up
        assert run_in(node, lambda: Path("/proc/sys/net/ipv6/conf/all/disable_ipv6").read_text()) == "1\n"
        assert run_in(node, lambda: Path("/proc/sys/net/ipv4/ip_forward").read_text()) == "0\n"


def check_mending(pool: SocketPool, folder: Path, prefix: str) -> None:
    switch, nodes, bridge, veths = network(folder, prefix)
    inode = nodes[0].stat().st_ino
    index = observe(pool, nodes[:1])[nodes[0]]["eth0"].index
    build(pool, folder, prefix)
    assert nodes[0].stat().st_ino == inode, "what is as wanted is left alone"
    assert observe(pool, nodes[:1])[nodes[0]]["eth0"].index == index

    set_up(pool, nodes[0], "eth0", up=False)
    moved = Veth(
        local=veths[0].local, peer=End(namespace=nodes[0], name="eth0", mtu=9000, addresses=("10.99.0.77/24",))
    )
    assert ensure_veths(pool, [moved]) == {}
    assert observe(pool, nodes[:1])[nodes[0]]["eth0"].addresses == ("10.99.0.77/24",)
    assert ensure_veths(pool, veths) == {}

    # A cable that leads elsewhere than wanted is replaced.
    crossed = Veth(local=veths[0].local, peer=veths[1].peer)
    assert ensure_veths(pool, [crossed]) == {}
    assert ensure_veths(pool, veths) == {}
    assert delete_links(pool, [(switch, "p1"), (switch, "p1"), (folder / "gone", "x")]) == {}
    assert "eth0" not in observe(pool, nodes)[nodes[1]]
    assert ensure_bridges(pool, [bridge]) == {}
    assert ensure_veths(pool, veths) == {}
    ensure_route(pool, nodes[0], "default", gateway="10.99.0.2")


def check_replacement_of_a_namespace(pool: SocketPool, folder: Path, prefix: str) -> None:
    """The pool notices that a path stands for another namespace by now."""
    _switch, nodes, _bridge, veths = network(folder, prefix)
    assert delete_many(nodes[:1]) == {}
    assert not exists(nodes[0])
    nodes[0].touch()  # an orphan file, as a killed process leaves it
    assert not exists(nodes[0])
    assert create_many(nodes[:1]) == {}
    assert exists(nodes[0])
    assert ensure_veths(pool, veths) == {}


STEPS: list[Callable[[SocketPool, Path, str], None]] = [
    build,
    check_state,
    check_traffic,
    check_mending,
    check_state,
    check_traffic,
    check_replacement_of_a_namespace,
    check_state,
    check_traffic,
]


def run(folder: Path, prefix: str) -> None:
    with SocketPool() as pool:
        try:
            for step in STEPS:
                step(pool, folder, prefix)
        finally:
            remove(pool, folder, prefix)
            remove(pool, folder, prefix)


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2])
