"""Logins, as transcripts: this went in, that came out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from labemu_iscsi.auth import Credentials
from labemu_iscsi.connection import Phase, TargetConnection
from labemu_iscsi.limits import LOGIN_TIMEOUT, MAX_LOGIN_EXCHANGES, MAX_TEXT
from labemu_iscsi.negotiation import format_text, parse_text
from labemu_iscsi.node import Node
from labemu_iscsi.pdu import LoginRequest, LoginResponse, TextRequest, TextResponse
from labemu_iscsi.session import Target

Connect = Callable[..., Any]
TARGET = "iqn.2026-11.lab:t1"
NAMES = [("InitiatorName", "iqn.2026-11.lab:i"), ("TargetName", TARGET)]


def _say(
    connection: TargetConnection, flags: int, pairs: list[tuple[str, str]], **fields: Any
) -> tuple[LoginResponse, dict[str, str]]:
    request = LoginRequest(
        immediate=True, flags=flags, **{"lun": b"\x80\0\0\0\0\x01\0\0", "itt": 9, "cmd_sn": 7, **fields}
    )
    connection.receive_data(request.encode(format_text(pairs)))
    wire = b"".join(map(bytes, connection.data_to_send()))
    response = LoginResponse.unpack(wire)
    length = int.from_bytes(wire[5:8], "big")
    return response, dict(parse_text(wire[48 : 48 + length]))


def test_a_login_in_one_step_as_qemu_does_it(node: Node) -> None:
    connection = TargetConnection(node)
    response, answers = _say(
        connection, 0x87, [*NAMES, ("HeaderDigest", "None,CRC32C"), ("InitialR2T", "No"), ("MaxBurstLength", "262144")]
    )
    assert (response.flags, response.status_class, response.exp_cmd_sn) == (0x87, 0, 7)
    assert response.tsih != 0
    assert answers == {
        "TargetPortalGroupTag": "1",
        "HeaderDigest": "None",
        "InitialR2T": "No",
        "MaxBurstLength": "262144",
        "MaxRecvDataSegmentLength": "262144",
    }
    assert connection.phase is Phase.FULL_FEATURE


def test_a_login_in_three_stages_as_linux_does_it(node: Node) -> None:
    connection = TargetConnection(node)
    response, answers = _say(connection, 0x81, [*NAMES, ("SessionType", "Normal"), ("AuthMethod", "None")])
    assert (response.flags, answers["AuthMethod"]) == (0x81, "None")
    response, answers = _say(connection, 0x04, [("ErrorRecoveryLevel", "0")])
    assert (response.flags, answers["ErrorRecoveryLevel"]) == (0x04, "0")
    response, answers = _say(connection, 0x87, [("MaxConnections", "1")])
    assert (response.flags, answers) == (0x87, {"MaxConnections": "1"})
    assert connection.phase is Phase.FULL_FEATURE


def test_text_may_come_in_pieces(node: Node) -> None:
    connection = TargetConnection(node)
    response, answers = _say(connection, 0x44, NAMES)
    assert (response.flags, answers) == (0x04, {})
    response, _ = _say(connection, 0x87, [("InitialR2T", "No")])
    assert response.flags == 0x87
    assert connection.phase is Phase.FULL_FEATURE


@pytest.mark.parametrize(
    ("flags", "pairs", "fields", "status"),
    [
        (0x87, [("TargetName", TARGET)], {}, (2, 7)),
        (0x87, NAMES[:1], {}, (2, 7)),
        (0x87, [NAMES[0], ("TargetName", "iqn.2026-11.lab:none")], {}, (2, 3)),
        (0x87, [("InitiatorName", "a box"), NAMES[1]], {}, (2, 0)),
        (0x87, NAMES, {"version_min": 1}, (2, 5)),
        (0x87, NAMES, {"lun": b"\x80\0\0\0\0\x01\0\x07"}, (2, 10)),
        (0x85, NAMES, {}, (2, 11)),
        (0x8B, NAMES, {}, (2, 11)),
        (0xC7, NAMES, {}, (2, 11)),
        (0x81, [*NAMES, ("AuthMethod", "KRB5")], {}, (2, 1)),
        (0x87, [*NAMES, ("SessionType", "Odd")], {}, (2, 9)),
    ],
)
def test_a_login_that_cannot_be_is_refused_with_its_status(
    node: Node, flags: int, pairs: list[tuple[str, str]], fields: dict[str, Any], status: tuple[int, int]
) -> None:
    connection = TargetConnection(node)
    response, _ = _say(connection, flags, pairs, **fields)
    assert (response.status_class, response.status_detail) == status
    assert connection.closed
    assert not node.sessions


def test_an_initiator_that_is_not_on_the_list_is_refused(node: Node) -> None:
    node.targets[TARGET].initiators = frozenset(("iqn.2026-11.lab:other",))
    response, _ = _say(TargetConnection(node), 0x87, NAMES)
    assert (response.status_class, response.status_detail) == (2, 2)


def test_chap_lets_in_who_knows_the_secret(node: Node, connect: Connect) -> None:
    node.targets[TARGET].credentials = Credentials(user="me", password="secretsecret")
    assert connect(chap=("me", "secretsecret")).initiator.logged_in


@pytest.mark.parametrize("chap", [("me", "wrong"), ("you", "secretsecret"), None])
def test_chap_keeps_out_who_does_not(node: Node, connect: Connect, chap: tuple[str, str] | None) -> None:
    node.targets[TARGET].credentials = Credentials(user="me", password="secretsecret")
    pair = connect(chap=chap, login=False)
    pair.initiator.login()
    pair.exchange()
    assert pair.initiator.login_status == (2, 1)
    assert pair.connection.closed


def test_an_initiator_with_a_secret_of_its_own_proves_that_and_no_other(node: Node, connect: Connect) -> None:
    target = node.targets[TARGET]
    target.credentials = Credentials(user="me", password="secretsecret")
    target.credentials_of["iqn.2026-11.lab:special"] = Credentials(user="special", password="ownsecretown")
    for name, chap, enters in (
        ("iqn.2026-11.lab:special", ("special", "ownsecretown"), True),
        ("iqn.2026-11.lab:special", ("me", "secretsecret"), False),
        ("iqn.2026-11.lab:other", ("special", "ownsecretown"), False),
        ("iqn.2026-11.lab:other", ("me", "secretsecret"), True),
    ):
        pair = connect(name=name, chap=chap, login=False)
        pair.initiator.login()
        pair.exchange()
        assert pair.initiator.logged_in is enters, (name, chap)


def test_discovery_asks_for_chap_where_that_is_wanted(node: Node, connect: Connect) -> None:
    node.discovery_credentials = Credentials(user="look", password="aroundaround")
    for chap, enters in ((None, False), (("look", "wrongwrongwrong"), False), (("look", "aroundaround"), True)):
        pair = connect(target="", chap=chap, login=False)
        pair.initiator.login()
        pair.exchange()
        assert pair.initiator.logged_in is enters, chap
    pair = connect()  # the target itself is open
    assert pair.initiator.logged_in


def test_nothing_but_logins_is_taken_before_the_session(node: Node) -> None:
    connection = TargetConnection(node)
    connection.receive_data(b"\x01" + bytes(47))
    assert connection.closed


def test_a_login_that_takes_too_long_is_ended(node: Node) -> None:
    connection = TargetConnection(node, now=100.0)
    connection.check_deadline(100.0 + LOGIN_TIMEOUT / 2)
    assert not connection.closed
    connection.check_deadline(100.0 + LOGIN_TIMEOUT)
    assert connection.closed


def test_the_same_isid_reinstates_the_session(node: Node, connect: Connect) -> None:
    first = connect()
    second = connect()
    assert first.connection.closed
    assert first.connection.error == "session reinstated"
    assert list(node.sessions.values()) == [second.connection.session]


def test_another_isid_is_another_session(node: Node, connect: Connect) -> None:
    first, second = connect(), connect(isid=b"\x80\0\0\0\0\x02")
    assert not first.connection.closed
    assert not second.connection.closed
    assert len(node.sessions) == 2


def test_discovery_lists_the_targets_and_their_portals(connect: Connect) -> None:
    pair = connect(target="", login=False)
    pair.initiator.login()
    pair.exchange()
    pair.initiator.text({"SendTargets": "All"})
    pair.exchange()
    _, data = pair.initiator.received[-1]
    assert parse_text(data) == [("TargetName", TARGET), ("TargetAddress", "10.0.0.1:3260,1")]


def test_a_long_list_of_targets_comes_in_pieces(node: Node, connect: Connect) -> None:
    for number in range(200):
        name = f"iqn.2026-11.lab:disk{number:03}"
        node.targets[name] = Target(name=name)
    pair = connect(target="", login=False)
    pair.initiator.login()
    pair.exchange()
    pair.initiator.text({"SendTargets": "All"})
    pair.exchange()
    text = b""
    while True:
        response, data = pair.initiator.received[-1]
        assert isinstance(response, TextResponse)
        text += data
        if response.flags & 0x80:
            break
        pair.initiator.send(TextRequest(itt=response.itt, ttt=response.ttt, cmd_sn=pair.initiator.cmd_sn))
        pair.initiator.cmd_sn += 1
        pair.exchange()
    assert text.count(b"TargetName=") == 201


def test_a_long_answer_comes_in_pieces(node: Node) -> None:
    connection = TargetConnection(node)
    keys = [(f"X-{number:061}", "1") for number in range(200)]
    text = format_text([*NAMES, *keys])
    parts = [text[at : at + 8000] for at in range(0, len(text), 8000)]
    answer = b""
    flags = 0x44
    for part in parts:
        flags = 0x87 if part is parts[-1] else 0x44
        wire = _raw(connection, flags, part)
    while wire[1] & 0x40:
        assert wire[1] & 0x80 == 0
        answer += wire[48 : 48 + int.from_bytes(wire[5:8], "big")]
        wire = _raw(connection, flags, b"")
    answer += wire[48 : 48 + int.from_bytes(wire[5:8], "big")]
    assert wire[1] == 0x87
    assert answer.count(b"=NotUnderstood\0") == 200
    assert connection.phase is Phase.FULL_FEATURE


def _raw(connection: TargetConnection, flags: int, text: bytes) -> bytes:
    request = LoginRequest(immediate=True, flags=flags, lun=b"\x80\0\0\0\0\x01\0\0", itt=9, cmd_sn=7)
    connection.receive_data(request.encode(text))
    wire = b"".join(map(bytes, connection.data_to_send()))
    assert int.from_bytes(wire[5:8], "big") <= 8192
    return wire


@pytest.mark.parametrize(
    ("first", "second", "status"),
    [
        ((0x81, NAMES), (0x83, []), (2, 11)),  # back into the security stage
        ((0x00, NAMES), (0x87, []), (2, 11)),  # into another stage without a transition
        ((0x04, [*NAMES, ("MaxBurstLength", "1024")]), (0x87, [("MaxBurstLength", "2048")]), (2, 0)),
        ((0x00, [*NAMES, ("AuthMethod", "None")]), (0x81, [("AuthMethod", "None")]), (2, 1)),
        ((0x44, NAMES), (0x03, []), (2, 11)),  # the stage changes within one text
    ],
)
def test_a_second_request_that_does_not_fit_the_first_is_refused(
    node: Node, first: tuple[int, Any], second: tuple[int, Any], status: tuple[int, int]
) -> None:
    connection = TargetConnection(node)
    _say(connection, *first)
    response, _ = _say(connection, *second)
    assert (response.status_class, response.status_detail) == status
    assert connection.closed


@pytest.mark.parametrize("fields", [{"cid": 3}, {"itt": 4}, {"lun": b"\x80\0\0\0\0\x02\0\0"}])
def test_tags_do_not_change_within_a_login(node: Node, fields: dict[str, Any]) -> None:
    connection = TargetConnection(node)
    _say(connection, 0x04, NAMES)
    response, _ = _say(connection, 0x87, [], **fields)
    assert (response.status_class, response.status_detail) == (2, 11)


def test_a_login_without_an_end_is_ended(node: Node) -> None:
    connection = TargetConnection(node)
    _say(connection, 0x04, NAMES)
    for _ in range(MAX_LOGIN_EXCHANGES):
        if not connection.closed:
            _say(connection, 0x04, [])
    assert connection.error == "the login does not end"


def test_text_without_an_end_is_ended(node: Node) -> None:
    connection = TargetConnection(node)
    for _ in range(MAX_TEXT // 8000 + 1):
        if not connection.closed:
            _raw(connection, 0x44, b"a" * 8000)
    assert connection.error == "too much login text"


def test_where_no_target_is_named_only_discovery_is_done(connect: Connect) -> None:
    pair = connect(target="", login=False)
    pair.initiator.login()
    pair.exchange()
    pair.initiator.command(b"\0")
    pair.exchange()
    reject, _ = pair.initiator.received[-1]
    assert reject.reason == 5


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        (TARGET, [("TargetName", TARGET), ("TargetAddress", "10.0.0.1:3260,1")]),
        ("", [("TargetName", TARGET), ("TargetAddress", "10.0.0.1:3260,1")]),
        ("iqn.2026-11.lab:none", []),
        ("All", [("SendTargets", "Reject")]),  # appendix C: in discovery sessions only
    ],
)
def test_sendtargets_in_a_normal_session(connect: Connect, value: str, answer: list[tuple[str, str]]) -> None:
    pair = connect()
    pair.initiator.text({"SendTargets": value})
    pair.exchange()
    assert parse_text(pair.initiator.received[-1][1]) == answer


def test_a_text_exchange_goes_on_as_long_as_the_initiator_has_more(connect: Connect) -> None:
    pair = connect()
    initiator = pair.initiator
    initiator.send(TextRequest(flags=0, itt=50, cmd_sn=initiator._next_cmd_sn()), b"MaxRecvDataSegmentLength=512\0")
    pair.exchange()
    response, _ = initiator.received[-1]
    assert (response.flags, pair.connection.sender.max_data) == (0, 512)
    initiator.send(TextRequest(itt=50, ttt=response.ttt, cmd_sn=initiator._next_cmd_sn()), b"SendTargets=\0")
    pair.exchange()
    response, data = initiator.received[-1]
    assert response.flags == 0x80
    assert b"TargetName=" in data


@pytest.mark.parametrize("fields", [{"ttt": 4711}, {"flags": 0xC0}])
def test_a_text_request_that_cannot_be_is_rejected(connect: Connect, fields: dict[str, int]) -> None:
    pair = connect()
    pair.initiator.send(TextRequest(itt=50, cmd_sn=pair.initiator._next_cmd_sn(), **fields))
    pair.exchange()
    reject, _ = pair.initiator.received[-1]
    assert reject.reason == 9
    assert not pair.connection.closed


def test_text_without_an_end_is_rejected_in_full_feature_phase(connect: Connect) -> None:
    pair = connect()
    initiator = pair.initiator
    ttt = 0xFFFFFFFF
    for _ in range(MAX_TEXT // 8000 + 1):
        request = TextRequest(flags=0x40, itt=50, ttt=ttt, cmd_sn=initiator._next_cmd_sn())
        initiator.send(request, b"a" * 8000)
        pair.exchange()
        response, _ = initiator.received[-1]
        ttt = getattr(response, "ttt", ttt)
    assert response.reason == 9
