"""Additional header segments: long CDBs, and commands that move data both ways (RFC 7143 11.2.2, 11.4.5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from labemu_iscsi.pdu import DataIn, Reject, ScsiCommand, ScsiResponse
from labemu_iscsi.task import Task
from labemu_scsi.command import Response

Connect = Callable[..., Any]
EXTENDED = (17).to_bytes(2, "big") + b"\x01\0" + bytes(range(16))
READ_512 = b"\0\x05\x02\0" + (512).to_bytes(4, "big")


def _tasks(pair: Any, ahs: bytes, flags: int = 0xC0, data: bytes = b"", expected: int = 0) -> list[Task]:
    initiator = pair.initiator
    itt = initiator._next_itt()
    command = ScsiCommand(
        flags=flags,
        itt=itt,
        expected_length=expected,
        cmd_sn=initiator._next_cmd_sn(),
        cdb=b"\x7f".ljust(16, b"\xcd"),
    )
    initiator.send(command, data, ahs=ahs)
    wire = b"".join(map(bytes, initiator.data_to_send()))
    return [event for event in pair.connection.receive_data(wire) if isinstance(event, Task)]


def _answer(pair: Any) -> bytes:
    return b"".join(map(bytes, pair.connection.data_to_send()))


@pytest.mark.parametrize("keys", [{}, {"HeaderDigest": "CRC32C"}], ids=["plain", "with a header digest"])
def test_a_cdb_of_32_bytes_comes_whole(connect: Connect, keys: dict[str, str]) -> None:
    pair = connect(keys=keys)
    [task] = _tasks(pair, EXTENDED)
    assert task.cdb == b"\x7f".ljust(16, b"\xcd") + bytes(range(16))


def test_a_long_cdb_that_came_early_comes_whole(connect: Connect) -> None:
    pair = connect()
    missing = pair.initiator._next_cmd_sn()
    assert not _tasks(pair, EXTENDED)
    late, pair.initiator.cmd_sn = pair.initiator.cmd_sn, missing
    pair.initiator.command(b"\0")
    pair.initiator.cmd_sn = late
    events = pair.connection.receive_data(b"".join(map(bytes, pair.initiator.data_to_send())))
    assert [len(event.cdb) for event in events] == [16, 32]


@pytest.mark.parametrize(
    ("moved", "written", "flags", "residuals"),
    [
        (512, 8, 0x80, (0, 0)),
        (500, 8, 0x88, (12, 0)),  # bidirectional underflow
        (600, 8, 0x90, (88, 0)),  # bidirectional overflow
        (512, 20, 0x84, (0, 12)),
        (100, 2, 0x8A, (412, 6)),
    ],
)
def test_both_ways_have_a_residual_each(
    connect: Connect, moved: int, written: int, flags: int, residuals: tuple[int, int]
) -> None:
    pair = connect()
    [task] = _tasks(pair, READ_512, flags=0xE0, data=b"8 bytes.", expected=8)
    assert task.expected_read == 512
    pair.connection.respond(task, Response(0, bytes(moved), b"", written))
    wire = _answer(pair)
    data_in = DataIn.unpack(wire)
    length = int.from_bytes(wire[5:8], "big")
    answer = ScsiResponse.unpack(wire, 48 + length)
    assert length == min(moved, 512)
    assert not data_in.flags & 0x01
    assert (answer.flags, (answer.bidi_residual, answer.residual)) == (flags, residuals)
    assert answer.exp_data_sn == 1


@pytest.mark.parametrize(
    ("ahs", "flags"),
    [
        (b"\0\0\x01\0", 0xC0),  # no length
        (b"\0\x20\x01\0", 0xC0),  # cut off
        (b"\0\x05\x09\0\0\0\0\0", 0xC0),  # of no known type
        (EXTENDED + EXTENDED, 0xC0),  # twice
        (b"\xff\xff\x01\0" * 255, 0xC0),  # as much as there can be
        (EXTENDED, 0xE0),  # both ways, without the expected read length
        (b"\0\x03\x02\0\0\0\0\0", 0xE0),  # a length that is too short
    ],
)
def test_segments_that_cannot_be_are_rejected(connect: Connect, ahs: bytes, flags: int) -> None:
    pair = connect()
    assert not _tasks(pair, ahs, flags=flags)
    assert Reject.unpack(_answer(pair)).reason == 9
    assert not pair.connection.closed
    assert not pair.connection.session.tasks
