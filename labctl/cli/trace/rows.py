"""Commands as lines, for `list` and `live`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from labctl.trace.command import Command
from labctl.trace.reports import words

COLUMNS: Final = (
    ("id", 7),
    ("time", 15),
    ("host", 8),
    ("vm", 10),
    ("proto", 7),
    ("operation", 22),
    ("object", 34),
    ("offset", 13),
    ("length", 8),
    ("latency", 9),
    ("status", 0),
)
"""Headings, and how wide each column is at least; the last is as long as it is."""


def heading() -> str:
    """The line above."""
    return line([name for name, _ in COLUMNS])


def row(command: Command) -> str:
    """A command's line."""
    owner = command.owner
    return line(
        [
            str(command.id),
            words.clock(command.start),
            owner.host or command.client.address,
            owner.vm or "-",
            str(command.protocol),
            command.operation,
            words.thing(command) or "-",
            "-" if command.offset is None else str(command.offset),
            words.size(command.length),
            words.duration(command.latency),
            words.outcome(command),
        ]
    )


def line(cells: Sequence[str]) -> str:
    """Cells in their columns."""
    return "  ".join(cell.ljust(width) for cell, (_, width) in zip(cells, COLUMNS, strict=True)).rstrip()
