"""Conversations as packets: what two ends say, in TCP segments of IP packets of Ethernet frames."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterable, Sequence
from itertools import groupby

from labctl.trace.record import Link, LinkType, Packet

CLIENT, SERVER = ("10.20.0.21", 40001), ("10.20.0.11", 3260)
LINK = Link(index=0, name="esx1/vmk1", type=LinkType.ETHERNET, resolution=10**9)
START = 1_700_000_000_000_000_000
STEP = 1_000_000  # nanoseconds between two packets
SYN, ACK, FIN = 0x02, 0x10, 0x01


def _address(text: str) -> bytes:
    return bytes(map(int, text.split(".")))


class Talk:
    """Packets of one TCP connection.

    Args:
        client: address and port.
        server: likewise.
        mss: bytes of a segment at most.
        vlan: a VLAN tag to put before each.
    """

    def __init__(
        self, client: tuple[str, int] = CLIENT, server: tuple[str, int] = SERVER, *, mss: int = 1460, vlan: int = 0
    ) -> None:
        self._ends = client, server
        self._mss = mss
        self._vlan = vlan
        self._next = [1000, 5_000_000]
        self.packets: list[Packet] = []

    def open(self) -> None:
        """The handshake."""
        for side, flags in ((0, SYN), (1, SYN | ACK), (0, ACK)):
            self._put(side, b"", flags)
            if flags & SYN:
                self._next[side] += 1

    def say(self, side: int, data: bytes, sizes: Sequence[int] = ()) -> None:
        """Bytes from the client (0) or the server (1), in segments of these sizes and then of the usual one."""
        wanted = iter(sizes)
        while data:
            size = next(wanted, self._mss) or 1
            self._put(side, data[:size], ACK)
            self._next[side] += min(size, len(data))
            data = data[size:]

    def _put(self, side: int, data: bytes, flags: int) -> None:
        (source, source_port), (target, target_port) = self._ends[side], self._ends[1 - side]
        tcp = struct.pack(
            ">HHIIBBHHH",
            source_port,
            target_port,
            self._next[side] & 0xFFFFFFFF,
            self._next[1 - side] & 0xFFFFFFFF,
            0x50,
            flags,
            0xFFFF,
            0,
            0,
        )
        length = 20 + len(tcp) + len(data)
        ip = struct.pack(">BBHHHBBH", 0x45, 0, length, 0, 0, 64, 6, 0) + _address(source) + _address(target)
        tag = struct.pack(">HH", 0x8100, self._vlan) if self._vlan else b""
        frame = bytes(12) + tag + b"\x08\x00" + ip + tcp + data
        number = len(self.packets) + 1
        self.packets.append(Packet(frame=number, time=START + number * STEP, link=0, data=frame, length=len(frame)))


def renumbered(packets: Iterable[Packet]) -> list[Packet]:
    """The same packets with frames and times in their new order."""
    return [
        Packet(frame=number, time=START + number * STEP, link=each.link, data=each.data, length=each.length)
        for number, each in enumerate(packets, 1)
    ]


def shuffled(packets: Sequence[Packet], chance: random.Random, reach: int = 4) -> list[Packet]:
    """Packets of one direction that overtake one another by a few places, behind the handshake."""
    order: list[Packet] = list(packets[:3])
    for _, run in groupby(packets[3:], key=lambda packet: packet.data[26:30]):
        each = list(run)
        places = sorted(range(len(each)), key=lambda index: index + chance.random() * reach)
        order += [each[place] for place in places]
    return renumbered(order)
