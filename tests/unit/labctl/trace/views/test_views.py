"""Waterfall, ladder and diff: from commands to what people look at."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from labctl.trace.command import Command, Endpoint, Owner, Protocol
from labctl.trace.record import Annotation
from labctl.trace.reports.summary import Summary
from labctl.trace.views import diff, ladder, waterfall

T = 1_700_000_000_000_000_000
MS = 1_000_000
BASE = Command(
    id=7,
    protocol=Protocol.ISCSI,
    operation="WRITE(10)",
    client=Endpoint(address="10.20.0.21", port=40001),
    server=Endpoint(address="10.20.0.11", port=3260),
    start=T,
    end=T + 30 * MS,
    frames=(1, 9),
    session="i,t",
    tag=118,
    target="LUN 0",
    offset=4096,
    length=65536,
    sent=65536,
    status="GOOD",
    good=True,
    round_trips=2,
    owner=Owner(host="esx1", vm="web1", datastore="gold", disk="disk0"),
)
STAGES = {
    "queued": T + 2 * MS,
    "started": T + 3 * MS,
    "store-begin": T + 4 * MS,
    "store-end": T + 8 * MS,
    "responded": T + 28 * MS,
}


def note(**changes: object) -> Annotation:
    data = {
        "array": "san1",
        "protocol": "iscsi",
        "client": "10.20.0.21:40001",
        "server": "10.20.0.11:3260",
        "tag": 118,
        **STAGES,
    }
    return Annotation(time=T, kind="stages", data={**data, **changes})


def test_stages_belong_to_the_command_that_was_under_way_with_that_tag_on_that_connection() -> None:
    others = [
        note(tag=119),
        note(client="10.20.0.22:40001"),
        note(server="10.20.0.12:3260"),
        note(queued=T - 1),
        note(queued=T + 31 * MS),
        replace(note(), kind="event"),
    ]
    assert waterfall.stages_of(BASE, others) == {}
    assert waterfall.stages_of(BASE, [*others, note()]) == STAGES


def test_the_parts_of_a_command_follow_one_another_and_are_all_of_its_time() -> None:
    parts = waterfall.spans(BASE, STAGES)
    assert [(part.name, part.begin // MS, part.end // MS) for part in parts] == [
        ("request and its data on the way", 0, 2),
        ("in the server's queue", 2, 3),
        ("before the store", 3, 4),
        ("the backing store", 4, 8),
        ("in the server, done but not answered", 8, 28),
        ("response on the way", 28, 30),
    ]


@pytest.mark.parametrize(
    ("passed", "names"),
    [
        (("queued", "responded"), ["request and its data on the way", "in the server, refused", "response on the way"]),
        (
            ("queued", "started", "responded"),
            [
                "request and its data on the way",
                "in the server's queue",
                "in the server, without the store",
                "response on the way",
            ],
        ),
        ((), ["request, server and response"]),
    ],
)
def test_stages_that_were_not_passed_leave_no_gap(passed: tuple[str, ...], names: list[str]) -> None:
    parts = waterfall.spans(BASE, {stage: at for stage, at in STAGES.items() if stage in passed})
    assert [part.name for part in parts] == names
    assert sum(part.end - part.begin for part in parts) == BASE.latency


def test_a_waterfall_in_words() -> None:
    lines = list(waterfall.text(BASE, STAGES))
    assert lines[:2] == ["command 7: WRITE(10) gold/disk0 (LUN 0)", "30.0 ms, GOOD"]
    assert lines[6].startswith("in the server, done but not answered  |             ####")
    assert lines[6].endswith("|  20.0 ms")
    assert lines[-1] == "the request's data was asked for by 2 R2Ts"
    assert list(waterfall.text(BASE, {}))[-1] == "the server's own times are not in the capture: record with --stages"
    assert list(waterfall.text(replace(BASE, end=None), {}))[-1] == "no response was seen"
    assert waterfall.spans(replace(BASE, end=None), STAGES) == []
    assert waterfall.to_json(BASE, STAGES)["parts"][3] == {"name": "the backing store", "begin": 4 * MS, "end": 8 * MS}


READ = replace(
    BASE,
    id=8,
    operation="READ(10)",
    start=T + 10 * MS,
    end=T + 20 * MS,
    status="CHECK CONDITION",
    sense="MEDIUM ERROR",
    good=False,
)


def test_a_ladder_has_an_arrow_for_each_request_and_response_in_the_order_of_their_times() -> None:
    arrows = ladder.steps([BASE, READ, replace(BASE, id=9, part=1)])
    assert [(step.time // MS, step.towards_server, step.good) for step in arrows] == [
        (0, True, True),
        (10, True, True),
        (20, False, False),
        (30, False, True),
    ]
    assert arrows[0].label == "WRITE(10) gold/disk0 (LUN 0) @4096 64K"
    assert arrows[3].label == "GOOD (30.0 ms, after 2 R2T)"
    lines = list(ladder.text("10.20.0.21:40001", "10.20.0.11:3260", arrows))
    assert lines[1].endswith(">|")
    assert "|<" in lines[3]
    assert len({len(line) for line in lines[1:]}) == 1
    assert ladder.steps([]) == []


def test_a_drawing_is_well_formed_whatever_came_from_the_wire() -> None:
    hostile = replace(BASE, target='"/><script>alert(1)</script>', owner=Owner())
    drawing = ladder.svg("<a>", "b&c", ladder.steps([hostile, READ]))
    root = ElementTree.fromstring(drawing)
    assert "<script>" not in drawing
    assert len(root.findall(".//{http://www.w3.org/2000/svg}text")) == 2 + 2 * 4


def summed(*commands: Command) -> Summary:
    total = Summary()
    for command in commands:
        total.add(command)
    return total


def test_a_comparison_has_what_came_what_went_and_what_changed_first() -> None:
    slow = replace(BASE, end=T + 300 * MS)
    gone = replace(BASE, operation="UNMAP")
    before, after = summed(BASE, BASE, READ, gone), summed(slow, READ, replace(BASE, operation="COMPARE AND WRITE"))
    changes = list(diff.changes(before, after))
    assert [change.key[1] for change in changes] == ["COMPARE AND WRITE", "UNMAP", "WRITE(10)", "READ(10)"]
    write, read = changes[2:]
    assert write.slower == pytest.approx(10, rel=0.03)
    assert read.slower == 1
    assert diff.size(write.before) == 65536
    told = diff.to_json(before, after)[2]
    assert (told["before"]["count"], told["after"]["count"], told["vm"]) == (2, 1, "web1")
    assert diff.to_json(before, after)[3]["after"]["errors"] == 1
