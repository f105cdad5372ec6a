"""Pictures of a capture: latency over time, and where on each disk or file the commands went. Self-contained SVG, PNG and HTML.

Commands are counted in cells as they come, and cells are joined by twos when there get to be too many: any capture takes the same memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from html import escape
from typing import Final

from labctl.trace.command import Command
from labctl.trace.reports import words
from labctl.trace.views.drawing import Drawing, Rect, Text

COLUMNS: Final = 400
"""Cells of time at most."""

ROWS: Final = 128
"""Cells of offset at most."""

OBJECTS: Final = 8
"""Disks and files that have a map of their own: those that were seen first."""

PER_OCTAVE: Final = 4
"""Rows of latency for each doubling."""

FAMILIES: Final = {"read": "#1f77b4", "write": "#d98200", "other": "#777777", "failed": "#d62728"}
"""What is told apart, by its colour."""

_WIDTH, _HEIGHT, _LEFT, _TOP, _HEAD, _BETWEEN = 860, 300, 80, 30, 40, 80  # pixels
_UNIT: Final = 65_536


def family(command: Command) -> str:
    """Which of the families a command is of."""
    if not command.good:
        return "failed"
    word = command.operation
    if word.startswith("READ(") or word in ("READ", "READ_PLUS"):
        return "read"
    if word.startswith(("WRITE", "COMPARE AND WRITE", "ORWRITE", "UNMAP")):
        return "write"
    return "other"


class Grid:
    """Counts in cells of time and something else.

    Args:
        rows: rows at most; beyond them, rows are joined by twos; None never joins.
    """

    def __init__(self, rows: int | None) -> None:
        self._limit = rows
        self.first: int | None = None
        self.column = 1_000_000  # nanoseconds
        self.row = 1
        self.cells: dict[tuple[int, int, str], int] = {}
        self.columns = self.rows = 0

    def add(self, time: int, value: int, kind: str) -> None:
        """Count one; times may be a little out of order."""
        if self.first is None:
            self.first = time
        x, y = max(time - self.first, 0) // self.column, value // self.row
        while x >= COLUMNS:
            self.column *= 2
            x //= 2
            self._join(lambda column, row: (column // 2, row))
        while self._limit is not None and y >= self._limit:
            self.row *= 2
            y //= 2
            self._join(lambda column, row: (column, row // 2))
        key = x, y, kind
        self.cells[key] = self.cells.get(key, 0) + 1
        self.columns, self.rows = max(self.columns, x + 1), max(self.rows, y + 1)

    def _join(self, place: Callable[[int, int], tuple[int, int]]) -> None:
        joined: dict[tuple[int, int, str], int] = {}
        for (x, y, kind), count in self.cells.items():
            key = *place(x, y), kind
            joined[key] = joined.get(key, 0) + count
        self.cells = joined
        self.columns = 1 + max((x for x, _, _ in joined), default=-1)
        self.rows = 1 + max((y for _, y, _ in joined), default=-1)


class Plot:
    """Takes commands, and draws them."""

    def __init__(self) -> None:
        self.latency = Grid(None)
        self.places: dict[str, Grid] = {}
        self.count = 0

    def add(self, command: Command) -> None:
        """Count one."""
        self.count += 1
        kind = family(command)
        latency = command.latency
        if latency is not None:
            self.latency.add(command.start, int(math.log2(max(latency, 1)) * PER_OCTAVE), kind)
        if command.offset is None:
            return
        name = words.thing(command)
        grid = self.places.get(name)
        if grid is None:
            if len(self.places) >= OBJECTS:
                return
            grid = self.places[name] = Grid(ROWS)
        grid.add(command.start, command.offset // _UNIT, kind)

    def svg(self) -> str:
        """One drawing of everything."""
        return self.drawing().svg()

    def png(self) -> bytes:
        """The same as PNG.

        Raises:
            MissingToolError: the package that draws it is not installed.
        """
        return self.drawing().png()

    def html(self, title: str) -> str:
        """A page that needs nothing else."""
        return (
            f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title></head>\n'
            f'<body style="font-family: sans-serif"><h1>{escape(title)}</h1><p>{self.count} commands</p>\n{self.svg()}</body></html>\n'
        )

    def drawing(self) -> Drawing:
        """The families' colours, and below them a chart for each grid."""
        shapes: list[Rect | Text] = []
        for number, (kind, colour) in enumerate(FAMILIES.items()):
            x = _LEFT + 110 * number
            shapes += [Rect(x=x, y=12, width=12, height=12, fill=colour), Text(x=x + 18, y=22, text=kind)]
        top = _HEAD
        for title, grid, low, label in self._charts():
            shapes += _chart(top, title, grid, low, label)
            top += _HEIGHT + _BETWEEN
        return Drawing(width=_WIDTH + _LEFT + 40, height=top, shapes=shapes)

    def _charts(self) -> Iterator[tuple[str, Grid, int, Callable[[int], str]]]:
        """Title, grid, lowest row, and what a row is called."""
        grid = self.latency
        if grid.cells:
            low = min(y for _, y, _ in grid.cells)
            yield "Latency", grid, low, lambda row: words.duration(int(2 ** (row / PER_OCTAVE)))
        for name, place in self.places.items():
            yield f"Offset on {name}", place, 0, partial(_offset, place.row * _UNIT)


def _offset(unit: int, row: int) -> str:
    return words.size(row * unit)


def _chart(top: int, title: str, grid: Grid, low: int, label: Callable[[int], str]) -> Iterator[Rect | Text]:
    """One grid with its axes; the more commands a cell has, the stronger its colour."""
    columns, rows = max(grid.columns, 1), max(grid.rows - low, 1)
    width, height = _WIDTH / columns, _HEIGHT / rows
    ground = top + _TOP + _HEIGHT
    yield Text(x=_LEFT, y=top + 18, text=title, bold=True)
    yield Rect(x=_LEFT, y=top + _TOP, width=_WIDTH, height=_HEIGHT)
    for part in range(5):
        row = low + rows * part // 4
        yield Text(x=_LEFT - 6, y=ground - (row - low) * height + 4, text=label(row), anchor="end")
        time = words.duration(grid.column * columns * part // 4) if part else "0"
        yield Text(x=_LEFT + _WIDTH * part / 4, y=ground + 18, text=time, anchor="middle")
    most = max(grid.cells.values())
    for (x, y, kind), count in sorted(grid.cells.items()):
        yield Rect(
            x=_LEFT + x * width,
            y=ground - (y - low + 1) * height,
            width=max(width, 1.5),
            height=max(height, 1.5),
            fill=FAMILIES[kind],
            opacity=0.25 + 0.75 * math.log2(1 + count) / math.log2(1 + most),
            title=f"{count} {kind}",
        )
