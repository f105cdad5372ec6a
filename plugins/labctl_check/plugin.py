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
    """Check and alarm."""
    from labctl_check.alarm.kind import AlarmKind
    from labctl_check.kind import CheckKind

    return (CheckKind(), AlarmKind())


@hookimpl
def labctl_commands() -> Iterable[CommandGroup]:
    """The command `check`, and the group `alarm`."""
    text = "Hold a running lab's traffic to its [check.*] tables."
    return (
        CommandGroup(name="check", help=text, app="labctl_check.cli:app", single=True),
        CommandGroup(
            name="alarm", help="Alarms: what is above or below its threshold.", app="labctl_check.alarm.cli:app"
        ),
    )
