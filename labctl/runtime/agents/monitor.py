"""Whether each agent answers, told by its own event stream.

One stream to each agent, over the management network. A line at least each second means Connected; three seconds of silence, or a
broken stream, mean Not responding, and it is tried again until it is back. What an agent tells in its stream goes on to the lab's events;
after a gap it is asked for what was missed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from enum import StrEnum
from typing import Any, Protocol

from labctl.errors import LabError
from labctl.model.json import Json

RETRY_INTERVAL = 0.5
"""Seconds between two attempts to reach an agent that does not respond."""

log = logging.getLogger(__name__)


class AgentState(StrEnum):
    """How an agent stands, in the words of the field."""

    CONNECTING = "Connecting"
    CONNECTED = "Connected"
    NOT_RESPONDING = "Not responding"


class EventSource(Protocol):
    """An agent's event stream."""

    def events(self, *, instance: str | None, since: int | None) -> AsyncGenerator[dict[str, Any] | None, None]:
        """See labctl.agent.client.AgentClient.events."""


class Listener(Protocol):
    """Who is told."""

    def state_changed(self, node: str, state: AgentState, reason: str) -> None:
        """An agent's state is another now."""

    def event(self, node: str, name: str, properties: Mapping[str, Json]) -> None:
        """An agent told an event."""


class Monitor:
    """Follows agents.

    Args:
        listener: who is told.
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._states: dict[str, AgentState] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @property
    def states(self) -> Mapping[str, AgentState]:
        """Each followed agent's state, by node."""
        return self._states

    def follow(self, node: str, source: Callable[[], EventSource]) -> None:
        """Follow a node's agent, unless that is done already.

        Args:
            node: the node.
            source: gives its current connection.
        """
        if node in self._tasks:
            return
        self._states[node] = AgentState.CONNECTING
        self._tasks[node] = asyncio.get_running_loop().create_task(self._follow(node, source), name=f"follow {node}")

    async def forget(self, node: str) -> None:
        """Stop following a node's agent; its state is no longer told."""
        self._states.pop(node, None)
        task = self._tasks.pop(node, None)
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def close(self) -> None:
        """Stop following all."""
        for node in list(self._tasks):
            await self.forget(node)

    async def _follow(self, node: str, source: Callable[[], EventSource]) -> None:
        instance: str | None = None
        seen: int | None = None
        while True:
            try:
                async with contextlib.aclosing(source().events(instance=instance, since=seen)) as events:
                    async for entry in events:
                        self._become(node, AgentState.CONNECTED, "")
                        if entry is None:
                            continue
                        if "instance" in entry:
                            if instance != entry["instance"]:
                                instance, seen = entry["instance"], entry["sequence"] if instance is None else 0
                        else:
                            seen = entry["sequence"]
                            self._listener.event(node, entry["event"], entry.get("properties") or {})
            except LabError as error:
                self._become(node, AgentState.NOT_RESPONDING, error.message)
            except Exception as error:
                # A bug, or an agent that talks nonsense: told, and tried again, since nobody else looks after this agent.
                log.exception("the event stream of %s", node)
                self._become(node, AgentState.NOT_RESPONDING, f"{type(error).__name__}: {error}")
            await asyncio.sleep(RETRY_INTERVAL)

    def _become(self, node: str, state: AgentState, reason: str) -> None:
        if self._states.get(node) is not state:
            self._states[node] = state
            self._listener.state_changed(node, state, reason)
