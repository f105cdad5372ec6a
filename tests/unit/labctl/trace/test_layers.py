"""The scapy layers: what our engines say is taken apart and put together again byte for byte; what is built is what was meant."""

from __future__ import annotations

import pytest
from scapy.layers.inet import IP, TCP

from labctl.trace.layers import iscsi, scsi
from labctl.trace.layers.iscsi import BY_OPCODE, ISCSI, DataIn, LoginRequest, NopOut, ScsiCommand, keys, text
from labctl.trace.layers.rpc import RPC, dissect
from labctl.trace.layers.scsi import CDB
from labemu_iscsi import pdu as engine

from .conversations import INITIATOR, Said, nfs3, nfs4
from .conversations import iscsi as spoken


def pdus(said: Said, side: int, *, digests: bool) -> list[bytes]:
    """The PDUs of one side; digests begin behind the login."""
    data = b"".join(part for who, part in said if who == side)
    found = []
    while data:
        login = data[0] & 0x3F in (3, 0x23)
        size = int.from_bytes(data[5:8], "big")
        end = 48 + 4 * data[4] + (size + 3 & ~3) + (0 if login or not digests else 4 + 4 * bool(size))
        found.append(data[:end])
        data = data[end:]
    return found


@pytest.mark.parametrize("digests", [False, True])
@pytest.mark.parametrize("side", [0, 1])
def test_what_our_engines_say_is_taken_apart_and_put_together_again(side: int, digests: bool) -> None:
    for raw in pdus(spoken(digests=digests), side, digests=digests):
        kind = BY_OPCODE[raw[0] & 0x3F]
        with_digests = digests and raw[0] & 0x3F not in (3, 0x23)
        made = type(kind.__name__, (kind,), {"digests": (with_digests, with_digests)})(raw)
        assert not made.payload
        fields = dict(made.fields)
        for name in ("ahs_length", "data_length", "padding", "header_digest", "data_digest"):
            fields.pop(name, None)
        again = type(kind.__name__, (kind,), {"digests": (with_digests, with_digests)})(**fields)
        assert bytes(again) == raw, made.show(dump=True)


@pytest.mark.parametrize("opcode", sorted(BY_OPCODE))
def test_every_pdu_has_its_fields_where_our_engine_has_them(opcode: int) -> None:
    kind = BY_OPCODE[opcode]
    assert len(bytes(kind())) == 48
    made = ISCSI(bytes(kind()))
    assert type(made) is kind
    ours = engine.decode(bytes(kind()))
    assert type(ours).opcode == opcode
    for field, value in (("cmd_sn", 0x01020304), ("stat_sn", 0x05060708), ("itt", 0x090A0B0C), ("data_sn", 0x0D0E0F10)):
        if hasattr(ours, field) and field in made.fields:
            setattr(made, field, value)
            assert getattr(engine.decode(bytes(made)), field) == value, field


def test_lengths_and_padding_are_filled_in_and_can_be_wrong_on_purpose() -> None:
    right = bytes(NopOut(itt=1, data=b"hello"))
    assert (len(right), right[5:8], right[-3:]) == (56, b"\0\0\5", bytes(3))
    wrong = NopOut(itt=1, data=b"hello", data_length=0xFFFFFF, padding=b"")
    assert bytes(wrong)[5:8] == b"\xff\xff\xff"
    assert len(bytes(wrong)) == 53


def test_pdus_follow_one_another_and_tcp_knows_the_port() -> None:
    both = bytes(NopOut(itt=1, data=b"abc")) + bytes(ScsiCommand(itt=2))
    first = ISCSI(both)
    assert (first.itt, first.payload.itt, type(first.payload)) == (1, 2, ScsiCommand)
    packet = IP(bytes(IP() / TCP(dport=3260) / both))
    assert packet[NopOut].data == b"abc"


def test_login_keys() -> None:
    made = LoginRequest(data=text(InitiatorName=INITIATOR, SessionType="Normal"))
    assert keys(ISCSI(bytes(made)).data) == {"InitiatorName": INITIATOR, "SessionType": "Normal"}


def test_cdbs_by_their_names() -> None:
    cdb = scsi.Read10(lba=0x01020304, blocks=8)
    assert bytes(cdb) == bytes.fromhex("28000102030400000800")
    shown = CDB(bytes(cdb) + bytes(6))
    assert (shown.name, shown.lba, shown.blocks) == ("READ(10)", 0x01020304, 8)
    assert CDB(bytes.fromhex("89000000000000000064000000010000")).blocks == 1
    assert CDB(b"\xc1" + bytes(15)).name == "CDB"
    assert CDB(bytes.fromhex("9e10") + bytes(14)).mysummary() == "READ CAPACITY(16)"
    with pytest.raises(AttributeError, match="there is no CDB Read99; there are CompareAndWrite"):
        _ = scsi.Read99


def test_an_opcode_that_there_is_none_of_is_still_a_pdu() -> None:
    assert isinstance(ISCSI(b"\x1e" + bytes(47)), iscsi.Unknown)


def test_a_reply_is_understood_with_its_call() -> None:
    records = [data[4:] for _, data in nfs3()]
    call, reply = records[4], records[7]
    asked, answered = dissect(call), dissect(reply, call)
    assert asked.getlayer("WRITE Call").offset == 65536
    assert answered.getlayer("WRITE Reply").status == 0
    assert dissect(reply).getlayer("WRITE Reply") is None
    assert dissect(call[:70]).haslayer(RPC)
    assert dissect(nfs4()[0][1][4:]).haslayer(RPC)


def test_fields_that_the_standard_names_are_there() -> None:
    shown = DataIn(S=1, status=2, residual=3, U=1).show(dump=True)
    for name in ("residual", "exp_cmd_sn", "max_cmd_sn", "data_sn", "ttt"):
        assert name in shown
