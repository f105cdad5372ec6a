"""Long work that outlives whoever asked for it.

Rules: one operation at a time in a lab; it runs in a task of labd's own, and callers only watch. A caller that goes away takes nothing
with it; one that comes while another operation is under way is told so and waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress

from labctl.agent.wire import as_lab_error, error_to_json
from labctl.model.json import Json, JsonObject

Report = Callable[[JsonObject], None]
"""Takes one progress entry."""

Work = Callable[[Report], Awaitable[JsonObject]]
"""The work itself: reports its progress, returns its final report."""


class Operation:
    """One running or finished operation, and what it has told so far.

    Args:
        name: what it is (`up`, `down`).
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._entries: list[JsonObject] = []
        self._finished = False
        self._changed = asyncio.Event()

    def tell(self, entry: JsonObject) -> None:
        """Add an entry for everybody who watches."""
        self._entries.append(entry)
        self._changed.set()
        self._changed = asyncio.Event()

    def finish(self, entry: JsonObject) -> None:
        """Add the last entry."""
        self._finished = True
        self.tell(entry)

    async def watch(self) -> AsyncGenerator[Json, None]:
        """Every entry from the beginning, until the last."""
        position = 0
        while True:
            changed = self._changed
            while position < len(self._entries):
                yield self._entries[position]
                position += 1
            if self._finished:
                return
            await changed.wait()


class Operations:
    """Runs a lab's operations one after the other."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self.current: Operation | None = None

    def start(self, name: str, work: Work) -> Operation:
        """Begin an operation and return at once; it runs whether anybody watches or not."""
        operation = Operation(name)
        task = asyncio.get_running_loop().create_task(self._run(operation, work), name=f"operation {name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return operation

    async def stop(self) -> None:
        """Cancel what runs (labd is ending; the journal knows how far it got) and wait for it."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task

    async def _run(self, operation: Operation, work: Work) -> None:
        if self.current is not None:
            operation.tell({"waiting": f"{self.current.name} is under way; this waits for its end"})
        async with self._lock:
            self.current = operation
            try:
                report = await work(lambda entry: operation.tell({"progress": entry}))
            except Exception as error:
                operation.finish(error_to_json(as_lab_error(error, "labd")))
            except BaseException:
                operation.finish({"report": {"interrupted": True}})
                raise
            else:
                operation.finish({"report": report})
            finally:
                self.current = None
