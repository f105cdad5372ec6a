"""Work that no call waits for, one Job after the other as each tells: long copies."""

from __future__ import annotations

import asyncio
import logging
from errno import EIO
from functools import partial

from labemu_nfs.io.disk import Disk
from labemu_nfs.rpc.program import Job

_log = logging.getLogger(__name__)


class Background:
    """Runs such work.

    Args:
        loop: of the server; used from its thread only.
        disk: where the Jobs are run.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, disk: Disk) -> None:
        self._loop = loop
        self._disk = disk
        self._waiting: list[Job] = []

    def begin(self, job: Job) -> None:
        """Do it, and what follows on it, once what is under way now is answered."""
        if not self._waiting:
            self._loop.call_soon(self.start)
        self._waiting.append(job)

    def start(self) -> None:
        """Begin what waits. Before the disk is closed, so that nothing stays behind that holds descriptors."""
        waiting, self._waiting = self._waiting, []
        for job in waiting:
            self._disk.run(job.run, partial(self._ended, job))

    def _ended(self, job: Job, error: BaseException | None) -> None:
        if error is not None and not isinstance(error, OSError):
            _log.error("a job failed in a way that it must not", exc_info=error)
            error = OSError(EIO, str(error))
        following = job.finish(error)
        if isinstance(following, Job):
            self.begin(following)
