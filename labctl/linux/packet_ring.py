"""Packets of an interface, copied by the kernel into memory that it shares with us (packet(7), TPACKET_V3).

The kernel fills blocks of many packets and hands each over when it is full or has waited long enough; we hand it back when we are
done. Nothing is copied between kernel and us, and one system call waits for thousands of packets. When we are too slow the kernel
drops packets and counts them; the traffic itself never waits for us.

The socket belongs to the namespace in which it was opened, whoever uses it.
"""

from __future__ import annotations

import mmap
import socket
from dataclasses import dataclass
from struct import Struct
from types import TracebackType

from labctl.linux.errors import explain

_SOL_PACKET = 263
_PACKET_RX_RING = 5
_PACKET_STATISTICS = 6
_PACKET_VERSION = 10
_TPACKET_V3 = 2
_ETH_P_ALL = 3
_REQUEST = Struct("=7I")  # struct tpacket_req3
_STATISTICS = Struct("=3I")  # struct tpacket_stats_v3
_STATUS_AT = 8
_BLOCK = Struct("=8x3I")  # struct tpacket_block_desc: block_status, num_pkts, offset_to_first_pkt
_PACKET = Struct(
    "=6I2H4xIH"
)  # struct tpacket3_hdr: next, sec, nsec, snaplen, len, status, mac, net, (rxhash), vlan tci, tpid
_USER = 1
_KERNEL = (0).to_bytes(4, "little")
_TAGGED = 0x10  # TP_STATUS_VLAN_VALID
_ADDRESSES = 12  # bytes before an Ethernet tag

BLOCK_SIZE = 1 << 20
"""Bytes a block: sixteen of the largest packets that segmentation offload makes."""

RETIRE = 20
"""Milliseconds after which a block that is not full is handed over: what a live view lags behind, at most."""

DEFAULT_SIZE = 64 << 20
"""Bytes a ring: at 10 Gbit/s, 50 ms of traffic."""


CapturedPacket = tuple[int, int, int, memoryview | bytes]
"""One packet: nanoseconds since 1970; the number of its link; bytes that it had on the wire; what was kept of it.

The data is valid until its block is released, except for packets with a VLAN tag, which are copies. A plain tuple: making anything else
takes longer than reading a packet does.
"""


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """What the kernel counted: packets seen, and packets that found no room in the ring."""

    packets: int
    drops: int


def open_packet_socket(interface: str, *, size: int = DEFAULT_SIZE) -> socket.socket:
    """A socket that sees every packet of an interface of the calling thread's namespace, both ways.

    Args:
        interface: its name.
        size: bytes of the ring; rounded down to whole blocks, at least two.

    Raises:
        KernelError: there is no such interface, or the right (CAP_NET_RAW) is missing.
    """
    try:
        opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        try:
            opened.setsockopt(_SOL_PACKET, _PACKET_VERSION, _TPACKET_V3)
            blocks = max(2, size // BLOCK_SIZE)
            frames = BLOCK_SIZE // 2048 * blocks
            request = _REQUEST.pack(BLOCK_SIZE, blocks, 2048, frames, RETIRE, 0, 0)
            opened.setsockopt(_SOL_PACKET, _PACKET_RX_RING, request)
            opened.bind((interface, _ETH_P_ALL))
        except BaseException:
            opened.close()
            raise
    except OSError as error:
        raise explain(f"capture on {interface}", error) from error
    return opened


class Block:
    """One block of packets that the kernel handed over; hand it back by `release`."""

    def __init__(self, memory: mmap.mmap, view: memoryview, start: int) -> None:
        self._memory = memory
        self._view = view
        self._start = start

    def packets(self, link: int = 0) -> list[CapturedPacket]:
        """Its packets, in the order of their times.

        Args:
            link: the number that the caller knows the interface by; it is put into each.
        """
        memory, view, found = self._memory, self._view, []
        _, count, offset = _BLOCK.unpack_from(memory, self._start)
        at = self._start + offset
        for _ in range(count):
            step, seconds, nanoseconds, kept, length, status, mac, _, tag, kind = _PACKET.unpack_from(memory, at)
            begin = at + mac
            data: memoryview | bytes = view[begin : begin + kept]
            if status & _TAGGED:
                data, length = _with_tag(data, kind, tag), length + 4
            found.append((seconds * 1_000_000_000 + nanoseconds, link, length, data))
            at += step
        return found

    def release(self) -> None:
        """Hand it back to the kernel; views of its packets are worth nothing from now on."""
        at = self._start + _STATUS_AT
        self._memory[at : at + 4] = _KERNEL


def _with_tag(data: memoryview | bytes, kind: int, tag: int) -> bytes:
    """A packet with its 802.1Q tag, which the kernel took out, where it was on the wire."""
    return b"".join((data[:_ADDRESSES], kind.to_bytes(2, "big"), tag.to_bytes(2, "big"), data[_ADDRESSES:]))


class PacketRing:
    """The ring of a socket from `open_packet_socket`, in this process or in the one that passed it on.

    Args:
        opened: the socket; closed with the ring.
        size: as given to `open_packet_socket`.
    """

    def __init__(self, opened: socket.socket, *, size: int = DEFAULT_SIZE) -> None:
        self._socket = opened
        self._blocks = max(2, size // BLOCK_SIZE)
        self._memory = mmap.mmap(opened.fileno(), self._blocks * BLOCK_SIZE)
        self._view = memoryview(self._memory)
        self._next = 0
        self._packets = 0
        self._drops = 0

    def fileno(self) -> int:
        """For select: readable when a block is there."""
        return self._socket.fileno()

    def __len__(self) -> int:
        """How many blocks it has."""
        return self._blocks

    def take(self, limit: int) -> list[Block]:
        """The next blocks that the kernel handed over, oldest first.

        Args:
            limit: how many at most; those of earlier calls must have been released before the ring wraps.
        """
        found: list[Block] = []
        while len(found) < min(limit, self._blocks):
            start = self._next * BLOCK_SIZE
            if not self._memory[start + _STATUS_AT] & _USER:
                break
            found.append(Block(self._memory, self._view, start))
            self._next = (self._next + 1) % self._blocks
        return found

    def statistics(self) -> Statistics:
        """What the kernel counted since the ring was opened."""
        packets, drops, _ = _STATISTICS.unpack(
            self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, _STATISTICS.size)
        )
        self._packets += packets  # the kernel counts from zero after each question
        self._drops += drops
        return Statistics(packets=self._packets, drops=self._drops)

    def close(self) -> None:
        """Stop capturing. Views of packets must be gone."""
        self._view.release()
        self._memory.close()
        self._socket.close()

    def __enter__(self) -> PacketRing:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
