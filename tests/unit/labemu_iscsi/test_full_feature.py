"""Commands, data and task management between two engines, without a socket."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from typing import Any

import pytest

from labemu_iscsi.limits import COMMAND_WINDOW, MAX_RECEIVE_DATA
from labemu_iscsi.pdu import (
    DataIn,
    DataOut,
    LogoutResponse,
    NopIn,
    ReadyToTransfer,
    Reject,
    ScsiCommand,
    ScsiResponse,
    SnackRequest,
    TaskManagementResponse,
)

Connect = Callable[..., Any]
KIB = 1024
MIB = 1024 * KIB
TEST_UNIT_READY = bytes(6)
SYNCHRONIZE = b"\x35"


def read10(lba: int, blocks: int) -> bytes:
    return struct.pack(">BxIxHx", 0x28, lba, blocks)


def write10(lba: int, blocks: int) -> bytes:
    return struct.pack(">BxIxHx", 0x2A, lba, blocks)


KEYS = [
    {},
    {"InitialR2T": "No", "MaxBurstLength": "1048576", "FirstBurstLength": "262144"},
    {"ImmediateData": "No"},
    {"HeaderDigest": "CRC32C", "DataDigest": "CRC32C"},
    {"MaxRecvDataSegmentLength": "512", "MaxBurstLength": "1024"},
    {"MaxOutstandingR2T": "4", "MaxBurstLength": "4096", "FirstBurstLength": "512"},
]


@pytest.mark.parametrize("keys", KEYS, ids=lambda keys: ",".join(keys) or "defaults")
@pytest.mark.parametrize("blocks", [1, 3, 129, 2048])
def test_what_is_written_is_read_whatever_was_negotiated(connect: Connect, keys: dict[str, str], blocks: int) -> None:
    pair = connect(keys=keys)
    data = os.urandom(blocks * 512)
    written = pair.initiator.command(write10(7, blocks), data=data)
    pair.exchange()
    assert (written.status, written.residual) == (0, 0)
    result = pair.initiator.command(read10(7, blocks), read=len(data))
    pair.exchange()
    assert (result.status, result.residual) == (0, 0)
    assert bytes(result.data) == data
    assert not pair.connection.session.tasks
    assert not pair.connection.session.solicited


@pytest.mark.parametrize("chunk", [1, 7, 47, 48, 49, 1000])
def test_any_chunking_gives_the_same(connect: Connect, chunk: int) -> None:
    pair = connect(chunk=chunk, keys={"HeaderDigest": "CRC32C", "DataDigest": "CRC32C", "MaxBurstLength": "2048"})
    data = os.urandom(16 * 512)
    pair.initiator.command(write10(0, 16), data=data)
    pair.exchange()
    result = pair.initiator.command(read10(0, 16), read=len(data))
    pair.exchange()
    assert bytes(result.data) == data


def test_an_r2t_transcript(connect: Connect) -> None:
    pair = connect(keys={"ImmediateData": "No", "MaxBurstLength": "1024"})
    pair.initiator.received.clear()
    pair.initiator.command(write10(0, 5), data=bytes(2560))
    pair.exchange()
    told = [pdu for pdu, _ in pair.initiator.received]
    assert [(pdu.r2t_sn, pdu.offset, pdu.length) for pdu in told if isinstance(pdu, ReadyToTransfer)] == [
        (0, 0, 1024),
        (1, 1024, 1024),
        (2, 2048, 512),
    ]
    assert isinstance(told[-1], ScsiResponse)
    assert told[-1].exp_data_sn == 3


def test_a_long_read_comes_in_pdus_that_the_initiator_takes(connect: Connect) -> None:
    pair = connect(keys={"MaxRecvDataSegmentLength": "1024", "MaxBurstLength": "2048"})
    pair.initiator.received.clear()
    pair.initiator.command(read10(0, 7), read=3584)
    pair.exchange()
    parts = [
        (pdu.data_sn, pdu.offset, len(data), pdu.flags)
        for pdu, data in pair.initiator.received
        if isinstance(pdu, DataIn)
    ]
    assert parts == [(0, 0, 1024, 0), (1, 1024, 1024, 0x80), (2, 2048, 1024, 0), (3, 3072, 512, 0x80)]
    last = pair.initiator.received[-1][0]
    assert isinstance(last, ScsiResponse)
    assert last.exp_data_sn == 4


@pytest.mark.parametrize(
    ("expected", "residual", "flag", "moved"), [(512, 512, 0x04, 512), (2048, 1024, 0x02, 1024), (200, 824, 0x04, 200)]
)
def test_residuals_of_a_read(connect: Connect, expected: int, residual: int, flag: int, moved: int) -> None:
    pair = connect()
    result = pair.initiator.command(read10(0, 2), read=expected)
    pair.exchange()
    assert (result.status, result.residual, result.residual_flags, len(result.data)) == (0, residual, flag, moved)


def test_residuals_of_a_write_and_only_the_blocks_that_came_are_written(connect: Connect) -> None:
    pair = connect()
    result = pair.initiator.command(write10(0, 3), data=b"x" * 1200)
    pair.exchange()
    assert (result.status, result.residual, result.residual_flags) == (0, 336, 0x04)
    read = pair.initiator.command(read10(0, 3), read=1536)
    pair.exchange()
    assert bytes(read.data) == b"x" * 1024 + bytes(512)


def test_a_ping_is_echoed(connect: Connect) -> None:
    pair = connect()
    itt = pair.initiator.ping(b"are you there")
    pair.exchange()
    pdu, data = pair.initiator.received[-1]
    assert isinstance(pdu, NopIn)
    assert (pdu.itt, data) == (itt, b"are you there")


def test_logout_is_answered_and_ends_the_session(connect: Connect) -> None:
    pair = connect()
    pair.initiator.logout()
    pair.exchange()
    pdu, _ = pair.initiator.received[-1]
    assert isinstance(pdu, LogoutResponse)
    assert pdu.response == 0
    assert pair.connection.closed
    assert pair.connection.error == "logout"


def test_commands_out_of_order_wait_for_their_turn(connect: Connect) -> None:
    pair = connect()
    initiator = pair.initiator
    first, second = initiator.cmd_sn, initiator.cmd_sn + 1
    initiator.cmd_sn = second
    late = initiator.command(TEST_UNIT_READY)
    pair.exchange()
    assert late.status is None
    initiator.cmd_sn = first
    early = initiator.command(TEST_UNIT_READY)
    pair.exchange()
    assert (early.status, late.status) == (0, 0)


@pytest.mark.parametrize("distance", [-1, COMMAND_WINDOW, 1 << 31])
def test_commands_outside_of_the_window_are_ignored(connect: Connect, distance: int) -> None:
    pair = connect()
    pair.initiator.cmd_sn = (pair.initiator.cmd_sn + distance) & 0xFFFFFFFF
    result = pair.initiator.command(TEST_UNIT_READY)
    pair.exchange()
    assert result.status is None
    assert not pair.connection.closed


def test_the_window_closes_when_it_is_full_and_opens_again(connect: Connect) -> None:
    pair = connect()
    pair.hold = True
    results = [pair.initiator.command(SYNCHRONIZE) for _ in range(COMMAND_WINDOW + 3)]
    pair.exchange()
    assert len(pair.deferred) == COMMAND_WINDOW
    session = pair.connection.session
    assert session.max_cmd_sn == session.exp_cmd_sn - 1
    pair.release()
    assert [result.status for result in results] == [0] * COMMAND_WINDOW + [None] * 3
    assert session.max_cmd_sn == session.exp_cmd_sn + COMMAND_WINDOW - 1


def test_an_aborted_task_is_never_answered(connect: Connect) -> None:
    pair = connect()
    pair.hold = True
    result = pair.initiator.command(SYNCHRONIZE)
    pair.exchange()
    itt = max(pair.initiator.results)
    pair.initiator.manage(1, referenced_tag=itt)
    pair.exchange()
    answer, _ = pair.initiator.received[-1]
    assert isinstance(answer, TaskManagementResponse)
    assert answer.response == 0
    pair.release()
    assert result.status is None
    assert not pair.connection.session.tasks


@pytest.mark.parametrize(
    ("function", "lun", "response"), [(1, 0, 1), (2, 0, 0), (5, 0, 0), (5, 9, 2), (6, 0, 0), (8, 0, 4), (77, 0, 255)]
)
def test_task_management_says_how_it_went(connect: Connect, function: int, lun: int, response: int) -> None:
    pair = connect()
    pair.initiator.manage(function, lun=lun)
    pair.exchange()
    answer, _ = pair.initiator.received[-1]
    assert isinstance(answer, TaskManagementResponse)
    assert answer.response == response


def test_a_reset_of_the_unit_is_told_to_every_session(connect: Connect) -> None:
    one, two = connect(), connect(isid=b"\x80\0\0\0\0\x02")
    one.initiator.manage(5)
    one.exchange()
    for pair in (one, two):
        result = pair.initiator.command(TEST_UNIT_READY)
        pair.exchange()
        assert result.sense_triple == (6, 0x29, 0x03)


@pytest.mark.parametrize(
    "fields", [{"data_sn": 1}, {"offset": 512}, {"ttt": 4711}, {"flags": 0}], ids=lambda fields: next(iter(fields))
)
def test_solicited_data_out_of_order_fails_its_command_alone(connect: Connect, fields: dict[str, int]) -> None:
    pair = connect(keys={"ImmediateData": "No"})
    initiator = pair.initiator
    data = bytes(1024)
    itt = initiator.last_itt + 1
    initiator.send(
        ScsiCommand(
            flags=0xA0, itt=itt, expected_length=1024, cmd_sn=initiator.cmd_sn, cdb=write10(0, 2).ljust(16, b"\0")
        )
    )
    initiator.cmd_sn += 1
    initiator._numbers.itt = itt
    for event in pair.connection.receive_data(b"".join(map(bytes, initiator.data_to_send()))):
        pair.service.handle(event)
    r2t = ReadyToTransfer.unpack(b"".join(map(bytes, pair.connection.data_to_send())))
    bad = DataOut(**{"itt": itt, "ttt": r2t.ttt, **fields})
    for event in pair.connection.receive_data(bad.encode(data)):
        pair.service.handle(event)
    wire = b"".join(map(bytes, pair.connection.data_to_send()))
    answer = ScsiResponse.unpack(wire)
    assert answer.status == 2
    assert (wire[52] & 0x0F, wire[62], wire[63]) == (0x0B, 0x4B, 0x00)
    assert not pair.connection.closed
    assert not pair.connection.session.r2ts
    assert not pair.connection.session.solicited


@pytest.mark.parametrize(
    ("pdu", "reason", "fatal"),
    [
        (SnackRequest(itt=99), 3, False),
        (ScsiCommand(immediate=True, flags=0xA0, itt=99, expected_length=4), 4, True),
    ],
)
def test_what_cannot_be_is_rejected_with_its_header(connect: Connect, pdu: Any, reason: int, fatal: bool) -> None:
    pair = connect()
    pair.initiator.send(pdu, b"12345678" if fatal else b"")
    pair.exchange()
    answer, header = pair.initiator.received[-1]
    assert isinstance(answer, Reject)
    assert answer.reason == reason
    assert header[0] & 0x3F == pdu.opcode
    assert pair.connection.closed is fatal


def test_a_header_digest_that_does_not_match_ends_the_connection(connect: Connect) -> None:
    pair = connect(keys={"HeaderDigest": "CRC32C"})
    pair.initiator.ping()
    wire = bytearray(b"".join(map(bytes, pair.initiator.data_to_send())))
    wire[20] ^= 1
    pair.connection.receive_data(wire)
    assert pair.connection.error == "header digest error"


def test_a_data_digest_that_does_not_match_is_rejected(connect: Connect) -> None:
    pair = connect(keys={"DataDigest": "CRC32C"})
    pair.initiator.ping(b"data")
    wire = bytearray(b"".join(map(bytes, pair.initiator.data_to_send())))
    wire[48] ^= 1
    pair.connection.receive_data(wire)
    pair.exchange()
    answer, _ = pair.initiator.received[-1]
    assert isinstance(answer, Reject)
    assert answer.reason == 2
    assert pair.connection.closed


def test_a_data_segment_beyond_what_we_declared_ends_the_connection(connect: Connect) -> None:
    pair = connect()
    pair.connection.receive_data(b"\0\x80\0\0\0" + (MAX_RECEIVE_DATA + 1).to_bytes(3, "big") + bytes(40))
    assert pair.connection.closed


def test_a_write_larger_than_the_session_may_hold_waits_for_room(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labemu_iscsi.budget.SESSION_DATA", 300 * KIB)
    pair = connect(keys={"ImmediateData": "No", "MaxBurstLength": "32768"})
    results = [pair.initiator.command(write10(number * 256, 256), data=os.urandom(128 * KIB)) for number in range(6)]
    for event in pair.connection.receive_data(b"".join(map(bytes, pair.initiator.data_to_send()))):
        pair.service.handle(event)
    assert pair.connection.session.solicited <= 300 * KIB
    pair.initiator.receive_data(b"".join(map(bytes, pair.connection.data_to_send())))
    pair.exchange()
    assert [result.status for result in results] == [0] * 6


def _stuck(pair: Any, size: int) -> Any:
    """A write whose R2T, if one came, stays unanswered; the offsets that were asked for so far."""
    result = pair.initiator.command(write10(0, size // 512), data=bytes(size))
    pair.stuck = pair.deliver()
    return result


def test_sessions_share_the_nodes_room_and_each_goes_on_with_a_burst_at_least(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labemu_iscsi.budget.NODE_DATA", 3 * MIB)
    keys = {"ImmediateData": "No"}
    greedy, other = connect(keys=keys), connect(keys=keys, isid=b"\x80\0\0\0\0\x02")
    held = _stuck(greedy, 3 * MIB)
    assert greedy.stuck
    large = _stuck(other, 2 * MIB)
    assert not other.stuck  # no R2T: it waits for room
    small = other.initiator.command(write10(0, 8), data=bytes(4096))
    other.exchange()
    assert (small.status, large.status) == (0, None)
    greedy.initiator.receive_data(greedy.stuck)
    greedy.exchange()
    other.exchange()
    assert (held.status, large.status) == (0, 0)
    assert other.connection.session.budget.taken == 0


def test_a_session_that_ends_gives_its_room_back(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labemu_iscsi.budget.NODE_DATA", 3 * MIB)
    keys = {"ImmediateData": "No"}
    greedy, other = connect(keys=keys), connect(keys=keys, isid=b"\x80\0\0\0\0\x02")
    woken: list[str] = []
    other.connection.wake = lambda: woken.append("other")
    _stuck(greedy, 3 * MIB)
    large = _stuck(other, 2 * MIB)
    greedy.connection.connection_lost()
    assert woken == ["other"]
    other.exchange()
    assert large.status == 0
