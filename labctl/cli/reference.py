"""`python -m labctl.cli.reference`: writes docs/reference/cli.md from the commands themselves; a test holds the two equal."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer.main

from labctl.cli.lazy import Entry, LazyCommand, load
from labctl.cli.main import all_entries, app

WIDTH = 100
"""Columns that help is wrapped at."""

HEADER = """# Commands

Written by `python -m labctl.cli.reference` from the commands' own `--help`.
"""


def render(entries: Mapping[str, Entry]) -> str:
    """The page.

    Args:
        entries: the commands by name, as all_entries gives them.
    """
    root = typer.main.get_command(app)
    parts = [HEADER, _section("labctl", root)]
    for name, entry in entries.items():
        parts += _with_subcommands(f"labctl {name}", load(entry))
    return "\n".join(parts)


def _with_subcommands(path: str, command: Any) -> Iterator[str]:
    if isinstance(command, LazyCommand):
        command = command.real()
    yield _section(path, command)
    context = _context(path, command)
    for name in command.list_commands(context) if hasattr(command, "list_commands") else ():
        yield from _with_subcommands(f"{path} {name}", command.get_command(context, name))


def _section(path: str, command: Any) -> str:
    text = "\n".join(line.rstrip() for line in command.get_help(_context(path, command)).splitlines())
    return f"## {path}\n\n```text\n{text}\n```\n"


def _context(path: str, command: Any) -> Any:
    return command.context_class(command, info_name=path, terminal_width=WIDTH, max_content_width=WIDTH)


def main() -> None:
    """Write the page of this checkout."""
    page = Path(__file__).resolve().parents[2] / "docs" / "reference" / "cli.md"
    page.write_text(render(all_entries()), encoding="utf-8")
    sys.stdout.write(f"wrote {page}\n")


if __name__ == "__main__":
    main()
