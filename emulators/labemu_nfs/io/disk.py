"""What waits for the disk: on threads, or on the spot where waiting has proved to be nothing.

Handing work to a thread and back costs some 100 µs of a client's time. Where the medium is as quick as memory (tmpfs, a controller with a
battery) that is far more than the work, so it is done in the event loop. The proof is a trial: a run in the loop itself, since one in a
thread is measured together with its wait for the interpreter. A trial that is slow sends what follows to the threads, until the next
trial; the time between trials doubles each time. Where runs have been quick, one that is slow is more likely the machine's other work
than the disk, which shows in the next ones: it is their average that tells.

What threads finish within one turn of the loop comes back together, so that its replies leave in one send.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from math import inf

from labemu_nfs.limits import DISK_THREADS

QUICK = 100e-6
"""Seconds that work may take in the event loop, on average."""

SLOW = 20e-3
"""Seconds in which nobody's processor is away from a process that wants it: work that took longer waited for the disk."""

_SHARE = 1 / 8
"""Of the last run in the average."""

_MOST = 0.6 * QUICK / _SHARE
"""Seconds as which a run counts at most: two in a row are too many."""

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 300.0
"""Seconds between trials that were slow: each holds all clients up for as long as the disk takes."""

Done = Callable[[BaseException | None], None]


class Disk:
    """Runs work for a server.

    Args:
        loop: of the server; `done` is called there, and `run` from there.
        drained: called there when a batch of what threads have finished is told of; while that goes on, `draining` is set.
        clock: seconds.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        drained: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._loop = loop
        self._drained = drained
        self._clock = clock
        self._threads = ThreadPoolExecutor(DISK_THREADS, thread_name_prefix="nfs-disk")
        self._trial = -inf
        self._average = QUICK
        self._pause = FIRST_PAUSE
        self._running = 0
        self._idle: asyncio.Future[None] | None = None
        self._lock = threading.Lock()
        self._finished: list[tuple[Done, BaseException | None]] = []
        self.draining = False

    def run(self, work: Callable[[], object], done: Done) -> None:
        """Do the work and call `done` with what it raised: before this returns, if work is quick here, or from the loop later."""
        start = self._clock()
        if start < self._trial:
            self._running += 1
            self._threads.submit(self._in_thread, work, done)
            return
        error = _outcome(work)
        end = self._clock()
        taken = end - start
        self._average += (min(taken, _MOST) - self._average) * _SHARE
        if taken > SLOW or self._average > QUICK:
            self._average = QUICK
            self._trial = end + self._pause
            self._pause = min(self._pause * 2, LONGEST_PAUSE)
        else:
            self._pause = FIRST_PAUSE
        done(error)

    def _in_thread(self, work: Callable[[], object], done: Done) -> None:
        error = _outcome(work)
        with self._lock:
            first = not self._finished
            self._finished.append((done, error))
        if first:
            self._loop.call_soon_threadsafe(self._drain)

    def _drain(self) -> None:
        with self._lock:
            finished, self._finished = self._finished, []
        self._running -= len(finished)
        self.draining = True
        try:
            for done, error in finished:
                done(error)
        finally:
            self.draining = False
        self._drained()
        if self._idle is not None and not self._running:
            self._idle.set_result(None)
            self._idle = None

    async def close(self) -> None:
        """Wait until all is done, and end the threads."""
        if self._running:
            self._idle = self._loop.create_future()
            await self._idle
        self._threads.shutdown()


def _outcome(work: Callable[[], object]) -> BaseException | None:
    try:
        work()
    except Exception as error:  # it is `done`'s to deal with
        return error
    return None
