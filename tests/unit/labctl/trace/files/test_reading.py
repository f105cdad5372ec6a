"""Reading captures: what was written comes back, packed or not, and what is broken is said with its place in the file."""

from __future__ import annotations

import gzip
import io
import random
import struct
from contextlib import suppress
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from labctl.trace.errors import CaptureError
from labctl.trace.files.reading import read_batches, read_packets
from labctl.trace.files.writer import PcapngWriter
from labctl.trace.record import Annotation, Link, LinkType, Packet, Problem

LINKS = [
    Link(index=0, name="esx1/vmk1", type=LinkType.ETHERNET, description="storage", resolution=10**9),
    Link(index=1, name="san1/stor0", type=LinkType.RAW_IP, resolution=10**6),
]
TIME = 1_700_000_000_123_456_000


def packet(number: int, size: int = 100) -> Packet:
    return Packet(
        frame=number, time=TIME + number * 1000, link=number % 2, data=bytes((number % 256,)) * size, length=size + 7
    )


def pcapng(count: int = 5) -> bytes:
    file = io.BytesIO()
    writer = PcapngWriter(file)
    for link in LINKS:
        writer.add_link(link)
    for number in range(1, count + 1):
        writer.write(packet(number))
    return file.getvalue()


def pcap(order: str = "<", magic: int = 0xA1B23C4D, count: int = 5) -> bytes:
    made = struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, 65535, 1)
    unit = 1 if magic == 0xA1B23C4D else 1000
    for number in range(1, count + 1):
        seconds, rest = divmod(TIME + number * 1000, 10**9)
        made += struct.pack(f"{order}IIII", seconds, rest // unit, 100, 107) + bytes((number,)) * 100
    return made


def packets(path: Path) -> list[Packet]:
    return [each for each in read_packets(str(path)) if isinstance(each, Packet)]


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.ZstdCompressor().compress])
def test_what_was_written_comes_back_packed_or_not(tmp_path: Path, pack) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "capture"
    path.write_bytes(pack(pcapng()))
    assert packets(path) == [packet(number) for number in range(1, 6)]
    (batch,) = [batch for batch in read_batches(str(path)) if len(batch)]
    assert [(link.name, link.type) for link in batch.links] == [(link.name, link.type) for link in LINKS]


@pytest.mark.parametrize("ng", [True, False], ids=["pcapng", "pcap"])
@pytest.mark.parametrize("missing", [0, 100])
def test_big_packets_that_lie_across_what_is_read_at_a_time_come_back(tmp_path: Path, ng: bool, missing: int) -> None:
    sizes = [60 << 10] * 150 + [3 << 20, 20 << 20, 40, 9 << 20, 1 << 20, 60, (1 << 20) + 3, 12 << 20, 5 << 20]
    written = [packet(number, size) for number, size in enumerate(sizes, 1)]
    file = io.BytesIO()
    if ng:
        writer = PcapngWriter(file)
        for link in LINKS:
            writer.add_link(link)
        for each in written:
            writer.write(each)
    else:
        file.write(struct.pack("<IHHIIII", 0xA1B23C4D, 2, 4, 0, 0, 64 << 20, 1))
        for each in written:
            file.write(struct.pack("<IIII", *divmod(each.time, 10**9), len(each.data), each.length) + each.data)
    path = tmp_path / "capture"
    path.write_bytes(file.getvalue()[: -missing or None])
    read = [bytes(each.data) for each in packets(path)]
    assert [len(data) for data in read] == sizes[: -1 if missing else None]
    assert all(data == bytes(each.data) for data, each in zip(read, written, strict=False))
    assert [problem.offset for batch in read_batches(str(path)) for problem in batch.problems] == (
        [path.stat().st_size + missing - (5 << 20) - (32 if ng else 16)] if missing else []
    )


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("magic", [0xA1B23C4D, 0xA1B2C3D4])
def test_pcap_of_both_byte_orders_and_resolutions(tmp_path: Path, order: str, magic: int) -> None:
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap(order, magic))
    found = packets(path)
    assert [(each.frame, each.time, each.length, len(each.data)) for each in found] == [
        (number, TIME + number * 1000, 107, 100) for number in range(1, 6)
    ]


def test_a_file_elsewhere_is_read_by_its_url() -> None:
    import fsspec

    with fsspec.open("memory://captures/a.pcapng", "wb") as file:
        file.write(pcapng())
    assert len([each for each in read_packets("memory://captures/a.pcapng") if isinstance(each, Packet)]) == 5


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "neither a pcap nor a pcapng file"),
        (b"GIF89a", "neither a pcap nor a pcapng file"),
        (gzip.compress(b"hello world", mtime=0), "neither a pcap nor a pcapng file"),
    ],
    ids=["empty", "picture", "packed text"],
)
def test_what_is_no_capture_is_said_to_be_none(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "a"
    path.write_bytes(content)
    with pytest.raises(CaptureError, match=words):
        packets(path)


def test_a_file_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="cannot open") as caught:
        packets(tmp_path / "none.pcapng")
    assert caught.value.hint


@pytest.mark.parametrize("make", [pcapng, pcap])
def test_a_file_that_ends_too_early_gives_what_is_whole_and_says_where_it_ends(tmp_path: Path, make) -> None:  # type: ignore[no-untyped-def]
    whole, path = make(), tmp_path / "a"
    for size in range(40, len(whole), 13):
        path.write_bytes(whole[:size])
        found: list[Packet | Annotation | Problem] = []
        try:
            found.extend(read_packets(str(path)))
        except CaptureError as error:
            assert "at byte" in str(error)  # noqa: PT017
        good = [each for each in found if isinstance(each, Packet)]
        assert good == packets_of(whole, path)[: len(good)]
        for problem in (each for each in found if isinstance(each, Problem)):
            assert problem.offset is not None
            assert problem.offset <= size


def packets_of(content: bytes, beside: Path) -> list[Packet]:
    path = beside.with_name("whole")
    path.write_bytes(content)
    return packets(path)


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 1 << 32), ng=st.booleans())
def test_a_broken_file_raises_nothing_else(tmp_path_factory: pytest.TempPathFactory, seed: int, ng: bool) -> None:
    chance = random.Random(seed)
    data = bytearray(pcapng() if ng else pcap())
    for _ in range(chance.randrange(1, 6)):
        at = chance.randrange(len(data))
        data[at : at + 4] = chance.choice((b"\xff\xff\xff\xff", bytes(4), chance.randbytes(4)))
    path = tmp_path_factory.mktemp("broken") / "a"
    path.write_bytes(bytes(data))
    with suppress(CaptureError):
        for _ in read_packets(str(path)):
            pass
