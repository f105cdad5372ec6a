"""Task management between two initiators and one target (RFC 7143 11.5, RFC 7144 5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from labemu_iscsi.events import Function
from labemu_iscsi.node import Node
from labemu_iscsi.pdu import AsyncMessage, TaskManagementResponse
from labemu_iscsi.session import Target

from .conftest import TARGET

Connect = Callable[..., Any]
SYNCHRONIZE = b"\x35"
TEST_UNIT_READY = bytes(6)
LEVEL_2 = {"iSCSIProtocolLevel": "2"}


def _two(connect: Connect, **arguments: Any) -> tuple[Any, Any]:
    pairs = connect(**arguments), connect(isid=b"\x80\0\0\0\0\x02", **arguments)
    for pair in pairs:
        pair.hold = True
    return pairs


def _manage(pair: Any, function: int, **arguments: int) -> int:
    pair.initiator.manage(function, **arguments)
    pair.exchange()
    answers = [pdu for pdu, _ in pair.initiator.received if isinstance(pdu, TaskManagementResponse)]
    return int(answers[-1].response)


def _held(pair: Any) -> Any:
    result = pair.initiator.command(SYNCHRONIZE)
    pair.exchange()
    return result


def _attention(pair: Any) -> tuple[int, int, int] | None:
    result = pair.initiator.command(TEST_UNIT_READY)
    pair.exchange()
    return result.sense_triple if result.sense else None


def test_a_task_of_another_unit_is_not_aborted(connect: Connect) -> None:
    pair = connect()
    pair.hold = True
    result = _held(pair)
    assert _manage(pair, Function.ABORT_TASK, lun=1, referenced_tag=pair.initiator.last_itt) == 1
    pair.release()
    assert result.status == 0


def test_a_command_that_has_not_come_is_aborted_by_its_number(connect: Connect) -> None:
    pair = connect()
    initiator = pair.initiator
    missing = initiator.cmd_sn
    initiator.cmd_sn += 1
    behind = initiator.command(TEST_UNIT_READY)
    pair.exchange()
    assert behind.status is None
    assert _manage(pair, Function.ABORT_TASK, referenced_tag=4711, ref_cmd_sn=missing) == 0
    pair.exchange()
    assert behind.status == 0
    assert pair.connection.session.exp_cmd_sn == initiator.cmd_sn


@pytest.mark.parametrize("distance", [-1, 0, 500])
def test_a_number_outside_of_the_window_aborts_nothing(connect: Connect, distance: int) -> None:
    pair = connect()
    number = pair.initiator.cmd_sn + distance
    assert _manage(pair, Function.ABORT_TASK, referenced_tag=4711, ref_cmd_sn=number) == 1


def test_abort_task_set_reaches_its_own_session_only(connect: Connect) -> None:
    one, two = _two(connect)
    mine, theirs = _held(one), _held(two)
    assert _manage(one, Function.ABORT_TASK_SET) == 0
    for pair in (one, two):
        pair.release()
    assert (mine.status, theirs.status) == (None, 0)


def test_abort_task_set_reaches_commands_that_came_early(connect: Connect) -> None:
    pair = connect()
    missing = pair.initiator.cmd_sn
    pair.initiator.cmd_sn += 1
    early = pair.initiator.command(TEST_UNIT_READY)
    pair.exchange()
    assert _manage(pair, Function.ABORT_TASK_SET) == 0
    late, pair.initiator.cmd_sn = pair.initiator.cmd_sn, missing
    first = pair.initiator.command(TEST_UNIT_READY)
    pair.initiator.cmd_sn = late
    pair.exchange()
    assert (first.status, early.status) == (0, None)
    assert pair.connection.session.exp_cmd_sn == late


def test_clear_task_set_tells_others_by_an_attention(connect: Connect) -> None:
    one, two = _two(connect)
    mine, theirs = _held(one), _held(two)
    assert _manage(one, Function.CLEAR_TASK_SET) == 0
    for pair in (one, two):
        pair.release()
    assert (mine.status, theirs.status) == (None, None)
    assert _attention(one) is None
    assert _attention(two) == (6, 0x2F, 0x00)


def test_clear_task_set_tells_others_by_status_where_tas_is_set(node: Node, connect: Connect) -> None:
    one, two = _two(connect)
    for target in node.targets.values():
        target.device.units[0].mode.task_aborted_status = True
    mine, theirs = _held(one), _held(two)
    assert _manage(one, Function.CLEAR_TASK_SET) == 0
    two.exchange()
    assert (mine.status, theirs.status) == (None, 0x40)
    for pair in (one, two):
        pair.release()
    assert theirs.status == 0x40
    assert _attention(two) is None


@pytest.mark.parametrize("function", [Function.LOGICAL_UNIT_RESET, Function.TARGET_WARM_RESET])
def test_a_reset_aborts_everything_and_everybody_is_told(connect: Connect, function: int) -> None:
    one, two = _two(connect)
    mine, theirs = _held(one), _held(two)
    assert _manage(one, function) == 0
    for pair in (one, two):
        pair.release()
    assert (mine.status, theirs.status) == (None, None)
    assert [_attention(pair) for pair in (one, two)] == [(6, 0x29, 0x03)] * 2


def test_a_cold_reset_ends_every_session_after_its_answer(node: Node, connect: Connect) -> None:
    one, two = _two(connect)
    assert _manage(one, Function.TARGET_COLD_RESET) == 0
    two.exchange()
    assert not node.sessions
    for pair in (one, two):
        assert pair.connection.closed
        told, _ = pair.initiator.received[-1]
        assert isinstance(told, AsyncMessage)
        assert told.event == 3


def _through_both(node: Node, connect: Connect) -> tuple[Any, Any]:
    """Two initiators, each at a target of its own; the second reaches the first's unit there, as LUN 3."""
    other = Target(name="iqn.2026-11.lab:t2", first_port=node.free_ports(1))
    other.device.add_unit(3, node.targets[TARGET].device.units[0])
    node.targets[other.name] = other
    one, two = connect(), connect(target=other.name)
    for pair in (one, two):
        pair.hold = True
        pair.initiator.command(TEST_UNIT_READY, lun=3)
        pair.exchange()
    return one, two


