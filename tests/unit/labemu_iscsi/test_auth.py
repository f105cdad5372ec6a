"""CHAP in both directions (RFC 7143 9.2.1, 12.1.3; RFC 1994)."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from labemu_iscsi.auth import ChapTarget, Credentials, chap_response, decode_binary
from labemu_iscsi.errors import AuthenticationFailed
from labemu_iscsi.node import Node

Connect = Callable[..., Any]
TARGET = "iqn.2026-11.lab:t1"
MUTUAL = Credentials(user="me", password="secretsecret", mutual_user="box", mutual_password="otherother")
HASHES = {"5": "md5", "6": "sha1", "7": "sha256", "8": "sha3_256"}


def _chap(credentials: Credentials = MUTUAL) -> ChapTarget:
    return ChapTarget(credentials, lambda count: bytes(range(count)))


def _proof(answers: dict[str, str], secret: str = "secretsecret") -> dict[str, str]:
    challenge = decode_binary(answers["CHAP_C"])
    proof = chap_response(answers["CHAP_A"], int(answers["CHAP_I"]), secret, challenge)
    return {"CHAP_N": "me", "CHAP_R": "0x" + proof.hex()}


@pytest.mark.parametrize("number", HASHES)
def test_the_response_is_the_hash_of_identifier_secret_and_challenge(number: str) -> None:
    assert chap_response(number, 3, "abc", b"xyz") == hashlib.new(HASHES[number], b"\x03abcxyz").digest()


@pytest.mark.parametrize("number", HASHES)
@pytest.mark.parametrize("mutual", [None, ("box", "otherother")], ids=["one way", "mutual"])
def test_each_algorithm_lets_in_who_knows_the_secret(
    node: Node, connect: Connect, number: str, mutual: tuple[str, str] | None
) -> None:
    node.targets[TARGET].credentials = MUTUAL
    pair = connect(chap=("me", "secretsecret"), mutual=mutual, algorithms=number)
    assert pair.initiator.answers["CHAP_A"] == number
    assert pair.initiator.proven is (mutual is not None)


@pytest.mark.parametrize(
    ("offered", "allowed", "chosen"),
    [
        ("8,7,6,5", tuple(HASHES), "8"),
        ("5,7", tuple(HASHES), "5"),
        ("5,6,7", ("7", "8"), "7"),
        ("99,6", tuple(HASHES), "6"),
    ],
)
def test_the_initiators_first_that_is_allowed_is_chosen(offered: str, allowed: tuple[str, ...], chosen: str) -> None:
    credentials = Credentials(user="me", password="secretsecret", algorithms=allowed)
    assert dict(_chap(credentials).step({"CHAP_A": offered}))["CHAP_A"] == chosen


@pytest.mark.parametrize("offered", ["", "9", "05", "5 ", "md5"])
def test_no_common_algorithm_is_a_refusal(offered: str) -> None:
    with pytest.raises(AuthenticationFailed, match="no common CHAP algorithm"):
        _chap().step({"CHAP_A": offered})


def test_a_weak_algorithm_can_be_ruled_out(node: Node, connect: Connect) -> None:
    node.targets[TARGET].credentials = Credentials(user="me", password="secretsecret", algorithms=("7", "8"))
    pair = connect(chap=("me", "secretsecret"), algorithms="5,6", login=False)
    pair.initiator.login()
    pair.exchange()
    assert pair.initiator.login_status == (2, 1)


def test_our_own_challenge_is_not_answered() -> None:
    chap = _chap()
    answers = dict(chap.step({"CHAP_A": "7"}))
    with pytest.raises(AuthenticationFailed, match="reflected our challenge"):
        chap.step({**_proof(answers), "CHAP_I": "1", "CHAP_C": answers["CHAP_C"]})


def test_the_same_secret_for_both_directions_is_refused() -> None:
    with pytest.raises(ValueError, match="each direction wants a secret of its own"):
        Credentials(user="me", password="secretsecret", mutual_user="box", mutual_password="secretsecret")


@pytest.mark.parametrize(
    "fields",
    [
        {"CHAP_I": "256", "CHAP_C": "0x00"},
        {"CHAP_I": "-1", "CHAP_C": "0x00"},
        {"CHAP_I": "²", "CHAP_C": "0x00"},
        {"CHAP_I": "1", "CHAP_C": "0x"},
        {"CHAP_I": "1", "CHAP_C": "00"},
        {"CHAP_I": "1", "CHAP_C": "0xzz"},
        {"CHAP_I": "1", "CHAP_C": "0b!"},
        {"CHAP_I": "1", "CHAP_C": "0x" + "00" * 1025},
        {"CHAP_I": "1"},
        {"CHAP_C": "0x00"},
    ],
)
def test_a_malformed_challenge_is_refused(fields: dict[str, str]) -> None:
    chap = _chap()
    with pytest.raises(AuthenticationFailed):
        chap.step({**_proof(dict(chap.step({"CHAP_A": "5"}))), **fields})


def test_mutual_chap_wants_to_be_set_up() -> None:
    chap = _chap(Credentials(user="me", password="secretsecret"))
    answers = dict(chap.step({"CHAP_A": "5"}))
    with pytest.raises(AuthenticationFailed, match="mutual CHAP, which is not set up"):
        chap.step({**_proof(answers), "CHAP_I": "1", "CHAP_C": "0x1234"})


@pytest.mark.parametrize(
    "steps",
    [
        [{"CHAP_R": "0x00", "CHAP_N": "me"}],  # before the challenge
        [{"CHAP_A": "5"}, {"CHAP_A": "5"}],  # a second challenge
        [{"CHAP_A": "5"}, {"CHAP_N": "me"}],  # no response
    ],
)
def test_steps_out_of_order_are_refused(steps: list[dict[str, str]]) -> None:
    chap = _chap()
    for step in steps[:-1]:
        chap.step(step)
    with pytest.raises(AuthenticationFailed):
        chap.step(steps[-1])
    assert not chap.done


def test_the_secret_is_not_shown() -> None:
    assert "secret" not in repr(MUTUAL)


@pytest.mark.parametrize(
    ("text", "value"), [("0x0aFF", b"\x0a\xff"), ("0xfff", b"\x0f\xff"), ("0Bq83v", b"\xab\xcd\xef")]
)
def test_binary_values_are_hexadecimal_or_base64(text: str, value: bytes) -> None:
    assert decode_binary(text) == value
    assert decode_binary("0b" + base64.b64encode(value).decode()) == value
