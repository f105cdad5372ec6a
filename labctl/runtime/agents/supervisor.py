"""Restarts agents that die.

Each agent's pidfd (pidfd_open(2)) becomes readable when its process ends: nothing is polled. The first restart is immediate; an agent that
dies again at once waits longer each time, and is forgiven once it has lived for a while.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable

from labctl.linux import processes
from labctl.linux.processes import ProcessId

FIRST_DELAY = 0.5
LONGEST_DELAY = 30.0
FORGIVEN_AFTER = 60.0
"""Seconds; the first restart does not wait, the second waits FIRST_DELAY, each further one twice as long as the one before."""

log = logging.getLogger(__name__)

Restart = Callable[[str], Awaitable[ProcessId]]
"""Starts a node's agent again and returns its process; raises where that fails."""


class Supervisor:
    """Watches processes and has them restarted.

    Args:
        restart: starts a node's agent again.
        died: told of each death, before the restart.
    """

    def __init__(self, restart: Restart, died: Callable[[str, ProcessId], None]) -> None:
        self._restart = restart
        self._died = died
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def watch(self, node: str, process: ProcessId) -> None:
        """Watch a node's agent in place of whatever was watched for that node before."""
        self.forget(node)
        self._tasks[node] = asyncio.get_running_loop().create_task(
            self._supervise(node, process), name=f"supervise {node}"
        )

    def forget(self, node: str) -> None:
        """Let a node's agent end without a restart."""
        task = self._tasks.pop(node, None)
        if task is not None and task is not asyncio.current_task():
            task.cancel()

    def close(self) -> None:
        """Stop watching; the agents run on."""
        for node in list(self._tasks):
            self.forget(node)

    async def _supervise(self, node: str, process: ProcessId) -> None:
        loop = asyncio.get_running_loop()
        deaths = 0
        while True:
            began = loop.time()
            await ended(process)
            self._died(node, process)
            deaths = 1 if loop.time() - began > FORGIVEN_AFTER else deaths + 1
            while True:
                await asyncio.sleep(delay(deaths))
                try:
                    process = await self._restart(node)
                    break
                except Exception as error:
                    deaths += 1
                    log.error("restart of the agent of %s failed (%d): %s", node, deaths, error)


def delay(deaths: int) -> float:
    """Seconds to wait before a restart, by how often the agent died of late (1 for the first death)."""
    return 0.0 if deaths <= 1 else min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(deaths - 2, 16))


async def ended(process: ProcessId) -> None:
    """Wait until a process has ended; returns at once for one that is gone."""
    descriptor = processes.open_pidfd(process)
    if descriptor is not None:
        loop = asyncio.get_running_loop()
        done = asyncio.Event()
        try:
            loop.add_reader(descriptor, done.set)
            await done.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)
    processes.reap(process)