@pytest.mark.parametrize(
    ("function", "mine", "theirs"),
    [
        (Function.ABORT_TASK_SET, None, None),
        (Function.CLEAR_TASK_SET, None, (6, 0x2F, 0x00)),
        (Function.LOGICAL_UNIT_RESET, (6, 0x29, 0x03), (6, 0x29, 0x03)),
        (Function.TARGET_WARM_RESET, (6, 0x29, 0x03), (6, 0x29, 0x03)),
    ],
)
def test_a_unit_of_two_targets_is_managed_through_both(
    node: Node, connect: Connect, function: int, mine: object, theirs: object
) -> None:
    one, two = _through_both(node, connect)
    elsewhere = two.initiator.command(SYNCHRONIZE, lun=3)
    two.exchange()
    own = _held(one)
    assert _manage(one, function) == 0
    for pair in (one, two):
        pair.release()
    assert own.status is None
    assert elsewhere.status == (0 if function == Function.ABORT_TASK_SET else None)
    assert _attention(one) == mine
    told = two.initiator.command(TEST_UNIT_READY, lun=3)
    two.exchange()
    assert (told.sense_triple if told.sense else None) == theirs


def test_a_reset_through_one_target_is_complete_when_work_through_another_has_ended(
    node: Node, connect: Connect
) -> None:
    one, two = _through_both(node, connect)
    two.hold, two.slow = False, True
    two.initiator.command(SYNCHRONIZE, lun=3)
    two.exchange()
    one.initiator.manage(Function.LOGICAL_UNIT_RESET)
    one.exchange()
    assert not any(isinstance(pdu, TaskManagementResponse) for pdu, _ in one.initiator.received)
    two.release()
    one.exchange()
    (answer,) = [pdu for pdu, _ in one.initiator.received if isinstance(pdu, TaskManagementResponse)]
    assert answer.response == 0


def test_tas_is_told_through_the_other_target_as_well(node: Node, connect: Connect) -> None:
    one, two = _through_both(node, connect)
    node.targets[TARGET].device.units[0].mode.task_aborted_status = True
    elsewhere = two.initiator.command(SYNCHRONIZE, lun=3)
    two.exchange()
    assert _manage(one, Function.CLEAR_TASK_SET) == 0
    two.exchange()
    assert elsewhere.status == 0x40
    two.release()


@pytest.mark.parametrize("function", [9, 10, 11, 12])
def test_functions_of_rfc_7144_want_its_protocol_level(connect: Connect, function: int) -> None:
    assert _manage(connect(), function) == 255


def test_a_task_can_be_asked_for(connect: Connect) -> None:
    pair = connect(keys=LEVEL_2)
    pair.hold = True
    assert _manage(pair, Function.QUERY_TASK_SET) == 0
    _held(pair)
    itt = pair.initiator.last_itt
    assert _manage(pair, Function.QUERY_TASK, referenced_tag=itt) == 7
    assert _manage(pair, Function.QUERY_TASK, referenced_tag=itt + 99) == 0
    assert _manage(pair, Function.QUERY_TASK_SET) == 7
    assert _manage(pair, Function.QUERY_TASK_SET, lun=9) == 2


def test_a_nexus_reset_is_told_to_its_own_nexus_only(connect: Connect) -> None:
    one, two = _two(connect, keys=LEVEL_2)
    mine, theirs = _held(one), _held(two)
    assert _manage(one, Function.I_T_NEXUS_RESET) == 0
    for pair in (one, two):
        pair.release()
    assert (mine.status, theirs.status) == (None, 0)
    assert _manage(one, Function.QUERY_ASYNC_EVENT) == 7
    assert _attention(one) == (6, 0x29, 0x07)
    assert _manage(one, Function.QUERY_ASYNC_EVENT) == 0
    assert _attention(two) is None


@pytest.mark.parametrize(("function", "response"), [(Function.CLEAR_ACA, 5), (Function.TASK_REASSIGN, 4), (99, 255)])
def test_what_is_not_done_is_said(connect: Connect, function: int, response: int) -> None:
    assert _manage(connect(), function) == response


@pytest.mark.parametrize("function", [Function.ABORT_TASK, Function.ABORT_TASK_SET, Function.LOGICAL_UNIT_RESET])
def test_an_abort_is_complete_when_what_is_under_way_has_ended(connect: Connect, function: int) -> None:
    pair = connect()
    pair.slow = True
    results = [_held(pair), _held(pair)]
    count = len(pair.initiator.received)
    pair.initiator.manage(function, referenced_tag=pair.initiator.last_itt)
    pair.exchange()
    assert len(pair.initiator.received) == count  # no answer as long as the aborted work can have an effect
    pair.release()
    answer = [pdu for pdu, _ in pair.initiator.received[count:] if isinstance(pdu, TaskManagementResponse)]
    assert [each.response for each in answer] == [0]
    assert results[1].status is None


def test_work_of_an_aborted_task_that_has_not_begun_is_never_done(node: Node, connect: Connect) -> None:
    pair = connect()
    done = []
    unit = node.targets["iqn.2026-11.lab:t1"].device.units[0]
    unit.store.flush = lambda: done.append("flushed")  # type: ignore[method-assign]
    pair.hold = True
    _held(pair)
    assert _manage(pair, Function.ABORT_TASK_SET) == 0
    pair.release()
    assert not done
