"""The check plugin's registration: what the entry point `check` names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from labctl.plugin.api import CommandGroup
from labctl.plugin.hookspecs import hookimpl

if TYPE_CHECKING:
    from labctl.plugin.api import Kind


@hookimpl
def labctl_kinds() -> Iterable[Kind[Any]]:
    """Check."""
    from labctl_check.kind import CheckKind

    return (CheckKind(),)


@hookimpl
def labctl_commands() -> Iterable[CommandGroup]:
    """The command `check`."""
    text = "Hold a running lab's traffic to its [check.*] tables."
    return (CommandGroup(name="check", help=text, app="labctl_check.cli:app", single=True),)
