"""Expectations of traffic: met, not met, and never to be."""

from __future__ import annotations

import threading

import pytest

from labctl.testing.traffic import Traffic
from labctl.trace.command import Command, Endpoint, Owner, Protocol

WRITE = Command(
    id=1,
    protocol=Protocol.ISCSI,
    operation="WRITE(10)",
    client=Endpoint(address="10.20.0.21", port=40001),
    server=Endpoint(address="10.20.0.11", port=3260),
    start=1_700_000_000_000_000_000,
    end=1_700_000_000_002_000_000,
    frames=(1, 2),
    session="i,t",
    tag=1,
    target="LUN 0",
    status="GOOD",
    good=True,
    owner=Owner(host="esx1", vm="web1", datastore="gold"),
)


def test_what_was_seen_is_found_and_what_comes_later_is_waited_for() -> None:
    traffic = Traffic()
    traffic.commands.append(WRITE)
    assert traffic.expect(op="WRITE", vm="web1", host="esx1", datastore="gold", slower="1ms").within("0s") == [WRITE]
    threading.Timer(0.1, traffic.commands.append, [WRITE]).start()
    assert len(traffic.expect(op="WRITE", count=2).within("60s")) == 2


def test_what_was_not_seen_is_said_with_what_was() -> None:
    traffic = Traffic()
    with pytest.raises(AssertionError, match=r"0 of 1 commands with op=READ, vm=web1 within 10ms; seen: nothing"):
        traffic.expect(op="READ", vm="web1").within("10ms")
    traffic.commands.append(WRITE)
    with pytest.raises(AssertionError, match=r"1 of 2 commands with op=WRITE within 10ms; seen: 1 x web1 WRITE\(10\)"):
        traffic.expect(op="WRITE", count=2).within("10ms")


def test_what_was_never_to_be() -> None:
    traffic = Traffic()
    traffic.commands.append(WRITE)
    traffic.expect(failed=True).never()
    with pytest.raises(
        AssertionError, match=r"1 commands with vm=web1, which were not to be; the first: WRITE\(10\) gold"
    ):
        traffic.expect(vm="web1").never()


def test_when_the_watching_broke_nothing_is_waited_for() -> None:
    traffic = Traffic()
    traffic.error = OSError("gone")
    with pytest.raises(AssertionError, match="cannot be watched any more"):
        traffic.expect(op="READ").within("60s")
