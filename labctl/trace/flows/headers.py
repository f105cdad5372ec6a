"""Headers of a batch of packets, by the column: where TCP's and UDP's payload is, and which flow it belongs to.

Each step looks at all packets at once through a view of the buffer that begins at every byte; what is looked at behind a packet's end
is masked out afterwards. A packet that is not understood is left out, never guessed.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from labctl.trace.command import Endpoint
from labctl.trace.files.batch import Batch, Integers
from labctl.trace.limits import MAX_ENCAPSULATION, MAX_EXTENSIONS
from labctl.trace.record import LinkType

TCP: Final = 6
UDP: Final = 17
IPV4: Final = 0x0800
IPV6: Final = 0x86DD
VLAN: Final = (0x8100, 0x88A8, 0x9100)  # IEEE 802.1Q, 802.1ad, and what was used before that
LINK_HEADERS: Final = {
    LinkType.ETHERNET: (12, 14),
    LinkType.LINUX_SLL: (14, 16),
    LinkType.LINUX_SLL2: (0, 20),
}
"""By link type: where the protocol's number stands, and where its header begins."""
EXTENSIONS: Final = frozenset({0, 43, 44, 51, 60, 135, 139, 140})  # RFC 8200 4, RFC 4302, RFC 6275, RFC 7401, RFC 5533

WORD: Final = np.dtype(">u2")
IPV4_HEADER: Final = np.dtype(
    [
        ("version", "u1"), ("tos", "u1"), ("total", ">u2"), ("id", ">u2"), ("fragment", ">u2"),
        ("ttl", "u1"), ("protocol", "u1"), ("sum", ">u2"), ("source", ">u4"), ("target", ">u4"),
    ]
)  # fmt: skip
IPV6_HEADER: Final = np.dtype(
    [
        ("version", ">u4"), ("payload", ">u2"), ("next", "u1"), ("hops", "u1"),
        ("source_high", ">u8"), ("source_low", ">u8"), ("target_high", ">u8"), ("target_low", ">u8"),
    ]
)  # fmt: skip
TCP_HEADER: Final = np.dtype(
    [("ports", ">u4"), ("sequence", ">u4"), ("acknowledged", ">u4"), ("offset", "u1"), ("flags", "u1")]
)

Words = NDArray[np.uint64]
FlowKey = tuple[int, int, int, int, int]
"""Source and target address as two 64-bit halves each (an IPv4 address mapped, RFC 4291 2.5.5.2), the ports, and 1 << 32 for UDP."""


@dataclass(kw_only=True)
class Segments:
    """TCP segments that carry bytes or flags, and UDP datagrams, in the order of the capture; one item each.

    Args:
        index: the packet's place in the batch.
        flow: its place among `keys`.
        keys: the flows.
        sequence: of the first byte.
        acknowledged: what the sender has of the other direction.
        flags: of TCP; -1 for UDP.
        start: where the payload begins in the batch's buffer.
        kept: bytes of it that the capture has.
        length: bytes of it that were on the wire.
        fragments: packets that were left out because they are parts of an IP packet.
    """

    index: Integers
    flow: Integers
    keys: list[FlowKey]
    sequence: Integers
    acknowledged: Integers
    flags: Integers
    start: Integers
    kept: Integers
    length: Integers
    fragments: Integers


def at_each(buffer: NDArray[np.uint8], layout: Any) -> NDArray[Any]:
    """A view of the buffer with an item of some layout beginning at every byte."""
    size = np.dtype(layout).itemsize
    return np.ndarray((max(len(buffer) - size + 1, 0),), dtype=layout, buffer=buffer.data, strides=(1,))


def parse(batch: Batch) -> Segments:
    """Find the TCP segments and UDP datagrams of a batch."""
    ip, kind = _network(batch)
    version4 = _ipv4(batch, np.flatnonzero(kind == IPV4), ip)
    version6 = _ipv6(batch, np.flatnonzero(kind == IPV6), ip)
    parts = [part for part in (version4, version6) if len(part.index)]
    fragments = np.concatenate((version4.fragments, version6.fragments))
    joined = _Transport.joined(parts) if len(parts) == 2 else parts[0] if parts else version4
    return _segments(batch, joined, fragments)


