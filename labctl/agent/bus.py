"""A process's own events, kept for a while and handed to whoever listens.

Rules: publishing never blocks and never fails; a listener that is too slow loses its stream (it reconnects and asks from where it
was), never its publisher's time. Events are numbered within one run of the process; `instance` tells one run from the next.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import deque
from collections.abc import AsyncGenerator

from labctl.model.json import Json, JsonObject

KEPT_EVENTS = 1024
"""How many events a listener that comes back can still get; a host's busy minute is some hundreds."""

BACKLOG = 4096
"""Events that wait for one listener before its stream ends; a healthy one is never behind by more than a few."""


class EventBus:
    """Publishes events; each subscription is an asynchronous iterator of JSON objects.

    Args:
        source: who publishes, as stands in the first line of a stream.
    """

    def __init__(self, source: str) -> None:
        self.instance = secrets.token_hex(8)
        self._source = source
        self._sequence = 0
        self._kept: deque[JsonObject] = deque(maxlen=KEPT_EVENTS)
        self._listeners: set[asyncio.Queue[JsonObject | None]] = set()
        self._closed = False

    def __call__(self, event: str, /, **properties: Json) -> None:
        """Publish an event (`vm.stopped`) with its properties."""
        self._sequence += 1
        entry: JsonObject = {
            "sequence": self._sequence,
            "time": time.time(),
            "event": event,
            "properties": properties,
        }
        self._kept.append(entry)
        for queue in list(self._listeners):
            if queue.qsize() >= BACKLOG:
                self._listeners.discard(queue)
                queue.put_nowait(None)
            else:
                queue.put_nowait(entry)

    def close(self) -> None:
        """End every stream, after what was published before."""
        self._closed = True
        for queue in self._listeners:
            queue.put_nowait(None)
        self._listeners.clear()

    async def listen(self, *, instance: str | None = None, since: int | None = None) -> AsyncGenerator[Json, None]:
        """Events from now on, or from after number `since`.

        The first object is `{"source", "instance", "sequence"}`, the state at the beginning. If `instance` is that of an earlier
        run, everything kept of this run is sent, since the listener can know none of it.
        """
        queue: asyncio.Queue[JsonObject | None] = asyncio.Queue()
        if since is not None:
            first = since if instance in (None, self.instance) else 0
            for entry in self._kept:
                number = entry["sequence"]
                if isinstance(number, int) and number > first:
                    queue.put_nowait(entry)
        if self._closed:
            queue.put_nowait(None)
        else:
            self._listeners.add(queue)
        try:
            yield {"source": self._source, "instance": self.instance, "sequence": self._sequence}
            while (entry_or_end := await queue.get()) is not None:
                yield entry_or_end
        finally:
            self._listeners.discard(queue)
