"""A whole lab on fake or real handlers, without labd: what the runtime's own tests and a plugin's integration tests use."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labctl.model.json import Json
from labctl.plugin.api import AgentCalls, Kind, UnitHandler
from labctl.runtime.events import LabEvents
from labctl.runtime.journal import Journal
from labctl.runtime.lab import Lab
from labctl.runtime.paths import LabPaths
from labctl.runtime.services import LabServices
from labctl.testing.kinds import SMALL_MACHINE, plugins_of


class NoAgent:
    """An agent that refuses every call."""

    async def call(self, method: str, path: str, body: Json = None, *, timeout: float = 30.0) -> Json:
        """Fail the test.

        Raises:
            AssertionError: always.
        """
        raise AssertionError(f"nothing should call an agent here ({method} {path})")


def _no_cgroup(_node: str) -> Path | None:
    return None


def services_in(
    home: Path, journal: Journal, *, name: str = "test", agents: Mapping[str, AgentCalls] | None = None
) -> LabServices:
    """Services of a lab below `home`, without cgroups, and with these agents."""
    paths = LabPaths(home, name)
    known = agents or {}
    return LabServices(
        paths=paths,
        lab=paths.info(rootless=False, images=home / "images"),
        journal=journal,
        events=LabEvents(name),
        agents=lambda node: known.get(node) or NoAgent(),
        cgroups=_no_cgroup,
    )


def open_lab(
    home: Path,
    kinds: list[Kind[Any]],
    handlers: list[UnitHandler],
    *,
    name: str = "test",
    journal: Journal | None = None,
) -> Lab:
    """A lab of these kinds and handlers below `home`; opening it again is what a restart of labd is.

    Args:
        home: what LABCTL_HOME is otherwise.
        kinds: the kinds that its topologies may use.
        handlers: the handlers of their units.
        name: the lab's name.
        journal: in place of the one at its usual place, e.g. a CrashJournal.
    """
    paths = LabPaths(home, name)
    paths.directory.mkdir(parents=True, exist_ok=True)
    journal = journal or Journal(paths.journal)
    services = services_in(home, journal, name=name)
    return Lab(
        services=services,
        plugins=plugins_of(*kinds, handlers=handlers),
        journal=journal,
        events=LabEvents(name),
        machine=SMALL_MACHINE,
    )
