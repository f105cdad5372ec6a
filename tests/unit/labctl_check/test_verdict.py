"""When a check is kept, when it is not, and when there is no saying yet."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from labctl.trace.capture.watcher import LAG
from labctl.trace.command import Command, Endpoint, Owner, Protocol
from labctl_check.kind import CheckSpec
from labctl_check.verdict import SECOND, Check, Verdict

BEGAN = 1_700_000_000 * SECOND
WRITE = Command(
    id=1,
    protocol=Protocol.ISCSI,
    operation="WRITE(10)",
    client=Endpoint(address="10.20.0.21", port=40001),
    server=Endpoint(address="10.20.0.11", port=3260),
    start=BEGAN + SECOND // 4,
    end=BEGAN + SECOND // 2,
    frames=(1, 2),
    session="i,t",
    tag=1,
    target="LUN 0",
    status="GOOD",
    good=True,
    owner=Owner(host="esx1", vm="web1", datastore="gold", disk="web1-disk0"),
)
BEFORE = replace(WRITE, start=BEGAN - 2, end=BEGAN - 1)
AFTER = replace(WRITE, end=BEGAN + 3 * SECOND)
LOST = replace(WRITE, operation="READ(10)", end=None, status="", good=False)
MEANWHILE, OVER = BEGAN + SECOND, BEGAN + 2 * SECOND + LAG + 1


def judge(commands: list[Command], now: int, lost: str = "", **table: Any) -> Verdict | None:
    spec = CheckSpec.model_validate({"within": "2s", **table}).model_dump(mode="json")
    return Check(name="it", table=spec, began=BEGAN).judge(commands, now, lost)


def test_what_is_seen_in_time_is_kept_at_once() -> None:
    kept = judge([BEFORE, WRITE], MEANWHILE, op="WRITE", vm="web1", host="esx1", datastore="gold", slower="250ms")
    message = "seen after 0.50 s: web1 WRITE(10) gold/web1-disk0 (LUN 0), 250 ms, GOOD"
    assert kept == Verdict(name="it", ok=True, message=message, commands=[WRITE])


def test_what_came_before_or_after_does_not_count() -> None:
    assert judge([BEFORE, AFTER], MEANWHILE, op="WRITE") is None
    failed = judge([BEFORE, AFTER], OVER, op="WRITE")
    assert failed == Verdict(name="it", ok=False, message="0 of 1 within 2 s; seen: nothing", commands=[])


def test_absence_is_said_only_when_decoding_cannot_be_behind_any_more() -> None:
    assert judge([], OVER - 1, op="READ") is None
    assert judge([], OVER - 1, op="READ", never=True) is None
    none = judge([], OVER, op="READ", never=True)
    assert none == Verdict(name="it", ok=True, message="none in 2 s", commands=[])


def test_too_few_are_said_with_what_was_seen_and_what_was_not() -> None:
    kinds = [replace(WRITE, operation=f"OP{number}") for number in range(6)]
    failed = judge([WRITE, WRITE, *kinds], OVER, "7 packets", op="WRITE", count=3)
    assert failed is not None
    assert failed.message == (
        "2 of 3 within 2 s; seen: 2 x web1 WRITE(10), 1 x web1 OP0, 1 x web1 OP1, 1 x web1 OP2, 1 x web1 OP3 …; "
        "not looked at: 7 packets"
    )
    assert list(failed.commands) == [WRITE, WRITE]


def test_a_command_that_was_never_to_be_fails_at_once() -> None:
    failed = judge([WRITE, LOST], MEANWHILE, failed=True, never=True)
    message = "seen after 0.25 s: web1 READ(10) gold/web1-disk0 (LUN 0), -, no response"
    assert failed == Verdict(name="it", ok=False, message=message, commands=[LOST])


def test_never_is_not_claimed_of_packets_that_nobody_looked_at() -> None:
    unsure = judge([WRITE], OVER, "3 packets that the kernel had no room for", failed=True, never=True)
    message = "nobody can tell: 3 packets that the kernel had no room for were not looked at"
    assert unsure == Verdict(name="it", ok=False, message=message, commands=[])


def test_a_stranger_is_named_by_its_address() -> None:
    kept = judge([replace(WRITE, owner=Owner())], MEANWHILE, op="WRITE")
    assert kept is not None
    assert kept.message == "seen after 0.50 s: 10.20.0.21 WRITE(10) LUN 0, 250 ms, GOOD"
