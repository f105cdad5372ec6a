"""A command group whose commands are imported when they are used.

Rule: `labctl --help` imports no command. Each entry carries its one line of help; its module is imported when the command is parsed.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import typer
import typer.core
import typer.main

PLAIN = None
"""Help in plain text: rich would cost 0.1 s at each start (rich_markup_mode)."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One command, or group of commands.

    Args:
        help: its line in `labctl --help`.
        app: where its typer.Typer is, `package.module:attribute`.
        group: whether it is a group (`vm`), rather than one command (`up`).
    """

    help: str
    app: str
    group: bool = False


def load(entry: Entry) -> Any:
    """Import an entry and make typer's command of it."""
    module, _, attribute = entry.app.partition(":")
    app = getattr(importlib.import_module(module), attribute)
    if not isinstance(app, typer.Typer):
        raise TypeError(f"{entry.app} is not a typer.Typer")
    app.rich_markup_mode = PLAIN
    return typer.main.get_group(app) if entry.group else typer.main.get_command(app)


class LazyCommand(typer.core.TyperCommand):
    """Stands for a command until it is parsed."""

    def __init__(self, name: str, entry: Entry) -> None:
        super().__init__(name, help=entry.help, rich_markup_mode=PLAIN)
        self._entry = entry

    def real(self) -> Any:
        """Import the command that this stands for."""
        command = load(self._entry)
        command.name = self.name
        return command

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Hand over to the real command."""
        return self.real().make_context(info_name, args, parent=parent, **extra)


class LazyGroup(typer.core.TyperGroup):
    """A group that makes LazyCommands of a table of entries; subclasses give the table."""

    def entries(self) -> Mapping[str, Entry]:
        """The table, in the order of `--help`."""
        return {}

    def list_commands(self, ctx: Any) -> list[str]:
        """The commands' names, in the table's order."""
        return list(self.entries())

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A stand-in for the command of that name, or None."""
        entry = self.entries().get(cmd_name)
        return None if entry is None else LazyCommand(cmd_name, entry)
