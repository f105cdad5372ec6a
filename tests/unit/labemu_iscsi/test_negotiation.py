"""Each rule of RFC 7143 clause 6.2, as the table of keys applies it."""

from __future__ import annotations

import pytest

from labemu_iscsi.errors import LoginFailed
from labemu_iscsi.keys import BY_NAME
from labemu_iscsi.limits import MAX_KEYS
from labemu_iscsi.negotiation import Negotiator, format_text, parse_number, parse_text


@pytest.mark.parametrize(
    ("key", "offer", "answer"),
    [
        ("MaxBurstLength", "262144", "262144"),  # 13.13
        ("MaxBurstLength", "16776192", "1048576"),
        ("MaxBurstLength", "0x400", "1024"),
        ("MaxBurstLength", "100", "Reject"),
        ("MaxBurstLength", "16777216", "Reject"),
        ("MaxBurstLength", "many", "Reject"),
        ("FirstBurstLength", "512", "512"),  # 13.14
        ("FirstBurstLength", "511", "Reject"),
        ("MaxConnections", "2", "2"),  # 13.2
        ("MaxConnections", "100", "8"),
        ("MaxConnections", "0", "Reject"),
        ("MaxConnections", "65536", "Reject"),
        ("DefaultTime2Wait", "2", "2"),  # 13.15: the larger
        ("DefaultTime2Wait", "3601", "Reject"),
        ("DefaultTime2Retain", "20", "0"),  # 13.16: the smaller
        ("MaxOutstandingR2T", "1", "1"),  # 13.17
        ("MaxOutstandingR2T", "65535", "8"),
        ("MaxOutstandingR2T", "0", "Reject"),
        ("ErrorRecoveryLevel", "2", "1"),  # 13.20
        ("ErrorRecoveryLevel", "0", "0"),
        ("ErrorRecoveryLevel", "3", "Reject"),
        ("InitialR2T", "No", "No"),  # 13.10: OR
        ("InitialR2T", "Yes", "Yes"),
        ("InitialR2T", "Maybe", "Reject"),
        ("InitialR2T", "yes", "Reject"),
        ("ImmediateData", "No", "No"),  # 13.11: AND
        ("ImmediateData", "Yes", "Yes"),
        ("DataPDUInOrder", "No", "No"),  # 13.18: OR
        ("DataPDUInOrder", "Yes", "Yes"),
        ("DataSequenceInOrder", "No", "No"),  # 13.19
        ("HeaderDigest", "None,CRC32C", "None"),  # 13.1: the initiator's first that we have
        ("HeaderDigest", "CRC32C,None", "CRC32C"),
        ("HeaderDigest", "X-other", "Reject"),
        ("DataDigest", "X-other,CRC32C", "CRC32C"),
        ("TaskReporting", "FastAbort,ResponseFence,RFC3720", "RFC3720"),  # 13.23
        ("TaskReporting", "FastAbort", "Reject"),
        ("iSCSIProtocolLevel", "1", "1"),  # 13.24
        ("iSCSIProtocolLevel", "31", "2"),
        ("iSCSIProtocolLevel", "32", "Reject"),
        ("OFMarker", "Yes", "No"),  # 13.25
        ("IFMarker", "No", "No"),
        ("OFMarkInt", "1~2", "Reject"),
        ("IFMarkInt", "2048", "Reject"),
        ("X-com.example.colour", "red", "NotUnderstood"),  # 13.22
        ("Y-digest", "red", "NotUnderstood"),
        ("X-com.example.colour", "NotUnderstood", None),  # what answers a key is not answered
        ("MaxRecvDataSegmentLength", "65536", None),  # 13.12
        ("MaxRecvDataSegmentLength", "100", "Reject"),
        ("MaxRecvDataSegmentLength", "Reject", None),
        ("InitiatorAlias", "a box", None),  # 13.7
        ("TargetAlias", "a box", "Reject"),  # 13.6, 13.8, 13.9: the target's to say
        ("TargetAddress", "10.0.0.1:3260,1", "Reject"),
        ("TargetPortalGroupTag", "1", "Reject"),
        ("SendTargets", "All", "Reject"),  # 13.3: not in a login
        ("AuthMethod", "None", "Reject"),  # 12: not in the operational stage
    ],
)
def test_an_offer_gets_the_answer_of_its_rule(key: str, offer: str, answer: str | None) -> None:
    assert Negotiator().answer(key, offer) == answer


def test_what_nobody_speaks_of_keeps_its_default() -> None:
    negotiator = Negotiator()
    assert negotiator.number("FirstBurstLength") == 65536
    assert negotiator.flag("InitialR2T")


@pytest.mark.parametrize("key", ["MaxBurstLength", "MaxRecvDataSegmentLength", "InitiatorAlias", "HeaderDigest"])
def test_a_key_negotiated_twice_ends_the_login(key: str) -> None:
    negotiator = Negotiator()
    negotiator.answer(key, "65536")
    with pytest.raises(LoginFailed, match=f"{key} was negotiated twice"):
        negotiator.answer(key, "65536")


def test_every_key_of_clause_13_is_in_the_table() -> None:
    names = """HeaderDigest DataDigest MaxConnections SendTargets TargetName InitiatorName TargetAlias InitiatorAlias TargetAddress
    TargetPortalGroupTag InitialR2T ImmediateData MaxRecvDataSegmentLength MaxBurstLength FirstBurstLength DefaultTime2Wait
    DefaultTime2Retain MaxOutstandingR2T DataPDUInOrder DataSequenceInOrder ErrorRecoveryLevel SessionType TaskReporting
    iSCSIProtocolLevel IFMarker OFMarker IFMarkInt OFMarkInt AuthMethod"""
    assert set(BY_NAME) == set(names.split())


IRRELEVANT = """MaxConnections InitialR2T ImmediateData MaxBurstLength FirstBurstLength MaxOutstandingR2T DataPDUInOrder
DataSequenceInOrder TaskReporting iSCSIProtocolLevel"""


@pytest.mark.parametrize("key", IRRELEVANT.split())
def test_keys_of_normal_sessions_are_irrelevant_to_discovery(key: str) -> None:
    assert Negotiator(discovery=True).answer(key, "1") == "Irrelevant"


def test_the_first_burst_is_irrelevant_where_nothing_is_unsolicited() -> None:
    negotiator = Negotiator()
    negotiator.answer("InitialR2T", "Yes")
    negotiator.answer("ImmediateData", "No")
    assert negotiator.answer("FirstBurstLength", "512") == "Irrelevant"


LEADING = """MaxConnections InitialR2T ImmediateData MaxBurstLength FirstBurstLength DefaultTime2Wait DefaultTime2Retain
MaxOutstandingR2T DataPDUInOrder DataSequenceInOrder ErrorRecoveryLevel TaskReporting iSCSIProtocolLevel"""


@pytest.mark.parametrize("key", LEADING.split())
def test_what_the_leading_login_settled_is_refused_in_others(key: str) -> None:
    assert Negotiator(leading=False).answer(key, "1") == "Reject"


@pytest.mark.parametrize("key", ["HeaderDigest", "DataDigest"])
def test_digests_are_settled_for_each_connection(key: str) -> None:
    assert Negotiator(leading=False).answer(key, "CRC32C") == "CRC32C"


def test_a_rejected_offer_leaves_the_default() -> None:
    negotiator = Negotiator()
    assert negotiator.answer("MaxBurstLength", "1") == "Reject"
    assert negotiator.number("MaxBurstLength") == 262144


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
