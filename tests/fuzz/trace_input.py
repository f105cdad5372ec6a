"""What the coverage-guided fuzzer of the trace does with an input; `fuzz_trace` runs it.

An input is a byte that chooses the mode, and then a capture file as it is, or segments of one connection: a byte that says from which
side and in which order, two with the length, and the bytes. Segments are decoded twice, by the column and one by one, and both must say
the same. What is found of interest is kept in `corpus/trace`, and test_trace_corpus goes through all of that in the normal tests.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from struct import pack, unpack_from

from labctl.trace.columns import lanes
from labctl.trace.command import Command
from labctl.trace.decoder import Decoder
from labctl.trace.errors import CaptureError
from labctl.trace.files import pcap
from labctl.trace.files.batch import from_packets
from labctl.trace.files.pcapng import PcapngReader
from labctl.trace.files.reading import SECTION
from labctl.trace.record import Link, LinkType, Packet
from labctl.trace.reports.summary import Summary

CORPUS = Path(__file__).parent / "corpus" / "trace"
FILE = 0
"""The mode in which the input is a capture file."""
PORTS = (3260, 2049, 20048, 111, 9999)
"""What the server's port is in the other modes; nothing is known of the last, so the protocol has to be guessed."""
MODES = 1 + len(PORTS)
LINK = Link(index=0, name="link", type=LinkType.ETHERNET, resolution=10**9)
CLIENT, SERVER = bytes((10, 20, 0, 21)), bytes((10, 20, 0, 11))
FROM_SERVER, LOST, AGAIN, LATE, CUT, BATCH = 1, 2, 4, 8, 16, 32
"""Of a segment's first byte: where it comes from; it is not in the capture; comes twice; behind the next; is cut; ends a batch."""


def frame(port: int, side: int, sequence: int, data: bytes) -> bytes:
    """A packet of Ethernet, IPv4 and TCP."""
    ends, ports = ((CLIENT, SERVER), (40001, port)) if not side else ((SERVER, CLIENT), (port, 40001))
    tcp = pack(">HHIIBBHHH", *ports, sequence & 0xFFFFFFFF, 0, 0x50, 0x10, 0xFFFF, 0, 0)
    ip = pack(">BBHHHBBH4s4s", 0x45, 0, 40 + len(data), 0, 0, 64, 6, 0, *ends)
    return bytes(12) + b"\x08\0" + ip + tcp + data


def segments(data: bytes, port: int) -> Iterator[list[Packet]]:
    """The batches of packets that an input is made of."""
    at, number, following = 0, 0, [1, 1]
    found: list[tuple[bytes, int]] = []
    late: list[tuple[bytes, int]] = []
    packets: list[Packet] = []
    while at + 3 <= len(data):
        flags, length = unpack_from(">BH", data, at)
        payload = data[at + 3 : at + 3 + length]
        at += 3 + length
        side = flags & FROM_SERVER
        whole = frame(port, side, following[side], payload)
        following[side] += len(payload)
        kept = whole[: len(whole) // 2] if flags & CUT else whole
        found = [] if flags & LOST else [(kept, len(whole))] * (2 if flags & AGAIN else 1)
        if flags & LATE:
            late += found
            continue
        for each, size in (*found, *late):
            number += 1
            packets.append(Packet(frame=number, time=number * 1000, link=0, data=each, length=size))
        late = []
        if flags & BATCH and packets:
            yield packets
            packets = []
    yield packets


def decoded(batches: list[list[Packet]], *, by_column: bool) -> tuple[list[Command], list[str], object]:
    """The commands, the problems and the sums."""
    decoder, commands, total = Decoder(by_column=by_column), [], Summary()
    for packets in batches:
        one_by_one = decoder.feed_batch(from_packets(packets, [LINK]))
        total.add_those(one_by_one, lambda _: True)
        commands += one_by_one
        for plain in decoder.plain:
            total.add_plain(plain, decoder.names)
            commands += [plain.command(index, decoder.names) for index in range(len(plain))]
    rest = decoder.finish()
    total.add_those(rest, lambda _: True)
    commands = sorted(commands + rest, key=lambda command: (command.id, command.part))
    return commands, sorted(map(str, decoder.problems)), total.to_json()


def one_input(data: bytes) -> None:
    """Let the trace take an input.

    Raises:
        Exception: whatever it raises is a bug, but for CaptureError, which says that a file is none.
    """
    if not data:
        return
    mode = data[0] % MODES
    if mode == FILE:
        _file(data[1:])
        return
    lanes.FEWEST = lanes.LONGEST = 1  # type: ignore[misc]
    batches = list(segments(data[1:], PORTS[mode - 1]))
    assert decoded(batches, by_column=True) == decoded(batches, by_column=False)


def _file(data: bytes) -> None:
    file, first = io.BytesIO(data[4:]), data[:4]
    if first != SECTION and first not in pcap.MAGICS:
        return
    decoder = Decoder(by_column=True)
    try:
        for batch in PcapngReader(file, first).batches() if first == SECTION else pcap.batches(file, first):
            assert len(batch.packets()) == len(batch)
            decoder.feed_batch(batch)
    except CaptureError:
        return
    decoder.finish()
