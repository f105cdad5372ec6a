"""Plots: cells are counted right however they are joined, and the drawing is well formed."""

from __future__ import annotations

import random
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from labctl.trace.command import Owner
from labctl.trace.views.plot import COLUMNS, OBJECTS, ROWS, Grid, Plot, family

from .test_views import BASE, MS, READ, T


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        (BASE, "write"),
        (READ, "failed"),
        (replace(READ, good=True), "read"),
        (replace(BASE, operation="READ"), "read"),
        (replace(BASE, operation="READDIR"), "other"),
        (replace(BASE, operation="COMPARE AND WRITE"), "write"),
    ],
)
def test_families(command, kind: str) -> None:  # type: ignore[no-untyped-def]
    assert family(command) == kind


def test_joining_cells_loses_none_and_keeps_within_the_limits() -> None:
    chance, grid = random.Random(1), Grid(ROWS)
    for number in range(5000):
        grid.add(T + number * number * 1000, chance.randrange(1 << (number // 400)), chance.choice(("read", "write")))
        assert grid.columns <= COLUMNS
        assert grid.rows <= ROWS
    assert sum(grid.cells.values()) == 5000
    assert max(x for x, _, _ in grid.cells) == (5000 - 1) ** 2 * 1000 // grid.column
    whole = Grid(None)
    whole.add(T, 1_000_000, "read")
    assert whole.rows == 1_000_001


def test_a_page_has_a_chart_of_latencies_and_one_of_each_disk() -> None:
    plot = Plot()
    for number in range(300):
        plot.add(
            replace(
                BASE, start=T + number * 10 * MS, end=T + number * 10 * MS + MS * (1 + number % 7), offset=number << 20
            )
        )
        plot.add(replace(READ, offset=None, end=None))
    hostile = replace(BASE, target="</text><script>", owner=Owner())
    plot.add(hostile)
    drawing = ElementTree.fromstring(plot.svg())
    texts = ["".join(each.itertext()) for each in drawing.iter("{http://www.w3.org/2000/svg}text")]
    assert texts[:4] == ["read", "write", "other", "failed"]
    assert "Latency" in texts
    assert "Offset on gold/disk0 (LUN 0)" in texts
    assert "Offset on </text><script>" in texts
    page = plot.html("a <b>")
    assert "<script>" not in page
    assert "601 commands" in page
    assert "a &lt;b&gt;" in page


def test_only_so_many_disks_have_a_map() -> None:
    plot = Plot()
    for number in range(OBJECTS + 5):
        plot.add(replace(BASE, target=f"/file{number}", owner=Owner()))
    assert len(plot.places) == OBJECTS
