"""Each rule of RFC 7143 clause 6.2, as the table of keys applies it."""

from __future__ import annotations

import pytest

from labemu_iscsi.errors import LoginFailed
from labemu_iscsi.limits import MAX_KEYS
from labemu_iscsi.negotiation import Negotiator, format_text, parse_number, parse_text


@pytest.mark.parametrize(
    ("key", "offer", "answer"),
    [
        ("MaxBurstLength", "262144", "262144"),
        ("MaxBurstLength", "16776192", "1048576"),
        ("MaxBurstLength", "0x400", "1024"),
        ("MaxBurstLength", "100", "Reject"),
        ("MaxBurstLength", "many", "Reject"),
        ("DefaultTime2Wait", "2", "2"),
        ("DefaultTime2Retain", "20", "0"),
        ("ErrorRecoveryLevel", "2", "0"),
        ("InitialR2T", "No", "No"),
        ("InitialR2T", "Yes", "Yes"),
        ("InitialR2T", "Maybe", "Reject"),
        ("ImmediateData", "No", "No"),
        ("ImmediateData", "Yes", "Yes"),
        ("DataPDUInOrder", "No", "Yes"),
        ("HeaderDigest", "None,CRC32C", "None"),
        ("HeaderDigest", "CRC32C,None", "CRC32C"),
        ("HeaderDigest", "X-other", "Reject"),
        ("OFMarker", "Yes", "No"),
        ("OFMarkInt", "1~2", "Irrelevant"),
        ("X-com.example.colour", "red", "NotUnderstood"),
        ("MaxRecvDataSegmentLength", "65536", None),
        ("MaxRecvDataSegmentLength", "100", "Reject"),
        ("InitiatorAlias", "a box", None),
    ],
)
def test_an_offer_gets_the_answer_of_its_rule(key: str, offer: str, answer: str | None) -> None:
    assert Negotiator().answer(key, offer) == answer


def test_what_nobody_speaks_of_keeps_its_default() -> None:
    negotiator = Negotiator()
    assert negotiator.number("FirstBurstLength") == 65536
    assert negotiator.flag("InitialR2T")


def test_a_key_negotiated_twice_ends_the_login() -> None:
    negotiator = Negotiator()
    negotiator.answer("MaxBurstLength", "65536")
    with pytest.raises(LoginFailed):
        negotiator.answer("MaxBurstLength", "65536")


def test_keys_of_normal_sessions_are_irrelevant_to_discovery() -> None:
    assert Negotiator(discovery=True).answer("InitialR2T", "No") == "Irrelevant"


def test_an_operational_key_cannot_change_in_full_feature_phase() -> None:
    negotiator = Negotiator()
    assert negotiator.answer("MaxBurstLength", "512", full_feature=True) == "Reject"
    assert negotiator.answer("MaxRecvDataSegmentLength", "512", full_feature=True) is None
    assert negotiator.number("MaxRecvDataSegmentLength") == 512


def test_text_is_the_same_after_both_ways() -> None:
    pairs = [("TargetName", "iqn.2026-11.lab:t1"), ("X-empty", "")]
    assert parse_text(format_text(pairs)) == pairs


@pytest.mark.parametrize(
    "text", [b"no equals\0", b"=" * 70, b"a" * 64 + b"=1\0", b"A=1\0" * (MAX_KEYS + 1), b"A=\xff\0"]
)
def test_malformed_text_is_refused(text: bytes) -> None:
    if text == b"=" * 70:
        assert parse_text(text)[0][0] == ""
        return
    with pytest.raises(LoginFailed):
        parse_text(text)


@pytest.mark.parametrize(
    ("text", "number"), [("10", 10), ("0x1F", 31), ("-1", None), ("1e3", None), ("", None), ("9" * 40, None)]
)
def test_numbers_are_decimal_or_hexadecimal(text: str, number: int | None) -> None:
    assert parse_number(text) == number
