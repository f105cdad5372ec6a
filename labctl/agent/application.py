"""What an agent's module hands to the server that runs it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from labctl.model.json import Json

if TYPE_CHECKING:
    from starlette.routing import BaseRoute


class Publisher(Protocol):
    """Sends events to whoever listens at /v1/events (labd, foremost)."""

    def __call__(self, event: str, /, **properties: Json) -> None:
        """Publish `event` (`vm.stopped`) with its properties; never blocks."""


class AgentApplication(Protocol):
    """The agent's own part: its routes and its life."""

    def routes(self) -> Sequence[BaseRoute]:
        """Starlette routes; a LabError that they raise becomes an answer with its message and hint."""

    async def start(self) -> None:
        """Called before the first request; adopt here what a killed predecessor left running."""

    async def stop(self) -> None:
        """Called on SIGTERM, after the last request. Must not stop what is to outlive the agent (VMs)."""
