"""Deferred work: after its delay, on a thread if it blocks, and back on the loop with its response."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Final

from labemu_scsi.command import Deferred, Response, Status

logger = logging.getLogger(__name__)

_THREADS: Final = 32  # flushes and blocking stores of all units together; they wait, they do not compute


class WorkExecutor:
    """Runs deferred work for a server.

    Args:
        loop: the loop that the engine runs on.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="labemu-iscsi")
        self._running: set[asyncio.Future[Response]] = set()
        self._holders = 0
        self._waiting: deque[Callable[[], None]] = deque()

    def __call__(self, deferred: Deferred, work: Callable[[], Response], done: Callable[[Response], None]) -> None:
        """See labemu_iscsi.service.Executor."""
        if deferred.delay > 0:
            self._loop.call_later(deferred.delay, self._start, deferred, work, done)
        else:
            self._start(deferred, work, done)

    def _start(self, deferred: Deferred, work: Callable[[], Response], done: Callable[[Response], None]) -> None:
        gate = deferred.gate
        if gate is not None and not gate.is_open:
            gate.wait(lambda: self._start(deferred._replace(gate=None), work, done))
            return
        if not deferred.blocking:
            done(work())
            return
        if self._holders:
            self._waiting.append(lambda: self._start(deferred._replace(gate=None), work, done))
            return
        future = self._loop.run_in_executor(self._pool, work)
        self._running.add(future)
        future.add_done_callback(functools.partial(self._finish, done))

    def _finish(self, done: Callable[[Response], None], future: asyncio.Future[Response]) -> None:
        self._running.discard(future)
        if future.cancelled():
            return
        error = future.exception()
        if error is not None:
            logger.error("a command failed in an unforeseen way", exc_info=error)
            done(Response(Status.TASK_ABORTED))
            return
        done(future.result())

    @asynccontextmanager
    async def idle(self) -> AsyncIterator[None]:
        """Nothing is on a thread; what comes meanwhile waits its turn."""
        self._holders += 1
        try:
            await self.drain()
            yield
        finally:
            self._holders -= 1
            while self._waiting and not self._holders:
                self._waiting.popleft()()

    async def drain(self) -> None:
        """Wait until nothing is on a thread."""
        while self._running:
            await asyncio.wait(self._running)

    async def close(self) -> None:
        """Wait, and end the threads."""
        await self.drain()
        self._pool.shutdown(wait=True)
