"""Where recordings go: files that are whole by themselves, in rings."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from labctl.errors import LabError, UsageError
from labctl.trace.capture.output import Output
from labctl.trace.record import Annotation, Link, LinkType, Packet

LINKS = [Link(index=0, name="esx1/vmk1", type=LinkType.ETHERNET, resolution=10**9)]
NAMES = Annotation(time=1, kind="names", data={"hosts": {"10.0.0.1": "esx1"}})


def packet(number: int) -> Packet:
    return Packet(frame=number, time=number, link=0, data=bytes(400), length=400)


def blocks(path: Path) -> list[int]:
    """The types of a file's blocks."""
    data, types, at = path.read_bytes(), [], 0
    while at < len(data):
        types.append(int.from_bytes(data[at : at + 4], "little"))
        at += int.from_bytes(data[at + 4 : at + 8], "little")
    return types


SECTION, INTERFACE, PACKET, CUSTOM = 0x0A0D0D0A, 1, 6, 0xBAD


def test_each_file_of_a_ring_has_links_and_names_and_the_oldest_go(tmp_path: Path) -> None:
    output = Output(str(tmp_path / "ring.pcapng"), LINKS, size=1000, keep=2)
    output.begin_with(NAMES)
    for number in range(12):
        output.writer.write(packet(number))
        output.settle()
    output.close()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [Path(name).name for name in output.files]
    assert len(names) == 2
    assert names[0] > "ring-00003.pcapng"
    for name in output.files:
        assert blocks(Path(name))[:3] == [SECTION, INTERFACE, CUSTOM]


def test_packets_that_come_together_are_told_apart_where_a_file_is_full(tmp_path: Path) -> None:
    packets = [(number, 0, 400, bytes(400)) for number in range(20)]
    output = Output(str(tmp_path / "ring.pcapng"), LINKS, size=1000)
    runs = []
    while packets:
        fit = output.that_fit(packets)
        runs.append(fit)
        output.writer.write_run(packets[:fit])
        output.settle()
        packets = packets[fit:]
    output.close()
    assert set(runs[:-1]) <= {2, 3}
    assert all(Path(name).stat().st_size < 1000 + 500 for name in output.files)
    whole = Output(str(tmp_path / "whole.pcapng"), LINKS)
    assert whole.that_fit([(0, 0, 1, b"x")] * 9) == 9
    whole.close()


def test_names_that_change_replace_the_earlier_ones_at_the_next_beginning(tmp_path: Path) -> None:
    output = Output(str(tmp_path / "x.pcapng"), LINKS, size=1)
    output.begin_with(NAMES)
    output.begin_with(Annotation(time=2, kind="names", data={"hosts": {"10.0.0.1": "esx9"}}))
    output.settle()
    output.close()
    last = Path(output.files[-1])
    assert blocks(last) == [SECTION, INTERFACE, CUSTOM]
    assert b"esx9" in last.read_bytes()


def test_what_is_settled_is_on_the_disk(tmp_path: Path) -> None:
    output = Output(str(tmp_path / "x.pcapng"), LINKS)
    output.writer.write(packet(1))
    output.settle()
    assert blocks(tmp_path / "x.pcapng") == [SECTION, INTERFACE, PACKET]
    output.close()


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("-", {"size": 10}, "standard output is one file"),
        ("x", {"keep": 2}, "--files needs --size"),
    ],
)
def test_options_that_make_no_sense_together_are_refused(path: str, options: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Output(path, LINKS, **options)


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(LabError) as caught:
        Output(str(tmp_path / "no" / "x.pcapng"), LINKS)
    assert caught.value.message == f"cannot write {tmp_path}/no/x.pcapng: No such file or directory"
    assert caught.value.hint == "choose another file with -o FILE"


def test_annotations_hold_what_was_said(tmp_path: Path) -> None:
    output = Output(str(tmp_path / "x.pcapng"), LINKS)
    output.begin_with(NAMES)
    output.close()
    data = (tmp_path / "x.pcapng").read_bytes()
    begin = data.index(b'{"labctl"')
    assert json.JSONDecoder().raw_decode(data[begin:].decode(errors="replace"))[0]["data"] == NAMES.data


def test_a_reader_that_went_away_with_something_unsent_is_no_error_and_the_pipe_is_closed() -> None:
    reading, writing = os.pipe()
    pipe = os.fdopen(writing, "wb", buffering=1 << 16)
    output = Output("a program", LINKS, pipe=pipe)
    output.writer.write(packet(1))  # in the buffer
    os.close(reading)
    output.close()
    assert pipe.closed
