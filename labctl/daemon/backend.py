"""What labd's HTTP interface needs of the lab behind it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Protocol

from labctl.daemon.operations import Report
from labctl.model.json import Json, JsonObject


class Backend(Protocol):
    """A lab, as JSON. Every method raises LabError for what a user can understand."""

    def lab(self) -> JsonObject:
        """Name, directory, rootless, topology."""

    async def up(self, topology: str, path: str, *, restart: bool, report: Report) -> JsonObject:
        """Bring the lab to what a topology's text says."""

    async def plan(self, topology: str, path: str, *, restart: bool) -> JsonObject:
        """What `up` would do."""

    async def down(self, *, purge: bool, report: Report) -> JsonObject:
        """Remove everything."""

    async def status(self, *, observe: bool) -> JsonObject:
        """The lab, its resources and its agents."""

    async def inspect(self, kind: str, name: str) -> JsonObject:
        """One resource."""

    async def action(self, kind: str, name: str, action: str, arguments: JsonObject) -> Json:
        """Do an action of a resource's kind."""

    def inventory(self, since: int | None) -> JsonObject:
        """Managed objects, or their changes since a revision."""

    async def metrics(self) -> JsonObject:
        """What everything has used, and how it is."""

    def events(self, since: int | None, *, follow: bool) -> AsyncGenerator[Json, None]:
        """Events after number `since` (from now on where None), and, with `follow`, those to come."""

    def node(self, name: str) -> JsonObject:
        """How to enter a node."""

    def log_file(self, node: str) -> Path:
        """The log of a node's agent, or of labd."""
