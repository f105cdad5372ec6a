"""NFSv4's layers: each operation is built so that the decoder finds its end, and dissected into what it was built of."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.fields import FieldLenField, FieldListField, PacketField, PacketListField, StrLenField, XStrFixedLenField
from scapy.packet import Packet

from labctl.trace.layers import nfs4, nfs4_rows
from labctl.trace.layers.nfs4 import ARGUMENTS, ATTRIBUTES, RESULTS, COMPOUND4args, COMPOUND4res
from labctl.trace.layers.rpc import RPC, RM_Header, RPC_Call, dissect
from labctl.trace.layers.xdr import Grammar, bitmap, bits, condition
from labctl.trace.protocols.rpc import nfs4_args, nfs4_results
from labctl.trace.protocols.rpc.nfs4_words import OPERATIONS
from labctl.trace.protocols.rpc.xdr import Reader

from .conversations import nfs4 as spoken

UNIONS = {
    "objtype": (1, 3, 5), "new_lock_owner": (0, 1), "opentype": (0, 1), "createmode": (0, 1, 2, 3), "claim": range(7),
    "state_protect": (0, 1, 2), "returntype": (1, 2), "new_offset": (0, 1), "time_changed": (0, 1), "delegation_type": (0, 1, 2, 3),
    "limitby": (1, 2), "why": (0, 1, 2), "size_changed": (0, 1), "stateid_present": (0, 1), "flavor": (0, 1, 6), "loctype": (1, 3),
    "content": (0, 1), "how": (0, 1),
}  # fmt: skip
KNOWN_ARGUMENTS = {*nfs4_args.TABLE, *nfs4_args._SPECIAL, "PUTFH"}
KNOWN_RESULTS = {*nfs4_results.TABLE, *nfs4_results._SPECIAL, "SETATTR"}
NUMBERS = {name: number for number, name in OPERATIONS.items()}


def plain(field: Any) -> Any:
    return getattr(field, "fld", field)


def filled(kind: type[Packet], **fixed: int) -> Packet:
    """A packet with something in every field that its unions leave."""
    values: dict[str, Any] = {}
    for number, wrapped in enumerate(kind.fields_desc):
        field = plain(wrapped)
        if field.name in ("opcode", "status") or isinstance(field, FieldLenField):
            continue
        if field.name in fixed:
            values[field.name] = fixed[field.name]
        elif isinstance(field, PacketField):
            values[field.name] = filled(type(field.default), **fixed)
        elif isinstance(field, PacketListField):
            inner = field.next_cls_cb(kind(), [], None, b"\0\0\0\1") if field.name == "entries" else field.cls
            values[field.name] = [] if inner is None or inner is Packet else [filled(inner, **fixed) for _ in range(2)]
        elif isinstance(field, FieldListField):
            values[field.name] = [] if field.name.endswith("_mask") else [7, number]
        elif isinstance(field, XStrFixedLenField):
            values[field.name] = bytes([number] * field.length_from(None))
        elif isinstance(field, StrLenField):
            values[field.name] = b"name"[: 1 + number % 4]
        elif not field.name.endswith("_end") and field.name not in ("follows", "status"):
            values[field.name] = number % 2
    return kind(**values)


def variants(kind: type[Packet]) -> Iterator[Packet]:
    inner = [plain(field) for field in kind.fields_desc]
    names = {field.name for field in inner}
    for field in inner:
        if isinstance(field, PacketListField) and isinstance(field.cls, type) and field.cls is not Packet:
            names |= {plain(each).name for each in field.cls.fields_desc}
        elif isinstance(field, PacketField):
            names |= {plain(each).name for each in field.default.fields_desc}
    chosen = sorted(names & set(UNIONS))
    for values in product(*(UNIONS[name] for name in chosen)):
        yield filled(kind, **dict(zip(chosen, values, strict=True)))


def test_all_that_the_decoder_knows_has_its_layers() -> None:
    assert set(nfs4_rows.ARGUMENTS) >= KNOWN_ARGUMENTS
    assert set(nfs4_rows.RESULTS) >= KNOWN_RESULTS
    assert set(ARGUMENTS) == set(RESULTS) == set(OPERATIONS)


@pytest.mark.parametrize("name", sorted(KNOWN_ARGUMENTS))
def test_arguments_end_where_the_decoder_finds_their_end(name: str) -> None:
    for built in variants(ARGUMENTS[NUMBERS[name]]):
        raw = bytes(built)
        reader = Reader(raw, 4, len(raw))
        if name == "PUTFH":
            reader.skip_opaque()
        else:
            nfs4_args.read(name, reader)
        assert reader.left == 0, built.show(dump=True)
        again = type(built)(raw)
        assert not again.payload
        assert shown(again) == shown(built), again.show(dump=True)


@pytest.mark.parametrize("name", sorted(KNOWN_RESULTS))
def test_results_end_where_the_decoder_finds_their_end(name: str) -> None:
    for built in variants(RESULTS[NUMBERS[name]]):
        for status in (0, 22, 10005, 10010, 10017, 10094):
            built.status = status
            raw = bytes(built)
            reader = Reader(raw, 8, len(raw))
            nfs4_results.read(name, status, reader)
            assert reader.left == 0, built.show(dump=True)
            assert shown(type(built)(raw)) == shown(built), built.show(dump=True)


def shown(packet: Packet) -> list[Any]:
    """The fields that are on the wire, without counts and lengths, which are None until a packet is built."""
    found: list[Any] = []
    for field in packet.fields_desc:
        if getattr(field, "isconditional", False) and not field._evalcond(packet):
            continue
        value = packet.getfieldval(field.name)
        if isinstance(plain(field), FieldLenField):
            continue
        parts = value if isinstance(value, list) else [value]
        found.append((field.name, [shown(part) if isinstance(part, Packet) else part for part in parts]))
    return found


@pytest.mark.parametrize("number", sorted(ATTRIBUTES))
def test_every_attribute_is_built_and_dissected(number: int) -> None:
    for built in variants(ATTRIBUTES[number]):
        # size and xattr_support stand around it, so that its end is seen
        around = sorted({4, number, 82})
        parts = [built if each == number else ATTRIBUTES[each](value=1) for each in around]
        raw = bytes(nfs4.SETATTR4args(obj_attributes_mask=bitmap(*around), obj_attributes=parts))
        found = nfs4.SETATTR4args(raw).obj_attributes
        assert [shown(each) for each in found] == [shown(each) for each in parts]
        assert [each.name for each in found] == [nfs4_rows.ATTRIBUTES[each][0] for each in around]


def test_no_field_hides_something_of_scapys() -> None:
    kinds = [
        *ARGUMENTS.values(),
        *RESULTS.values(),
        *ATTRIBUTES.values(),
        *(getattr(nfs4, name) for name in nfs4_rows.STRUCTS),
    ]
    assert [
        (kind.name, field.name) for kind in kinds for field in kind.fields_desc if hasattr(Packet, field.name)
    ] == []


def test_what_is_unknown_keeps_its_bytes_and_hides_nothing_before_it() -> None:
    raw = bytes.fromhex("0000000000000000000000030000001800001234aabbccdd00000018")
    first, second = COMPOUND4args(raw).argarray
    assert (first.name, second.name, second.opcode, second.rest) == (
        "PUTROOTFH4args",
        "unknown operation",
        0x1234,
        raw[20:],
    )
    (unread,) = nfs4.SETATTR4args(bytes(20) + b"\0\0\0\3" + bytes(8) + b"\x80\0\0\0" + b"\0\0\0\4abcd")[
        "SETATTR4args"
    ].obj_attributes
    assert (unread.name, unread.rest) == ("unread", b"abcd")


def test_counts_and_lengths_can_be_wrong_on_purpose() -> None:
    wrong = COMPOUND4args(argarray=[nfs4.LOOKUP4args(objname=b"gold", objname_length=99)], argarray_count=7)
    assert bytes(wrong) == bytes.fromhex("00000000 00000000 00000007 0000000f 00000063") + b"gold"


def test_a_call_is_built_with_all_that_leads_to_it() -> None:
    whole = (
        RM_Header()
        / RPC(xid=5)
        / RPC_Call(aflavor=0, alength=0, vlength=0)
        / COMPOUND4args(argarray=[nfs4.GETFH4args()])
    )
    raw = bytes(whole)
    assert raw[:4] == (0x80000000 + len(raw) - 4).to_bytes(4, "big")
    call = dissect(raw[4:])
    assert (call.program, call.pversion, call.procedure) == (100003, 4, 1)
    assert [each.name for each in call[COMPOUND4args].argarray] == ["GETFH4args"]


def test_a_reply_is_understood_with_its_call() -> None:
    (_, call), (_, reply), *_ = [(side, data[4:]) for side, data in spoken()]
    assert [each.name for each in dissect(call)[COMPOUND4args].argarray][:2] == ["PUTROOTFH4args", "LOOKUP4args"]
    results = dissect(reply, call)[COMPOUND4res].resarray
    assert [each.name for each in results] == ["PUTROOTFH4res", "LOOKUP4res", "LOOKUP4res", "GETFH4res"]
    assert not dissect(reply).haslayer(COMPOUND4res)


def test_attributes_by_their_names() -> None:
    made = nfs4.SETATTR4args(**nfs4.attributes(mode=0o600, size=0, time_modify_set={"how": 1, "value_seconds": -1}))
    assert bits(made.obj_attributes_mask) == [4, 33, 54]
    assert [each.name for each in nfs4.SETATTR4args(bytes(made)).obj_attributes] == ["size", "mode", "time_modify_set"]
    with pytest.raises(KeyError, match="siez"):
        nfs4.attributes(siez=0)


def test_a_class_that_there_is_not_is_named_with_the_nearest() -> None:
    with pytest.raises(AttributeError, match=r"^NFSv4 has no LOOKUP4arg; did you mean LOOKUP4args\?$"):
        _ = nfs4.LOOKUP4arg


def test_rows_are_read_strictly() -> None:
    with pytest.raises(ValueError, match="no field: stateid"):
        Grammar({}, {}, lambda _: None).fields("stateid")
    test = condition("opentype=1,createmode!=2|3")
    assert [test(nfs4.OPEN4args(opentype=1, createmode=mode)) for mode in range(4)] == [True, True, False, False]


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400), st.sampled_from(sorted(OPERATIONS)), st.booleans())
def test_any_bytes_are_taken_apart_and_end(data: bytes, opcode: int, is_reply: bool) -> None:
    head = bytes(8) + b"\0\0\0\4" + opcode.to_bytes(4, "big")
    call = bytes(12) + (100003).to_bytes(4, "big") + b"\0\0\0\4\0\0\0\1"
    if is_reply:
        dissect(b"\0\0\0\7\0\0\0\1" + bytes(16) + b"\0\0\0\0" + head + data, call).show(dump=True)
    else:
        dissect(b"\0\0\0\7\0\0\0\0\0\0\0\2" + call[12:] + bytes(16) + head + data).show(dump=True)
