"""What the target says unasked: pings (RFC 7143 11.19) and asynchronous messages (11.9)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from labemu_iscsi.node import Node
from labemu_iscsi.pdu import NO_TAG, AsyncMessage, NopIn, NopOut, Reject

Connect = Callable[..., Any]


def _received(pair: Any, kind: type) -> list[Any]:
    return [pdu for pdu, _ in pair.initiator.received if isinstance(pdu, kind)]


def test_a_silent_initiator_is_asked_and_stays_if_it_answers(node: Node, connect: Connect) -> None:
    pair = connect()
    pair.connection.check_deadline(node.ping_after - 1)
    pair.exchange()
    assert not _received(pair, NopIn)
    pair.connection.check_deadline(node.ping_after)
    pair.exchange()
    [ping] = _received(pair, NopIn)
    assert ping.itt == NO_TAG
    assert ping.ttt != NO_TAG
    assert ping.stat_sn == pair.connection.sender.stat_sn  # the next, which it does not take
    pair.connection.receive_data(b"", now=node.ping_after + 1)
    pair.connection.received(0, node.ping_after + 1)
    pair.connection.check_deadline(node.ping_after + node.ping_timeout + 1)
    assert not pair.connection.closed


def test_one_that_stays_silent_is_dropped(node: Node, connect: Connect) -> None:
    pair = connect()
    pair.connection.check_deadline(node.ping_after)
    pair.connection.check_deadline(node.ping_after + node.ping_timeout - 1)
    assert not pair.connection.closed
    pair.connection.check_deadline(node.ping_after + node.ping_timeout)
    assert pair.connection.error == "silent for 90 seconds, also when asked"
    assert not node.sessions


def test_pings_can_be_switched_off(node: Node, connect: Connect) -> None:
    node.ping_after = 0
    pair = connect()
    pair.connection.check_deadline(1e9)
    pair.exchange()
    assert not _received(pair, NopIn)


def test_an_answer_to_no_ping_is_rejected(connect: Connect) -> None:
    pair = connect()
    pair.initiator.send(NopOut(immediate=True, ttt=77))
    pair.exchange()
    [reject] = _received(pair, Reject)
    assert reject.reason == 9
    assert not pair.connection.closed


def test_a_ping_with_data_is_echoed_as_far_as_the_initiator_takes_it(connect: Connect) -> None:
    pair = connect(keys={"MaxRecvDataSegmentLength": "512"})
    pair.initiator.ping(bytes(range(256)) * 3)
    pair.exchange()
    _, data = pair.initiator.received[-1]
    assert data == bytes(range(256)) * 2


@pytest.mark.parametrize(
    ("tell", "event", "parameters"),
    [
        (lambda session: session.request_logout(15), 1, (0, 0, 15)),
        (lambda session: session.send_async(2, parameters=(3, 2, 20)), 2, (3, 2, 20)),
        (lambda session: session.announce_end(), 3, (0, 2, 0)),
        (lambda session: session.request_negotiation(30), 4, (0, 0, 30)),
        (lambda session: session.send_async(5), 5, (0, 0, 0)),
    ],
)
def test_each_event_has_its_parameters(
    connect: Connect, tell: Callable[[Any], None], event: int, parameters: tuple[int, int, int]
) -> None:
    pair = connect(keys={"DefaultTime2Wait": "2"})
    before = pair.connection.sender.stat_sn
    tell(pair.connection.session)
    pair.exchange()
    [message] = _received(pair, AsyncMessage)
    assert message.event == event
    assert (message.parameter1, message.parameter2, message.parameter3) == parameters
    assert message.stat_sn == before
    assert pair.connection.sender.stat_sn == before + 1
    assert message.itt == NO_TAG


def test_a_scsi_event_carries_its_sense_data(connect: Connect) -> None:
    pair = connect()
    sense = b"\x70\0\x06" + bytes(15)
    pair.connection.session.report(b"\0\x03" + bytes(6), sense)
    pair.exchange()
    message, data = pair.initiator.received[-1]
    assert isinstance(message, AsyncMessage)
    assert (message.event, message.lun) == (0, b"\0\x03" + bytes(6))
    assert data == b"\0\x12" + sense


def test_every_connection_is_asked_to_log_out(connect: Connect) -> None:
    first = connect(keys={"MaxConnections": "2"})
    second = connect(leading=first.initiator, cid=1, login=False)
    second.initiator.login()
    second.exchange()
    first.connection.session.request_logout(5)
    for pair in (first, second):
        pair.exchange()
        assert [message.event for message in _received(pair, AsyncMessage)] == [1]
