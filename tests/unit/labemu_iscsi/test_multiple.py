"""Several connections in one session (RFC 7143 6.3.1): who may join, whose numbers are whose, and what is left when one goes."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from typing import Any

import pytest

from labemu_iscsi.node import Node
from labemu_iscsi.pdu import LogoutResponse

Connect = Callable[..., Any]
SYNCHRONIZE = b"\x35"
KEYS = {"MaxConnections": "4"}


def _read(lba: int, blocks: int) -> bytes:
    return struct.pack(">BxIxHx", 0x28, lba, blocks)


def _write(lba: int, blocks: int) -> bytes:
    return struct.pack(">BxIxHx", 0x2A, lba, blocks)


def _second(connect: Connect, first: Any, cid: int = 1, **arguments: Any) -> Any:
    pair = connect(leading=first.initiator, cid=cid, login=False, **arguments)
    pair.initiator.login()
    pair.exchange()
    return pair


def test_a_connection_joins_its_session(node: Node, connect: Connect) -> None:
    first = connect(keys=KEYS)
    second = _second(connect, first)
    assert second.initiator.logged_in
    assert second.connection.session is first.connection.session
    assert [each.cid for each in first.connection.session.connections] == [0, 1]
    assert len(node.sessions) == 1


def test_commands_of_all_connections_count_together_and_their_status_apart(connect: Connect) -> None:
    first = connect(keys=KEYS)
    second = _second(connect, first)
    results = []
    before = [pair.connection.sender.stat_sn for pair in (first, second)]
    for number in range(6):
        pair = (first, second)[number % 3 == 0]
        results.append(pair.initiator.command(b"\0"))
        pair.exchange()
    assert [result.status for result in results] == [0] * 6
    assert first.connection.session.exp_cmd_sn == first.initiator.cmd_sn == second.initiator.cmd_sn
    after = [pair.connection.sender.stat_sn for pair in (first, second)]
    assert [b - a for a, b in zip(before, after, strict=True)] == [4, 2]


def test_a_command_that_overtakes_waits_and_is_answered_on_its_own_connection(connect: Connect) -> None:
    first = connect(keys=KEYS)
    second = _second(connect, first)
    early = first.initiator.command(b"\0")
    late = second.initiator.command(b"\0")
    second.exchange()
    assert late.status is None
    first.exchange()
    second.exchange()
    assert (early.status, late.status) == (0, 0)
    assert max(first.initiator.results) not in second.initiator.results


def test_data_goes_both_ways_on_every_connection(connect: Connect) -> None:
    first = connect(keys=KEYS | {"ImmediateData": "No", "MaxBurstLength": "4096"})
    second = _second(connect, first)
    second.initiator.answers |= {"ImmediateData": "No"}
    data = {pair: os.urandom(64 * 512) for pair in (first, second)}
    for lba, pair in ((0, first), (64, second)):
        pair.initiator.command(_write(lba, 64), data=data[pair])
    for _ in range(40):
        first.exchange()
        second.exchange()
    results = {pair: pair.initiator.command(_read(lba, 64), read=64 * 512) for lba, pair in ((64, first), (0, second))}
    first.exchange()
    second.exchange()
    first.exchange()
    assert bytes(results[first].data) == data[second]
    assert bytes(results[second].data) == data[first]


@pytest.mark.parametrize(
    ("arguments", "tsih", "status"),
    [
        ({}, 0x77, (2, 10)),  # no such session
        ({"isid": b"\x80\0\0\0\0\x09"}, None, (2, 10)),  # of another ISID
        ({"name": "iqn.2026-11.lab:other"}, None, (2, 10)),  # of another initiator
        ({"target": ""}, None, (2, 8)),  # a discovery login into a normal session
    ],
)
def test_who_does_not_belong_may_not_join(
    connect: Connect, arguments: dict[str, Any], tsih: int | None, status: tuple[int, int]
) -> None:
    first = connect(keys=KEYS)
    pair = connect(leading=first.initiator, cid=1, login=False, **arguments)
    pair.initiator.tsih = pair.initiator.tsih if tsih is None else tsih
    pair.initiator.login()
    pair.exchange()
    assert pair.initiator.login_status == status
    assert not first.connection.closed


def test_a_session_takes_no_more_connections_than_were_agreed_on(connect: Connect) -> None:
    first = connect(keys={"MaxConnections": "2"})
    assert _second(connect, first, cid=1).initiator.logged_in
    third = _second(connect, first, cid=2)
    assert third.initiator.login_status == (2, 6)
    assert not first.connection.closed


def test_the_same_cid_takes_the_place_of_the_old_connection(connect: Connect) -> None:
    first = connect(keys=KEYS)
    again = _second(connect, first, cid=0)
    assert first.connection.closed
    assert first.connection.error == "connection reinstated"
    assert again.connection.session.connections == [again.connection]
    result = again.initiator.command(b"\0")
    again.exchange()
    assert result.status == 0


def test_logging_out_one_connection_leaves_the_others(connect: Connect) -> None:
    first = connect(keys=KEYS)
    second = _second(connect, first)
    second.initiator.logout(reason=1, cid=1)
    second.exchange()
    assert second.connection.closed
    result = first.initiator.command(b"\0")
    first.exchange()
    assert result.status == 0


def test_a_connection_can_be_logged_out_from_another(connect: Connect) -> None:
    first = connect(keys=KEYS)
    second = _second(connect, first)
    first.initiator.logout(reason=1, cid=1)
    first.exchange()
    answer, _ = first.initiator.received[-1]
    assert isinstance(answer, LogoutResponse)
    assert answer.response == 0
    assert second.connection.closed
    assert not first.connection.closed


@pytest.mark.parametrize(("reason", "cid", "response"), [(1, 9, 1), (2, 0, 2)])
def test_a_logout_that_cannot_be_says_why(connect: Connect, reason: int, cid: int, response: int) -> None:
    pair = connect(keys=KEYS)
    pair.initiator.logout(reason=reason, cid=cid)
    pair.exchange()
    answer, _ = pair.initiator.received[-1]
    assert isinstance(answer, LogoutResponse)
    assert answer.response == response
    assert not pair.connection.closed


def test_logging_out_of_the_session_ends_every_connection(node: Node, connect: Connect) -> None:
    first = connect(keys=KEYS)
    second = _second(connect, first)
    first.initiator.logout()
    first.exchange()
    assert first.connection.closed
    assert second.connection.closed
    assert not node.sessions


def test_a_lost_connection_ends_its_session_at_level_0(node: Node, connect: Connect) -> None:
    first = connect(keys=KEYS)
    second = _second(connect, first)
    second.connection.connection_lost()
    assert first.connection.closed
    assert not node.sessions


def test_a_lost_connection_takes_its_own_tasks_along_at_level_1(node: Node, connect: Connect) -> None:
    first = connect(keys=KEYS | {"ErrorRecoveryLevel": "1"})
    second = _second(connect, first)
    for pair in (first, second):
        pair.hold = True
    kept = first.initiator.command(SYNCHRONIZE)
    first.exchange()
    lost = second.initiator.command(SYNCHRONIZE)
    second.exchange()
    assert len(first.connection.session.tasks) == 2
    second.connection.connection_lost()
    assert len(first.connection.session.tasks) == 1
    first.release()
    assert (kept.status, lost.status) == (0, None)
    assert len(node.sessions) == 1


def test_data_for_a_command_of_another_connection_is_not_taken(connect: Connect) -> None:
    first = connect(keys=KEYS | {"ImmediateData": "No"})
    second = _second(connect, first)
    first.initiator.command(_write(0, 1), data=b"x" * 512)
    r2t = first.deliver()
    first.initiator.receive_data(r2t)
    stray = b"".join(map(bytes, first.initiator.data_to_send()))
    assert not second.connection.receive_data(stray)
    assert second.connection.closed
    assert second.connection.error == "data for a command of another connection"
