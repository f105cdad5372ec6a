"""What the runtime gives to handlers: the one implementation of labctl.plugin.api.Services."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from labctl.model.address import Address
from labctl.model.json import Json
from labctl.plugin.api import AgentCalls, LabInfo
from labctl.runtime.events import LabEvents
from labctl.runtime.journal import Journal
from labctl.runtime.paths import LabPaths


class AgentDirectory(Protocol):
    """Where connections to agents come from (labctl.runtime.agents)."""

    def __call__(self, node: str) -> AgentCalls:
        """The connection to a node's agent; it need not be running yet."""


Cgroups = Callable[[str], Path | None]
"""Makes a node's cgroup where that is possible, and names its folder (labctl.linux.cgroups)."""

Told = Callable[[str, str], None]
"""Takes a unit's id and what its step is at."""


class LabServices:
    """The services of one lab.

    Args:
        paths: the lab's places.
        lab: the lab.
        journal: its journal, for facts.
        events: its events.
        agents: connections to its agents.
        cgroups: its nodes' cgroups.
    """

    def __init__(
        self,
        *,
        paths: LabPaths,
        lab: LabInfo,
        journal: Journal,
        events: LabEvents,
        agents: AgentDirectory,
        cgroups: Cgroups,
    ) -> None:
        self.paths = paths
        self.told: Told | None = None
        self._lab = lab
        self._journal = journal
        self._events = events
        self._agents = agents
        self._cgroups = cgroups

    @property
    def lab(self) -> LabInfo:
        """See Services."""
        return self._lab

    def namespace(self, node: str) -> Path:
        """See Services."""
        return self.paths.namespace(node, rootless=self._lab.rootless)

    def cgroup(self, node: str) -> Path | None:
        """See Services."""
        return self._cgroups(node)

    def agent(self, node: str) -> AgentCalls:
        """See Services."""
        return self._agents(node)

    def facts(self, unit_id: str) -> Mapping[str, Json]:
        """See Services."""
        record = self._journal.units.get(unit_id)
        return record.facts if record else {}

    def emit(self, event: str, *, resource: Address | None = None, message: str = "", **properties: Json) -> None:
        """See Services."""
        self._events.publish(event, resource=resource, message=message, **properties)

    def progress(self, unit_id: str, message: str) -> None:
        """See Services."""
        if self.told is not None:
            self.told(unit_id, message)
