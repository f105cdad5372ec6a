"""Rings of packets: what crosses a link is seen, whole, in order, and what was lost is counted."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from labctl.errors import ExitCode
from labctl.linux.errors import KernelError
from labctl.linux.links import End, Veth, ensure_veths
from labctl.linux.namespaces import create_many, delete_many, run_in
from labctl.linux.packet_ring import BLOCK_SIZE, PacketRing, open_packet_socket
from labctl.linux.sockets import SocketPool

pytestmark = pytest.mark.needs("root")

DEADLINE = 60.0
SIZE = 4 * BLOCK_SIZE


@pytest.fixture
def wire(unique: str) -> Iterator[tuple[Path, Path]]:
    """Two namespaces joined by a link: 10.97.0.1 and 10.97.0.2, both on eth0."""
    ends = [Path("/run/netns", f"{unique}-{name}") for name in ("a", "b")]
    try:
        assert create_many(ends) == {}
        with SocketPool() as pool:
            first, second = (
                End(namespace=end, name="eth0", mtu=9000, addresses=(f"10.97.0.{number}/24",))
                for number, end in enumerate(ends, 1)
            )
            assert ensure_veths(pool, [Veth(local=first, peer=second)]) == {}
        yield ends[0], ends[1]
    finally:
        delete_many(ends)


def udp(place: Path) -> socket.socket:
    return run_in(place, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))


def collect(ring: PacketRing, marker: bytes, count: int) -> list[tuple[int, int, bytes]]:
    """(time, length, data) of the first packets that hold a marker."""
    found: list[tuple[int, int, bytes]] = []
    deadline = time.monotonic() + DEADLINE
    while len(found) < count:
        assert time.monotonic() < deadline, f"{len(found)} of {count} packets seen"
        select.select([ring], [], [], 1.0)
        for block in ring.take(len(ring)):
            found += [(at, length, bytes(data)) for at, _, length, data in block.packets() if marker in bytes(data)]
            block.release()
    return found


def test_packets_are_seen_whole_and_in_order_round_and_round_the_ring(wire: tuple[Path, Path]) -> None:
    here, there = wire
    with (
        PacketRing(run_in(there, lambda: open_packet_socket("eth0", size=SIZE)), size=SIZE) as ring,
        udp(here) as sender,
        udp(there) as receiver,
    ):
        run_in(there, lambda: receiver.bind(("10.97.0.2", 9)))  # else ICMP would tell of each, with its payload
        before = time.time_ns()
        for lap in range(3):  # 9 MB through a ring of 4 MiB
            for number in range(350):
                sender.sendto(b"lap%d-%04d" % (lap, number) + bytes(8900), ("10.97.0.2", 9))
            seen = collect(ring, b"lap%d-" % lap, 350)
            payloads = [data[42:] for _, _, data in seen]
            assert [payload[:9] for payload in payloads] == [b"lap%d-%04d" % (lap, number) for number in range(350)]
            assert {(length, len(data)) for _, length, data in seen} == {(8951, 8951)}
            times = [at for at, _, _ in seen]
            assert times == sorted(times)
            assert before <= times[0] <= times[-1] <= time.time_ns()
        statistics = ring.statistics()
        assert statistics.packets >= 1050
        assert statistics.drops == 0


def test_what_finds_no_room_is_counted(wire: tuple[Path, Path]) -> None:
    here, there = wire
    size = 2 * BLOCK_SIZE
    with (
        PacketRing(run_in(there, lambda: open_packet_socket("eth0", size=size)), size=size) as ring,
        udp(here) as sender,
    ):
        for _ in range(600):  # 5 MB, and nobody reads
            sender.sendto(b"flood" + bytes(8900), ("10.97.0.2", 9))
        lost = ring.statistics().drops
        assert lost > 300
        assert ring.statistics().drops == lost  # counted once, not again
        assert len(collect(ring, b"flood", 100)) < 300


def test_a_vlan_tag_is_where_it_was_on_the_wire(wire: tuple[Path, Path]) -> None:
    here, there = wire
    frame = bytes.fromhex("ffffffffffff 020000000001 8100 600a 88b5") + b"tagged" + bytes(60)
    with (
        PacketRing(run_in(there, lambda: open_packet_socket("eth0", size=SIZE)), size=SIZE) as ring,
        run_in(here, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)) as sender,
    ):
        run_in(here, lambda: sender.bind(("eth0", 0)))
        sender.send(frame)
        [(_, length, data)] = collect(ring, b"tagged", 1)
        assert (data, length) == (frame, len(frame))


def test_an_interface_that_is_not_there_is_named(wire: tuple[Path, Path]) -> None:
    with pytest.raises(KernelError, match="cannot capture on vmk7: No such device") as caught:
        run_in(wire[0], lambda: open_packet_socket("vmk7"))
    assert caught.value.exit_code is ExitCode.FAILED
    assert caught.value.hint == "the interface is gone; `labctl up` makes it again"
