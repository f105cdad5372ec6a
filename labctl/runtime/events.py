"""The lab's events: what `labctl events -f` follows.

One bus a lab, numbered, with a bounded history; publishing never blocks. The mechanics are those of the agents' own buses.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

from labctl.agent.bus import EventBus
from labctl.model.address import Address
from labctl.model.json import Json


class LabEvents:
    """Publishes the events of one lab.

    Args:
        lab: the lab's name.
    """

    def __init__(self, lab: str) -> None:
        self._bus = EventBus(lab)

    def publish(self, event: str, *, resource: Address | None = None, message: str = "", **properties: Json) -> None:
        """Publish an event (`vm.started`), with what it is about and a sentence for people."""
        known: dict[str, Json] = dict(properties)
        if resource is not None:
            known["resource"] = str(resource)
        if message:
            known["message"] = message
        self._bus(event, **known)

    def follow(self, since: int | None = None) -> AsyncGenerator[Json, None]:
        """Events from now on, or after number `since`; see labctl.agent.bus.EventBus.listen."""
        return self._bus.listen(since=since)

    def close(self) -> None:
        """End every subscription."""
        self._bus.close()
