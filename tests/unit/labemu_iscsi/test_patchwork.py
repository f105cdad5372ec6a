"""Data-out in any order, as far as it was agreed on (RFC 7143 13.18, 13.19)."""

from __future__ import annotations

import itertools
import os
import struct
from collections.abc import Callable
from typing import Any

import pytest

from labemu_iscsi.pdu import DataOut, ReadyToTransfer, ScsiCommand, ScsiResponse

Connect = Callable[..., Any]
PDUS = {"DataPDUInOrder": "No"}
SEQUENCES = {"DataSequenceInOrder": "No", "MaxOutstandingR2T": "4", "MaxBurstLength": "1024"}
SIZE = 4096
PART = 512


def _cdb(opcode: int) -> bytes:
    return struct.pack(">BxIxHx", opcode, 0, SIZE // 512).ljust(16, b"\0")


def _begin(pair: Any, flags: int = 0xA0) -> tuple[int, list[ReadyToTransfer]]:
    """Send a write without data; its tag, and what the target asks for."""
    initiator = pair.initiator
    itt = initiator._next_itt()
    initiator.send(
        ScsiCommand(flags=flags, itt=itt, expected_length=SIZE, cmd_sn=initiator._next_cmd_sn(), cdb=_cdb(0x2A))
    )
    return itt, _r2ts(pair.deliver())


def _r2ts(wire: bytes) -> list[ReadyToTransfer]:
    return [ReadyToTransfer.unpack(wire, at) for at in range(0, len(wire), 48) if wire[at] == 0x31]


def _parts(r2t: ReadyToTransfer, data: bytes, order: list[int]) -> list[tuple[DataOut, bytes]]:
    """One R2T's data in PDUs of PART bytes, in an order of our own."""
    pdus = []
    for data_sn, index in enumerate(order):
        offset = r2t.offset + index * PART
        flags = 0x80 if data_sn == len(order) - 1 else 0
        pdu = DataOut(flags=flags, itt=r2t.itt, ttt=r2t.ttt, data_sn=data_sn, offset=offset)
        pdus.append((pdu, data[offset : offset + PART]))
    return pdus


def _send(pair: Any, pdus: list[tuple[DataOut, bytes]]) -> bytes:
    for pdu, part in pdus:
        pair.initiator.send(pdu, part)
    return bytes(pair.deliver())


def _read(pair: Any) -> bytes:
    result = pair.initiator.command(_cdb(0x28), read=SIZE)
    pair.exchange()
    return bytes(result.data)


@pytest.mark.parametrize("order", [[7, 6, 5, 4, 3, 2, 1, 0], [0, 2, 4, 6, 1, 3, 5, 7], [3, 0, 7, 1, 5, 2, 6, 4]])
def test_pdus_of_a_sequence_may_come_in_any_order(connect: Connect, order: list[int]) -> None:
    pair = connect(keys=PDUS)
    data = os.urandom(SIZE)
    _, [r2t] = _begin(pair)
    answer = ScsiResponse.unpack(_send(pair, _parts(r2t, data, order)))
    assert answer.status == 0
    assert _read(pair) == data


@pytest.mark.parametrize("order", list(itertools.permutations(range(4)))[::5])
def test_sequences_may_come_in_any_order(connect: Connect, order: tuple[int, ...]) -> None:
    pair = connect(keys=SEQUENCES)
    data = os.urandom(SIZE)
    _, r2ts = _begin(pair)
    assert [(r2t.offset, r2t.r2t_sn) for r2t in r2ts] == [(0, 0), (1024, 1), (2048, 2), (3072, 3)]
    wire = b"".join(_send(pair, _parts(r2ts[index], data, [0, 1])) for index in order)
    assert ScsiResponse.unpack(wire).status == 0
    assert _read(pair) == data


def test_sequences_in_the_wrong_order_fail_where_order_was_agreed_on(connect: Connect) -> None:
    pair = connect(keys=SEQUENCES | {"DataSequenceInOrder": "Yes"})
    _, r2ts = _begin(pair)
    answer = ScsiResponse.unpack(_send(pair, _parts(r2ts[1], bytes(SIZE), [0, 1])))
    assert answer.status == 2


@pytest.mark.parametrize(
    "spoil",
    [
        lambda pdus: pdus[1:],  # one is missing
        lambda pdus: [pdus[0], *pdus],  # one comes twice
        lambda pdus: [(DataOut(itt=pdus[0][0].itt, ttt=pdus[0][0].ttt, offset=SIZE), b"beyond")],
        lambda pdus: [(DataOut(itt=pdus[0][0].itt, ttt=4711), b"nobody asked")],
        lambda pdus: [(DataOut(itt=pdus[0][0].itt), b"unsolicited")],
    ],
)
def test_data_that_does_not_fit_fails_its_command_alone(connect: Connect, spoil: Any) -> None:
    pair = connect(keys=PDUS)
    _, [r2t] = _begin(pair)
    wire = _send(pair, spoil(_parts(r2t, bytes(SIZE), list(range(8)))))
    assert ScsiResponse.unpack(wire).status == 2
    assert (wire[50] & 0x0F, wire[62], wire[63])[1:] == (0x4B, 0x00)
    assert not pair.connection.closed
    assert not pair.connection.session.r2ts
    assert not pair.connection.session.solicited


def test_unsolicited_data_may_end_early_and_the_rest_is_asked_for(connect: Connect) -> None:
    pair = connect(keys=PDUS | {"InitialR2T": "No", "ImmediateData": "No"})
    data = os.urandom(SIZE)
    itt, r2ts = _begin(pair, flags=0x20)
    assert not r2ts
    first = [
        (DataOut(itt=itt, flags=0, data_sn=0, offset=512), data[512:1024]),
        (DataOut(itt=itt, data_sn=1, offset=0), data[:512]),
    ]
    [r2t] = _r2ts(_send(pair, first))
    assert (r2t.offset, r2t.length) == (1024, SIZE - 1024)
    assert ScsiResponse.unpack(_send(pair, _parts(r2t, data, list(range(6))))).status == 0
    assert _read(pair) == data