@dataclass(kw_only=True)
class _Transport:
    """Packets whose IP header was understood: where the next header begins, where the packet's kept bytes and its whole length end."""

    index: Integers
    at: Integers
    whole: Integers
    protocol: Integers
    addresses: list[Words]
    fragments: Integers

    @staticmethod
    def joined(parts: list[_Transport]) -> _Transport:
        order = np.argsort(np.concatenate([part.index for part in parts]), kind="stable")

        def join(columns: list[Any]) -> Any:
            return np.concatenate(columns)[order]

        return _Transport(
            index=join([part.index for part in parts]),
            at=join([part.at for part in parts]),
            whole=join([part.whole for part in parts]),
            protocol=join([part.protocol for part in parts]),
            addresses=[join([part.addresses[n] for part in parts]) for n in range(4)],
            fragments=parts[0].fragments,
        )


def _network(batch: Batch) -> tuple[Integers, Integers]:
    """Where each packet's IP header begins, and what its number is (0 where there is none)."""
    start = batch.start
    place = np.zeros_like(start)
    header = np.zeros_like(start)
    raw = np.zeros(len(start), dtype=bool)
    for number in np.unique(batch.link).tolist():
        mask = batch.link == number if len(batch.links) > 1 else slice(None)
        link_type = batch.links[number].type
        if link_type == LinkType.RAW_IP:
            raw[mask] = True
        else:
            place[mask], header[mask] = LINK_HEADERS[link_type]
    words = at_each(batch.buffer, WORD)
    kind = words[start + place].astype(np.int64)
    kind[header > batch.kept] = 0
    for _ in range(MAX_ENCAPSULATION):
        tagged = np.flatnonzero(np.isin(kind, VLAN) & ~raw & (header + 4 <= batch.kept))
        if not len(tagged):
            break
        kind[tagged] = words[(start + header)[tagged] + 2]
        header[tagged] += 4
    if raw.any():
        versions = batch.buffer[start] >> 4
        kind[raw] = np.where(versions == 4, IPV4, np.where(versions == 6, IPV6, 0))[raw]
        kind[raw & (batch.kept == 0)] = 0
    return start + header, kind


def _ipv4(batch: Batch, chosen: Integers, ip: Integers) -> _Transport:
    at = ip[chosen]
    end = batch.start[chosen] + batch.kept[chosen]
    wire = batch.start[chosen] + batch.length[chosen]
    heads = at_each(batch.buffer, IPV4_HEADER)[np.minimum(at, len(batch.buffer) - IPV4_HEADER.itemsize)]
    first = heads["version"].astype(np.int64)
    size = (first & 15) * 4
    total = heads["total"].astype(np.int64)
    good = (first >> 4 == 4) & (size >= 20) & (at + size <= end)
    pieces = good & (heads["fragment"].astype(np.int64) & 0x3FFF != 0)
    fragments = batch.frame[chosen[pieces]]
    good &= ~pieces
    # 0 is what the kernel captures before the card cuts a big packet, and in BIG TCP.
    whole = np.where(total == 0, wire, np.minimum(at + total, wire))
    mapped = np.uint64(0xFFFF << 32)
    addresses = [heads["source"].astype(np.uint64) | mapped, heads["target"].astype(np.uint64) | mapped]
    none = np.zeros(int(good.sum()), dtype=np.uint64)
    return _Transport(
        index=chosen[good],
        at=(at + size)[good],
        whole=whole[good],
        protocol=heads["protocol"].astype(np.int64)[good],
        addresses=[none, addresses[0][good], none, addresses[1][good]],
        fragments=fragments,
    )


def _ipv6(batch: Batch, chosen: Integers, ip: Integers) -> _Transport:
    at = ip[chosen]
    end = batch.start[chosen] + batch.kept[chosen]
    wire = batch.start[chosen] + batch.length[chosen]
    heads = at_each(batch.buffer, IPV6_HEADER)[np.minimum(at, len(batch.buffer) - IPV6_HEADER.itemsize)]
    payload = heads["payload"].astype(np.int64)
    good = (heads["version"].astype(np.int64) >> 28 == 6) & (at + 40 <= end)
    # A payload of 0 is that of a jumbogram (RFC 2675) and of packets that the card is yet to cut.
    whole = np.where(payload == 0, wire, np.minimum(at + 40 + payload, wire))
    protocol = heads["next"].astype(np.int64)
    at = at + 40
    pieces = np.zeros(len(chosen), dtype=bool)
    for number in np.flatnonzero(good & np.isin(protocol, list(EXTENSIONS))).tolist():
        protocol[number], at[number], pieces[number] = _extensions(
            batch.buffer.data, int(protocol[number]), int(at[number]), int(end[number])
        )
    good &= ~pieces
    names = ("source_high", "source_low", "target_high", "target_low")
    return _Transport(
        index=chosen[good],
        at=at[good],
        whole=whole[good],
        protocol=protocol[good],
        addresses=[heads[name].astype(np.uint64)[good] for name in names],
        fragments=batch.frame[chosen[pieces]],
    )


