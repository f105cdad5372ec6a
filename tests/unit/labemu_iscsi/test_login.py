"""Logins, as transcripts: this went in, that came out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from labemu_iscsi.auth import Credentials
from labemu_iscsi.connection import Phase, TargetConnection
from labemu_iscsi.limits import LOGIN_TIMEOUT
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
