"""What a capture holds: packets, the links they were seen on, and what the lab said meanwhile. Plain data, without a file format."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class LinkType(IntEnum):
    """How a packet's first header is laid out (the numbers of tcpdump.org/linktypes.html)."""

    ETHERNET = 1
    RAW_IP = 101
    LINUX_SLL = 113
    LINUX_SLL2 = 276


@dataclass(frozen=True, kw_only=True)
class Link:
    """Where packets were captured: one interface block of a pcapng file, or the whole of a pcap file.

    Args:
        index: its number in the file, from 0.
        name: what users know it by, `esx1/vmk1` in captures that labctl makes; may be empty.
        type: the layout of its packets.
        snaplen: bytes that were kept of each packet; 0 for all.
        description: for people, e.g. the network's name.
        resolution: units of time in a second, as the file counts (10**9 in labctl's own).
    """

    index: int
    name: str
    type: LinkType
    snaplen: int = 0
    description: str = ""
    resolution: int = 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Packet:
    """One captured packet.

    Args:
        frame: its number in the file, from 1, as Wireshark counts.
        time: nanoseconds since 1970.
        link: the index of the link that it was seen on.
        data: what was kept of it.
        length: bytes that it had on the wire.
        comment: what the file says about it, or "".
    """

    frame: int
    time: int
    link: int
    data: bytes | memoryview
    length: int
    comment: str = ""


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """Something that the lab said while it was captured: an event, a fault that bit, a server's own timestamps.

    In a pcapng file it is a custom block (see `docs/reference/trace.md`), and a comment on the next packet for readers that skip those.

    Args:
        time: nanoseconds since 1970.
        kind: `event`, `fault`, `stages` (a server's timestamps of one command), `names` (who has which address), `drops`.
        data: the fields, as in JSON.
    """

    time: int
    kind: str
    data: dict[str, object]


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something that could not be read or that breaks a protocol's rules; reading went on behind it where it could.

    Args:
        message: what is wrong, in words.
        offset: where in the file, in bytes, for faults of the file.
        frame: the packet, for faults in the traffic.
        command: the id of the command, where it belongs to one.
        rule: the rule that was broken, e.g. `RFC 7143 4.2.2.1`, or "" for faults of the file.
    """

    message: str
    offset: int | None = None
    frame: int | None = None
    command: int | None = None
    rule: str = ""
