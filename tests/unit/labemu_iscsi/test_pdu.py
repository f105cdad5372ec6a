"""Objects and their bytes, one table, both ways. The bytes were laid out by hand from RFC 7143's figures."""

from __future__ import annotations

import pytest

from labemu_iscsi.errors import NotSupported
from labemu_iscsi.pdu import (
    BY_OPCODE,
    AsyncMessage,
    DataIn,
    DataOut,
    LoginRequest,
    LoginResponse,
    LogoutRequest,
    LogoutResponse,
    NopIn,
    NopOut,
    Pdu,
    ReadyToTransfer,
    Reject,
    ScsiCommand,
    ScsiResponse,
    SnackRequest,
    TaskManagementRequest,
    TaskManagementResponse,
    TextRequest,
    TextResponse,
    decode,
)

LUN = bytes.fromhex("0001000000000000")
CASES: list[tuple[Pdu, str]] = [
    (
        NopOut(immediate=True, lun=LUN, itt=5, ttt=6, cmd_sn=7, exp_stat_sn=8),
        "40800000 00000000 00010000 00000000 00000005 00000006 00000007 00000008" + " 00000000" * 4,
    ),
    (
        ScsiCommand(flags=0xC1, lun=LUN, itt=1, expected_length=512, cmd_sn=2, exp_stat_sn=3, cdb=bytes(range(16))),
        "01c10000 00000000 00010000 00000000 00000001 00000200 00000002 00000003 00010203 04050607 08090a0b 0c0d0e0f",
    ),
    (
        TaskManagementRequest(
            flags=0x81, lun=LUN, itt=1, referenced_tag=2, cmd_sn=3, exp_stat_sn=4, ref_cmd_sn=5, exp_data_sn=6
        ),
        "02810000 00000000 00010000 00000000 00000001 00000002 00000003 00000004 00000005 00000006 00000000 00000000",
    ),
    (
        LoginRequest(immediate=True, flags=0x87, lun=b"\x80\0\0\0\0\x01\0\x02", itt=1, cid=3, cmd_sn=4, exp_stat_sn=5),
        "43870000 00000000 80000000 00010002 00000001 00030000 00000004 00000005" + " 00000000" * 4,
    ),
    (
        TextRequest(itt=1, cmd_sn=2, exp_stat_sn=3),
        "04800000 00000000 00000000 00000000 00000001 ffffffff 00000002 00000003" + " 00000000" * 4,
    ),
    (
        DataOut(lun=LUN, itt=1, ttt=2, exp_stat_sn=3, data_sn=4, offset=5),
        "05800000 00000000 00010000 00000000 00000001 00000002 00000000 00000003 00000000 00000004 00000005 00000000",
    ),
    (
        LogoutRequest(flags=0x81, itt=1, cid=2, cmd_sn=3, exp_stat_sn=4),
        "06810000 00000000 00000000 00000000 00000001 00020000 00000003 00000004" + " 00000000" * 4,
    ),
    (
        SnackRequest(flags=0x80, lun=LUN, itt=1, ttt=2, exp_stat_sn=3, begin_run=4, run_length=5),
        "10800000 00000000 00010000 00000000 00000001 00000002 00000000 00000003 00000000 00000000 00000004 00000005",
    ),
    (
        NopIn(lun=LUN, itt=1, stat_sn=2, exp_cmd_sn=3, max_cmd_sn=4),
        "20800000 00000000 00010000 00000000 00000001 ffffffff 00000002 00000003 00000004 00000000 00000000 00000000",
    ),
    (
        ScsiResponse(
            flags=0x82, response=1, status=2, itt=3, stat_sn=4, exp_cmd_sn=5, max_cmd_sn=6, exp_data_sn=7, residual=8
        ),
        "21820102 00000000 00000000 00000000 00000003 00000000 00000004 00000005 00000006 00000007 00000000 00000008",
    ),
    (
        TaskManagementResponse(response=5, itt=1, stat_sn=2, exp_cmd_sn=3, max_cmd_sn=4),
        "22800500 00000000 00000000 00000000 00000001 00000000 00000002 00000003 00000004 00000000 00000000 00000000",
    ),
    (
        LoginResponse(
            flags=0x87,
            lun=bytes(7) + b"\x09",
            itt=1,
            stat_sn=2,
            exp_cmd_sn=3,
            max_cmd_sn=4,
            status_class=2,
            status_detail=7,
        ),
        "23870000 00000000 00000000 00000009 00000001 00000000 00000002 00000003 00000004 02070000 00000000 00000000",
    ),
    (
        TextResponse(itt=1, stat_sn=2, exp_cmd_sn=3, max_cmd_sn=4),
        "24800000 00000000 00000000 00000000 00000001 ffffffff 00000002 00000003 00000004 00000000 00000000 00000000",
    ),
    (
        DataIn(flags=0x81, status=2, itt=1, stat_sn=2, exp_cmd_sn=3, max_cmd_sn=4, data_sn=5, offset=6, residual=7),
        "25810002 00000000 00000000 00000000 00000001 ffffffff 00000002 00000003 00000004 00000005 00000006 00000007",
    ),
    (
        LogoutResponse(response=1, itt=1, stat_sn=2, exp_cmd_sn=3, max_cmd_sn=4, time2wait=5, time2retain=6),
        "26800100 00000000 00000000 00000000 00000001 00000000 00000002 00000003 00000004 00000000 00050006 00000000",
    ),
    (
        ReadyToTransfer(lun=LUN, itt=1, ttt=2, stat_sn=3, exp_cmd_sn=4, max_cmd_sn=5, r2t_sn=6, offset=7, length=8),
        "31800000 00000000 00010000 00000000 00000001 00000002 00000003 00000004 00000005 00000006 00000007 00000008",
    ),
    (
        AsyncMessage(
            lun=LUN, stat_sn=1, exp_cmd_sn=2, max_cmd_sn=3, event=1, vendor_code=4, parameter1=5, parameter3=7
        ),
        "32800000 00000000 00010000 00000000 ffffffff 00000000 00000001 00000002 00000003 01040005 00000007 00000000",
    ),
    (
        Reject(reason=4, stat_sn=1, exp_cmd_sn=2, max_cmd_sn=3, data_sn=5),
        "3f800400 00000000 00000000 00000000 ffffffff 00000000 00000001 00000002 00000003 00000005 00000000 00000000",
    ),
]


@pytest.mark.parametrize(("pdu", "wire"), CASES, ids=[type(pdu).__name__ for pdu, _ in CASES])
def test_a_pdu_is_written_as_its_bytes(pdu: Pdu, wire: str) -> None:
    assert pdu.pack().hex() == wire.replace(" ", "")


@pytest.mark.parametrize(("pdu", "wire"), CASES, ids=[type(pdu).__name__ for pdu, _ in CASES])
def test_bytes_are_read_as_their_pdu(pdu: Pdu, wire: str) -> None:
    assert decode(bytes.fromhex(wire)) == pdu


def test_the_table_has_every_pdu() -> None:
    assert {type(pdu) for pdu, _ in CASES} == set(BY_OPCODE.values())


def test_data_is_padded_to_four_bytes_and_its_length_is_told() -> None:
    wire = NopOut(itt=1).encode(b"abcde")
    assert wire[4:8].hex() == "00000005"
    assert wire[48:] == b"abcde\0\0\0"


def test_an_unknown_opcode_is_refused() -> None:
    with pytest.raises(NotSupported):
        decode(bytes((0x1C,)) + bytes(47))