def _extensions(data: memoryview, kind: int, at: int, end: int) -> tuple[int, int, bool]:
    """Skip IPv6's extension headers: the protocol behind them, where it begins, and whether this is a part of a packet."""
    for _ in range(MAX_EXTENSIONS):
        if kind not in EXTENSIONS or at + 8 > end:
            break
        if kind == 44:  # RFC 8200 4.5; an atomic fragment (RFC 6946) is whole
            if data[at + 2] << 8 & 0xFF00 | data[at + 3] & 0xF9:
                return kind, at, True
            kind, at = data[at], at + 8
        elif kind == 51:  # RFC 4302 2.2: in 32-bit words, minus 2
            kind, at = data[at], at + (data[at + 1] + 2) * 4
        else:
            kind, at = data[at], at + (data[at + 1] + 1) * 8
    return kind, at, False


def _segments(batch: Batch, found: _Transport, fragments: Integers) -> Segments:
    end = batch.start[found.index] + batch.kept[found.index]
    heads = at_each(batch.buffer, TCP_HEADER)[np.minimum(found.at, len(batch.buffer) - TCP_HEADER.itemsize)]
    tcp = found.protocol == TCP
    udp = found.protocol == UDP
    size = np.where(tcp, (heads["offset"].astype(np.int64) >> 4) * 4, 8)
    flags = np.where(tcp, heads["flags"].astype(np.int64) & 0x3F, -1)
    start = found.at + size
    length = found.whole - start
    good = (tcp & (size >= 20)) | udp
    # The header must be kept as a whole: TCP's options are not looked at, but its first 14 bytes are.
    good &= (np.where(tcp, 14, 8) + found.at <= end) & ((length > 0) | (tcp & (flags & 7 != 0)))
    chosen = np.flatnonzero(good)
    ports = heads["ports"].astype(np.uint64)[chosen]
    ports[udp[chosen]] |= np.uint64(1 << 32)
    flow, keys = _flows([*(each[chosen] for each in found.addresses), ports])
    start = start[chosen]
    return Segments(
        index=found.index[chosen],
        flow=flow,
        keys=keys,
        sequence=heads["sequence"].astype(np.int64)[chosen],
        acknowledged=heads["acknowledged"].astype(np.int64)[chosen],
        flags=flags[chosen],
        start=start,
        kept=np.clip(np.minimum(end[chosen], start + length[chosen]) - start, 0, None),
        length=np.maximum(length[chosen], 0),
        fragments=fragments,
    )


MIX: Final = [
    np.uint64(each) for each in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93)
]


def _flows(columns: list[Words]) -> tuple[Integers, list[FlowKey]]:
    """Number the flows: each segment's flow, and their keys."""
    mixed = columns[4].copy()
    for column, factor in zip(columns[:4], MIX, strict=True):
        mixed = (mixed ^ column) * factor
        mixed ^= mixed >> np.uint64(29)
    _, first, flow = np.unique(mixed, return_index=True, return_inverse=True)
    keys = [tuple(int(column[place]) for column in columns) for place in first.tolist()]
    if all((column == column[first][flow]).all() for column in columns):
        return flow.astype(np.int64), keys  # type: ignore[return-value]
    # Two flows share a mixture: chance will not do it, malice can.
    numbers: dict[tuple[int, ...], int] = {}
    rows = zip(*(column.tolist() for column in columns), strict=True)
    flow = np.array([numbers.setdefault(row, len(numbers)) for row in rows], dtype=np.int64)
    return flow, list(numbers)  # type: ignore[arg-type]


def endpoints(key: FlowKey) -> tuple[Endpoint, Endpoint]:
    """Who sends, and to whom."""
    return _endpoint(key[0], key[1], key[4] >> 16 & 0xFFFF), _endpoint(key[2], key[3], key[4] & 0xFFFF)


def _endpoint(high: int, low: int, port: int) -> Endpoint:
    address = ipaddress.IPv6Address(high << 64 | low)
    return Endpoint(address=str(address.ipv4_mapped or address), port=port)


def backwards(key: FlowKey) -> FlowKey:
    """The flow of the other direction."""
    ports = key[4]
    return key[2], key[3], key[0], key[1], ports & 1 << 32 | (ports & 0xFFFF) << 16 | ports >> 16 & 0xFFFF
