"""The hooks. A plugin is a module (named by an entry point in the group `labctl`) with functions decorated by `hookimpl`.

All hooks are collected from every plugin; order does not matter, and two plugins that claim one name are an error shown by
`labctl plugin doctor`. A plugin module is imported at every start of the command line: keep it light, import inside the hooks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from labctl.plugin.api import CommandGroup, DoctorFinding, Kind, UnitHandler

hookspec = pluggy.HookspecMarker("labctl")
hookimpl = pluggy.HookimplMarker("labctl")


@hookspec
def labctl_kinds() -> Iterable[Kind[Any]]:  # type: ignore[empty-body]
    """The kinds of resource that the plugin brings. Called once in a process. Since API 1."""


@hookspec
def labctl_unit_handlers() -> Iterable[UnitHandler]:  # type: ignore[empty-body]
    """The handlers of the unit types that the plugin's kinds compile to. Called once in labd. Since API 1."""


@hookspec
def labctl_commands() -> Iterable[CommandGroup]:  # type: ignore[empty-body]
    """Command groups for the command line. Called at every start: return constants. Since API 1."""


@hookspec
def labctl_doctor() -> Sequence[DoctorFinding]:  # type: ignore[empty-body]
    """Look at what the plugin needs of the machine (tools, rights, kernel). May take a second. Since API 1."""


@hookspec
def labctl_topologies() -> Iterable[Path]:  # type: ignore[empty-body]
    """Folders of example topologies (`NAME.toml`), which `labctl up NAME` finds. Since API 1."""
