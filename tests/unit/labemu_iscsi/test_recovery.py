"""Error recovery level 1 (RFC 7143 7.1.4.2): what is lost or damaged on the way is sent again, and nobody above notices."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from typing import Any

import pytest

from labemu_iscsi.initiator import Result
from labemu_iscsi.limits import DATA_TIMEOUT, MAX_REQUESTS, RETAINED_DATA, RETAINED_PDUS
from labemu_iscsi.pdu import DataIn, DataOut, NopIn, NopOut, ReadyToTransfer, Reject, ScsiCommand, ScsiResponse, decode

Connect = Callable[..., Any]
LEVEL_1 = {"ErrorRecoveryLevel": "1"}
DIGESTS = {"HeaderDigest": "CRC32C", "DataDigest": "CRC32C"}


def _read(lba: int, blocks: int) -> bytes:
    return struct.pack(">BxIxHx", 0x28, lba, blocks)


def _write(lba: int, blocks: int) -> bytes:
    return struct.pack(">BxIxHx", 0x2A, lba, blocks)


def _pdus(wire: bytes, digests: bool = False) -> list[tuple[Any, bytes]]:
    """What a stream of PDUs is made of, each with its bytes."""
    pdus = []
    while wire:
        size = int.from_bytes(wire[5:8], "big")
        end = 48 + (size + 3 & ~3) + (4 + 4 * bool(size)) * digests
        pdus.append((decode(wire[:48]), wire[:end]))
        wire = wire[end:]
    return pdus


def _reject(pair: Any) -> Reject | None:
    return next((pdu for pdu, _ in pair.initiator.received if isinstance(pdu, Reject)), None)


def test_a_lost_status_is_sent_again_with_its_number(connect: Connect) -> None:
    pair = connect(keys=LEVEL_1)
    result = pair.initiator.command(b"\0")
    [(lost, _)] = _pdus(pair.deliver())
    assert isinstance(lost, ScsiResponse)
    pair.initiator.snack(1, begin=lost.stat_sn, count=1)
    pair.exchange()
    again, _ = pair.initiator.received[-1]
    assert again == lost
    assert result.status == 0


def test_all_status_from_a_number_on_can_be_asked_for(connect: Connect) -> None:
    pair = connect(keys=LEVEL_1)
    results = [pair.initiator.command(b"\0") for _ in range(3)]
    lost = _pdus(pair.deliver())
    pair.initiator.snack(1, begin=lost[0][0].stat_sn)
    pair.exchange()
    assert [result.status for result in results] == [0, 0, 0]


def test_lost_data_in_is_sent_again(connect: Connect) -> None:
    pair = connect(keys=LEVEL_1 | {"MaxRecvDataSegmentLength": "1024", "MaxBurstLength": "4096"})
    data = os.urandom(8192)
    pair.initiator.command(_write(0, 16), data=data)
    pair.exchange()
    pair.initiator.acknowledge = False
    result = pair.initiator.command(_read(0, 16), read=8192)
    sent = _pdus(pair.deliver())
    for pdu, wire in sent:
        if not (isinstance(pdu, DataIn) and pdu.data_sn in (2, 3)):
            pair.initiator.receive_data(wire)
    assert bytes(result.data) != data
    pair.initiator.snack(0, itt=sent[0][0].itt, begin=2, count=2)
    again = _pdus(pair.deliver())
    assert [pdu.data_sn for pdu, _ in again if isinstance(pdu, DataIn)] == [2, 3]
    for _, wire in again:
        pair.initiator.receive_data(wire)
    assert bytes(result.data) == data


def test_a_lost_r2t_is_sent_again(connect: Connect) -> None:
    pair = connect(keys=LEVEL_1 | {"ImmediateData": "No"})
    result = pair.initiator.command(_write(0, 2), data=os.urandom(1024))
    [(lost, _)] = _pdus(pair.deliver())
    assert isinstance(lost, ReadyToTransfer)
    pair.initiator.snack(0, itt=lost.itt)
    pair.exchange()
    assert result.status == 0


@pytest.mark.parametrize(
    ("kind", "fields", "reason"),
    [
        (0, {"itt": 4711}, 3),
        (0, {"itt": 4711, "begin": 5, "count": 9}, 3),
        (1, {"begin": 0x7000_0000, "count": 2}, 3),
        (1, {"begin": 0, "count": 0xFFFF}, 3),
        (2, {"ttt": 99, "begin": 1}, 8),
        (3, {"itt": 1}, 3),
    ],
)
def test_a_snack_for_what_is_not_kept_is_rejected(
    connect: Connect, kind: int, fields: dict[str, int], reason: int
) -> None:
    pair = connect(keys=LEVEL_1)
    pair.initiator.snack(kind, **fields)
    pair.exchange()
    answer = _reject(pair)
    assert answer is not None
    assert answer.reason == reason
    assert not pair.connection.closed


def test_a_snack_of_no_known_kind_ends_the_connection(connect: Connect) -> None:
    pair = connect(keys=LEVEL_1)
    pair.initiator.snack(9)
    pair.exchange()
    assert pair.connection.error == "SNACK of type 9"


def test_what_is_acknowledged_is_not_kept(connect: Connect) -> None:
    pair = connect(keys=LEVEL_1 | {"MaxRecvDataSegmentLength": "1024", "MaxBurstLength": "4096"})
    for _ in range(20):
        pair.initiator.command(_read(0, 16), read=8192)
        pair.exchange()
    pair.initiator.send(NopOut(immediate=True))
    pair.exchange()
    assert pair.connection.sender.retained == (0, 0)


def test_data_is_acknowledged_at_the_end_of_each_burst(connect: Connect) -> None:
    pair = connect(keys=LEVEL_1 | {"MaxRecvDataSegmentLength": "1024", "MaxBurstLength": "2048"})
    pair.initiator.command(_read(0, 12), read=6144)
    asked = [pdu for pdu, _ in _pdus(pair.deliver()) if isinstance(pdu, DataIn) and pdu.flags & 0x40]
    assert [pdu.data_sn for pdu in asked] == [1, 3, 5]
    before = pair.connection.sender.retained[1]
    pair.initiator.snack(2, ttt=asked[1].ttt, begin=4)
    pair.deliver()
    assert before - pair.connection.sender.retained[1] == 4 * (1024 + 48)


def test_an_initiator_that_never_acknowledges_costs_no_more_than_the_limit(connect: Connect) -> None:
    pair = connect(keys=LEVEL_1, acknowledge=False)
    for _ in range(40):
        pair.initiator.command(_read(0, 2048), read=1 << 20)
        pair.deliver()
    assert pair.connection.sender.retained[1] <= RETAINED_DATA
    pair.initiator.snack(0, itt=2)  # the first of the reads, which had to go
    assert Reject.unpack(pair.deliver()).reason == 3
    for _ in range(RETAINED_PDUS + 10):
        pair.initiator.ping(b"x")
    pair.deliver()
    assert pair.connection.sender.retained[0] <= RETAINED_PDUS


@pytest.mark.parametrize("final", [False, True], ids=["within its sequence", "at its end"])
def test_damaged_data_out_is_asked_for_again(connect: Connect, final: bool) -> None:
    pair = connect(keys=LEVEL_1 | DIGESTS | {"ImmediateData": "No", "MaxBurstLength": "2048"})
    pair.initiator.answers["MaxRecvDataSegmentLength"] = "512"  # so that it sends small PDUs
    data = os.urandom(2048)
    spoiled = []

    def spoil(out: bytes) -> bytes:
        wire = b""
        for pdu, raw in _pdus(out, digests=True):
            if isinstance(pdu, DataOut) and bool(pdu.flags & 0x80) is final and not spoiled:
                spoiled.append(pdu)
                raw = raw[:60] + bytes((raw[60] ^ 1,)) + raw[61:]
            wire += raw
        return wire

    pair.spoil = spoil
    result = pair.initiator.command(_write(3, 4), data=data)
    pair.exchange()
    assert spoiled
    answer = _reject(pair)
    assert answer is not None
    assert answer.reason == 2
    assert result.status == 0
    read = pair.initiator.command(_read(3, 4), read=2048)
    pair.exchange()
    assert bytes(read.data) == data


def test_damaged_unsolicited_data_is_asked_for_again(connect: Connect) -> None:
    pair = connect(keys=LEVEL_1 | DIGESTS | {"InitialR2T": "No", "ImmediateData": "No"})
    initiator = pair.initiator
    data = os.urandom(2048)
    itt = initiator.last_itt + 1
    result = initiator.results[itt] = Result(data_out=data)
    initiator.send(
        ScsiCommand(
            flags=0x20, itt=itt, expected_length=2048, cmd_sn=initiator.cmd_sn, cdb=_write(0, 4).ljust(16, b"\0")
        )
    )
    initiator.cmd_sn += 1
    initiator._numbers.itt = itt
    for number in range(4):
        part = data[number * 512 : number * 512 + 512]
        flags = 0x80 if number == 3 else 0
        initiator.send(DataOut(flags=flags, itt=itt, data_sn=number, offset=number * 512), part)
        if number == 1:
            initiator._output[-1] = b"\0\0\0\0"  # the data digest
    pair.exchange()
    assert result.status == 0
    read = initiator.command(_read(0, 4), read=2048)
    pair.exchange()
    assert bytes(read.data) == data


def _lossy(pair: Any, *, times: int, final: bool = True) -> list[DataOut]:
    """Lose Data-Out PDUs on their way: those that end a sequence, or the first of each."""
    lost: list[DataOut] = []

    def spoil(out: bytes) -> bytes:
        wire = b""
        for pdu, raw in _pdus(out):
            if isinstance(pdu, DataOut) and bool(pdu.flags & 0x80) is final and len(lost) < times:
                lost.append(pdu)
                continue
            wire += raw
        return wire

    pair.spoil = spoil
    return lost


def test_data_out_that_does_not_come_is_asked_for_again_after_a_while(connect: Connect) -> None:
    pair = connect(keys=LEVEL_1 | {"ImmediateData": "No", "MaxBurstLength": "2048"})
    pair.initiator.answers["MaxRecvDataSegmentLength"] = "512"
    data, lost = os.urandom(2048), _lossy(pair, times=1)
    result = pair.initiator.command(_write(3, 4), data=data)
    pair.exchange()
    assert lost
    for now in (0.0, DATA_TIMEOUT - 0.1):
        pair.connection.check_deadline(now)
        pair.exchange()
        assert result.status is None
    pair.connection.check_deadline(DATA_TIMEOUT)
    pair.exchange()
    assert result.status == 0
    asked = [pdu for pdu, _ in pair.initiator.received if isinstance(pdu, ReadyToTransfer)]
    assert [(each.offset, each.length) for each in asked] == [(0, 2048), (1536, 512)]
    read = pair.initiator.command(_read(3, 4), read=2048)
    pair.exchange()
    assert bytes(read.data) == data


def test_data_that_never_comes_ends_its_command_and_nothing_else(connect: Connect) -> None:
    pair = connect(keys=LEVEL_1 | {"ImmediateData": "No"})
    lost = _lossy(pair, times=MAX_REQUESTS + 1)
    result = pair.initiator.command(_write(3, 1), data=bytes(512))
    pair.exchange()
    for turn in range(MAX_REQUESTS + 2):
        assert result.status is None
        pair.connection.check_deadline(turn * DATA_TIMEOUT)
        pair.exchange()
    assert len(lost) == MAX_REQUESTS + 1
    assert result.status == 2
    assert result.sense_triple == (0x0B, 0x4B, 0x00)
    good = pair.initiator.command(_write(3, 1), data=bytes(512))
    pair.exchange()
    assert good.status == 0


def test_data_that_was_only_late_harms_nothing(connect: Connect) -> None:
    pair = connect(keys=LEVEL_1 | {"ImmediateData": "No"})
    late: list[bytes] = []

    def hold(out: bytes) -> bytes:
        wire = b""
        for pdu, raw in _pdus(out):
            if isinstance(pdu, DataOut) and not late:
                late.append(raw)
                continue
            wire += raw
        return wire

    pair.spoil = hold
    result = pair.initiator.command(_write(3, 1), data=b"d" * 512)
    pair.exchange()
    pair.connection.check_deadline(0.0)
    pair.connection.check_deadline(DATA_TIMEOUT)
    for event in pair.connection.receive_data(late[0]):
        pair.service.handle(event)
    assert result.status is None
    pair.exchange()
    assert result.status == 0
    assert not pair.connection.closed


def test_a_header_that_is_damaged_costs_one_pdu_and_no_more(connect: Connect) -> None:
    pair = connect(keys=LEVEL_1 | DIGESTS)
    pair.initiator.ping(b"lost")
    wire = bytearray(b"".join(map(bytes, pair.initiator.data_to_send())))
    wire[20] ^= 1
    pair.connection.receive_data(wire)
    assert not pair.connection.closed
    pair.initiator.cmd_sn -= 1
    pair.initiator.ping(b"heard")
    pair.exchange()
    pdu, data = pair.initiator.received[-1]
    assert isinstance(pdu, NopIn)
    assert data == b"heard"


def test_headers_damaged_in_a_row_end_the_connection(connect: Connect) -> None:
    pair = connect(keys=LEVEL_1 | DIGESTS)
    for _ in range(2):
        pair.initiator.ping()
    wire = bytearray(b"".join(map(bytes, pair.initiator.data_to_send())))
    wire[20] ^= 1
    wire[72] ^= 1
    pair.connection.receive_data(wire)
    assert pair.connection.error == "header digest error"


def test_a_damaged_command_is_rejected_and_taken_when_it_comes_again(connect: Connect) -> None:
    pair = connect(keys=LEVEL_1 | DIGESTS)
    data = os.urandom(512)
    pair.initiator.command(_write(0, 1), data=data)
    good = b"".join(map(bytes, pair.initiator.data_to_send()))
    bad = bytearray(good)
    bad[100] ^= 1
    pair.connection.receive_data(bad)
    for event in pair.connection.receive_data(good):
        pair.service.handle(event)
    pair.exchange()
    answer = _reject(pair)
    assert answer is not None
    assert answer.reason == 2
    assert pair.initiator.results[pair.initiator.last_itt].status == 0
