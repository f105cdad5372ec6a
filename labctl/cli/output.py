"""What every command prints alike: errors, JSON, tables, states."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from labctl.errors import LabError

STYLES = {
    "ok": "green",
    "Connected": "green",
    "running": "green",
    "missing": "red",
    "stopped": "yellow",
    "not responding": "red",
    "Not responding": "red",
}
"""The colours of states on a terminal."""


def write(text: str) -> None:
    """A line on stdout."""
    sys.stdout.write(text + "\n")


def note(text: str) -> None:
    """A line for people on stderr, so that stdout stays what was asked for."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def print_error(error: LabError) -> None:
    """`error: …` and `hint: …` on stderr. A message that lists positions (`file:line:column: error: …`) stands by itself."""
    prefix = "" if ": error: " in error.message.partition("\n")[0] else "error: "
    note(f"{prefix}{error.message}")
    if error.hint:
        note(f"hint: {error.hint}")


def print_json(value: object) -> None:
    """One JSON document on stdout."""
    write(json.dumps(value, indent=2, sort_keys=False, default=str))


def print_json_line(value: object) -> None:
    """One JSON document on a line of its own, for streams."""
    write(json.dumps(value, separators=(",", ":"), default=str))
    sys.stdout.flush()


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table: with colours on a terminal, aligned plain text elsewhere."""
    body = [list(row) for row in rows]
    if sys.stdout.isatty():
        _rich_table(columns, body)
        return
    widths = [max(len(line[index]) for line in [list(columns), *body]) for index in range(len(columns))]
    for line in [list(columns), *body]:
        write("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _rich_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*[Text(cell, style=STYLES.get(cell, "")) for cell in row])
    Console().print(table)


def pairs(values: dict[str, Any]) -> str:
    """`network address, …` for a table's cell."""
    return ", ".join(f"{key} {value}" for key, value in values.items())
