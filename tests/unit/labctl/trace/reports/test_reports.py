"""Filters, sums and words."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from labctl.trace.command import Command, Endpoint, Owner, Protocol
from labctl.trace.reports import words
from labctl.trace.reports.filters import Filter
from labctl.trace.reports.histogram import Histogram
from labctl.trace.reports.summary import SLOWEST, Summary

BASE = Command(
    id=1,
    protocol=Protocol.ISCSI,
    operation="WRITE(10)",
    client=Endpoint(address="10.20.0.21", port=40001),
    server=Endpoint(address="10.20.0.11", port=3260),
    start=1_700_000_000_000_000_000,
    end=1_700_000_000_002_500_000,
    frames=(1, 2),
    session="i,t",
    tag=7,
    target="LUN 3",
    offset=4096,
    length=8192,
    sent=8192,
    status="GOOD",
    good=True,
    depth=2,
    owner=Owner(host="esx1", vm="web1", datastore="gold", disk="disk0"),
)


def command(**changes: object) -> Command:
    return replace(BASE, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wanted", "meant"),
    [
        ({}, True),
        ({"hosts": ["esx1"], "vms": ["web1"], "datastores": ["gold"]}, True),
        ({"hosts": ["esx2"]}, False),
        ({"vms": ["db1"]}, False),
        ({"datastores": ["silver"]}, False),
        ({"operations": ["write"]}, True),
        ({"operations": ["WRITE(10)"]}, True),
        ({"operations": ["WRITE(16)", "READ"]}, False),
        ({"operations": ["W*"]}, True),
        ({"slower": 2_500_000}, True),
        ({"slower": 2_500_001}, False),
        ({"failed": True}, False),
    ],
)
def test_a_command_is_meant_or_not(wanted: dict[str, object], meant: bool) -> None:
    assert Filter(**wanted).test()(BASE) is meant  # type: ignore[arg-type]


def test_what_only_leads_to_others_is_left_out_unless_it_failed_or_is_asked_for() -> None:
    carrier = command(operation="PUTFH", protocol=Protocol.NFS4)
    assert not Filter().test()(carrier)
    assert Filter(carriers=True).test()(carrier)
    assert Filter(operations=["PUTFH"]).test()(carrier)
    assert Filter().test()(replace(carrier, good=False, status="NFS4ERR_STALE"))


def test_percentiles_are_within_a_hundredth() -> None:
    chance, counted = random.Random(1), Histogram()
    values = sorted(int(chance.lognormvariate(13, 1)) for _ in range(5000))
    for value in values:
        counted.add(value)
    for share in (0.5, 0.95, 0.99):
        assert counted.percentile(share) == pytest.approx(values[int(len(values) * share) - 1], rel=0.011)
    assert counted.percentile(1.0) == pytest.approx(values[-1], rel=0.011)
    assert counted.largest == values[-1]
    assert Histogram().percentile(0.5) is None
    assert Histogram().mean is None


def test_a_sum_tells_kinds_apart_and_keeps_the_slowest() -> None:
    total = Summary()
    for number in range(50):
        total.add(command(id=number, start=BASE.start + number, end=BASE.start + number + 1000 * number))
    total.add(command(id=50, operation="READ(10)", sent=0, received=512, owner=Owner(host="esx2")))
    total.add(command(id=51, end=None, good=False, status=""))
    total.add(command(id=52, good=False, status="CHECK CONDITION", sense="MEDIUM ERROR 11/00", retransmissions=3))
    row = total.rows["iscsi", "WRITE(10)", "esx1", "web1", "gold"]
    assert (row.count, row.sent, row.depth / row.count, row.deepest, row.retransmissions) == (52, 52 * 8192, 2, 2, 3)
    assert row.errors == {"no response": 1, "CHECK CONDITION: MEDIUM ERROR 11/00": 1}
    assert total.rows["iscsi", "READ(10)", "esx2", "", ""].received == 512
    assert [each.id for each in total.slowest][:3] == [50, 52, 49]
    assert len(total.slowest) == SLOWEST
    told = total.to_json()
    assert (told["commands"], told["operations"][0]["p50"] > 0) == (53, True)
    assert total.seconds == pytest.approx(0.0025)


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (None, "-"),
        (999, "999 ns"),
        (1_500, "1.50 us"),
        (25_800_000, "25.8 ms"),
        (128_000_000, "128 ms"),
        (3 * 10**9, "3.00 s"),
    ],
)
def test_durations_have_three_figures(nanoseconds: int | None, text: str) -> None:
    assert words.duration(nanoseconds) == text


def test_a_command_in_words() -> None:
    assert words.thing(BASE) == "gold/disk0 (LUN 3)"
    assert words.thing(command(target="handle 0102", owner=Owner(datastore="files", disk="disk1"))) == "files/disk1"
    assert words.thing(command(target="/gold/a", owner=Owner())) == "/gold/a"
    assert words.outcome(command(end=None)) == "no response"
    assert words.outcome(command(status="CHECK CONDITION", sense="MEDIUM ERROR")) == "CHECK CONDITION: MEDIUM ERROR"
    assert words.clock(BASE.start) == "22:13:20.000000"
    assert [words.size(size) for size in (None, 100, 4096, 3 << 20, 1 << 30, 4097)] == [
        "-",
        "100",
        "4K",
        "3M",
        "1G",
        "4097",
    ]
