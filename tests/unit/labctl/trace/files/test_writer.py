"""PcapngWriter: what tshark reads from its files is what was written."""

import io
import json
import struct
import subprocess
from pathlib import Path

import pytest

from labctl.trace.files.writer import PcapngWriter, read_annotation
from labctl.trace.record import Annotation, Link, LinkType, Packet

ETHERNET = Link(index=0, name="esx1/vmk1", type=LinkType.ETHERNET, description="storage", resolution=10**9)
SECOND = Link(index=1, name="array1/eth0", type=LinkType.RAW_IP, resolution=10**6, snaplen=128)
TIME = 1_700_000_000_123_456_789


def packet(**changes: object) -> Packet:
    fields: dict[str, object] = {"frame": 1, "time": TIME, "link": 0, "data": bytes(range(61)), "length": 99}
    return Packet(**(fields | changes))  # type: ignore[arg-type]


def written(*things: Packet | Annotation) -> bytes:
    file = io.BytesIO()
    writer = PcapngWriter(file)
    writer.add_link(ETHERNET)
    writer.add_link(SECOND)
    for thing in things:
        if isinstance(thing, Packet):
            writer.write(thing)
        else:
            writer.annotate(thing)
    assert writer.written == len(file.getvalue())
    return file.getvalue()


@pytest.mark.needs("tshark")
def test_tshark_reads_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "a.pcapng"
    event = Annotation(time=TIME, kind="event", data={"message": "vMotion started"})
    path.write_bytes(written(packet(), event, packet(link=1, comment="mine"), packet()))
    fields = ("frame.time_epoch", "frame.len", "frame.cap_len", "frame.interface_name", "frame.comment")
    options = [word for field in fields for word in ("-e", field)]
    done = subprocess.run(
        ["tshark", "-r", path, "-T", "fields", *options], capture_output=True, text=True, check=True, timeout=60
    )
    lines = done.stdout.splitlines()
    assert lines.pop(1).endswith("\t\t"), "Wireshark counts a custom block as a frame, of no interface"
    assert lines == [
        "1700000000.123456789\t99\t61\tesx1/vmk1\t",
        "1700000000.123456000\t99\t61\tarray1/eth0\tevent: message=vMotion started,mine",
        "1700000000.123456789\t99\t61\tesx1/vmk1\t",
    ]


@pytest.mark.parametrize("snaplen", [None, 0, 7, 60, 64])
@pytest.mark.parametrize("links", [[ETHERNET], [ETHERNET, SECOND]], ids=len)
def test_a_run_of_packets_is_written_as_each_of_them_would_be(links: list[Link], snaplen: int | None) -> None:
    event = Annotation(time=TIME, kind="event", data={"message": "vMotion started"})
    run = [(TIME + number, number % len(links), 99 + number, bytes(range(58 + number))) for number in range(9)]
    alone, together = io.BytesIO(), io.BytesIO()
    writers = [PcapngWriter(file) for file in (alone, together)]
    for writer in writers:
        for link in links:
            writer.add_link(link)
        writer.annotate(event)
    for at, number, length, data in run:
        writers[0].write(packet(time=at, link=number, data=data[:snaplen], length=length))
    views = [(at, number, length, memoryview(data)) for at, number, length, data in run]
    assert writers[1].write_run(views, snaplen) == sum(length for _, _, length, _ in run)
    assert together.getvalue() == alone.getvalue()
    assert writers[1].written == writers[0].written == len(together.getvalue())
    assert writers[1].write_run([]) == 0


def test_an_annotation_is_a_custom_block_with_json() -> None:
    data = {"hosts": {"10.0.0.1": "esx1"}, "é": [1, None]}
    block = written(Annotation(time=TIME, kind="names", data=data))[-200:]
    start = block.index(struct.pack("<I", 0xBAD))
    total = struct.unpack_from("<I", block, start + 4)[0]
    assert total % 4 == 0
    assert struct.unpack_from("<I", block, start + 8)[0] == 32473
    payload = block[start + 12 : start + total - 4]
    assert json.loads(payload) == {"labctl": 1, "time": TIME, "kind": "names", "data": data}
    assert read_annotation(payload) == Annotation(time=TIME, kind="names", data=data)


@pytest.mark.parametrize("kind", ["names", "stages"])
def test_annotations_that_would_bury_others_are_no_comments(kind: str) -> None:
    annotation = Annotation(time=TIME, kind=kind, data={"secret-word": 1})
    assert written(annotation, packet()).count(b"secret-word") == 1


@pytest.mark.parametrize(
    "payload", [b"", b"{", b"[]", b"{}", b'{"labctl":2,"time":1,"kind":"","data":{}}', b'"labctl"', b"[" * 100_000]
)
def test_another_programs_custom_block_is_no_annotation(payload: bytes) -> None:
    assert read_annotation(payload) is None


def test_the_callers_mistakes_are_named() -> None:
    writer = PcapngWriter(io.BytesIO())
    with pytest.raises(ValueError, match="link 0 was not added"):
        writer.write(packet())
    with pytest.raises(ValueError, match="link 2 was not added"):
        PcapngWriter(io.BytesIO()).write_run([(TIME, 2, 1, b"x")])
    with pytest.raises(ValueError, match="link 1 cannot be number 0"):
        writer.add_link(SECOND)
    with pytest.raises(ValueError, match="3 units in a second cannot be written"):
        writer.add_link(Link(index=0, name="", type=LinkType.ETHERNET, resolution=3))
