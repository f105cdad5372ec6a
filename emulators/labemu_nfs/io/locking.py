"""NFSv3's locks as a part of the server: the programs, and the calls that it makes to hosts that wait or must be told of a restart."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path

from labemu_nfs.context import Context
from labemu_nfs.errors import ConfigurationError
from labemu_nfs.io.rpc_client import CallFailedError, call_tcp, call_udp, find_port
from labemu_nfs.io.state import write_whole
from labemu_nfs.nlm.manager import LockedFiles, LockManager, Waiting
from labemu_nfs.nlm.monitor import Kept, Monitor
from labemu_nfs.nlm.nlm import GRANTED, NLM_PROGRAM, Nlm, granted_arguments, granted_result
from labemu_nfs.nlm.nsm import NOTIFY, NSM_PROGRAM, StatusMonitor, notify_arguments
from labemu_nfs.nlm.types import Stat
from labemu_nfs.rpc.program import Program
from labemu_nfs.xdr import XdrError

logger = logging.getLogger(__name__)

_HOSTS_FILE = "lock-hosts.json"
_CALL_TIMEOUT = 10.0


class HostsFile:
    """See labemu_nfs.nlm.monitor.StableHosts.

    Args:
        folder: the state folder, or None for a server that keeps nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self._file = folder / _HOSTS_FILE if folder is not None else None

    def load(self) -> Kept:
        """What was kept.

        Raises:
            OSError: it cannot be read.
            ConfigurationError: it is damaged.
        """
        if self._file is None or not self._file.exists():
            return Kept()
        try:
            known = json.loads(self._file.read_text())
            return Kept(int(known["state"]), {host: bytes.fromhex(name) for host, name in known["hosts"].items()})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigurationError(
                f"{self._file} is damaged: {error}",
                hint="Remove it; clients that hold locks of NFSv3 will not be told of the restart.",
            ) from error

    def save(self, kept: Kept) -> None:
        """Keep it, durably and whole."""
        if self._file is not None:
            known = {"state": kept.state, "hosts": {host: name.hex() for host, name in kept.hosts.items()}}
            write_whole(self._file, json.dumps(known).encode())


class Locking:
    """NLM and NSM of one server.

    Args:
        context: exports and handles, shared with NFS.
        addresses: the server's own, by which hosts know it.
        folder: the state folder, or None.
        files: where ranges are kept.
        grace: seconds after a restart in which locks are only reclaimed.
        foreign_grace: whether another protocol's clients are still reclaiming.

    Raises:
        OSError, ConfigurationError: the state cannot be read.
    """

    def __init__(
        self,
        context: Context,
        addresses: Sequence[str],
        folder: Path | None,
        files: LockedFiles,
        *,
        grace: float,
        foreign_grace: Callable[[float], bool],
    ) -> None:
        self._addresses = addresses
        self._monitor = Monitor(HostsFile(folder))
        self._grace = grace
        grace_until = time.monotonic() + grace if self._monitor.before else 0.0
        self._manager = LockManager(files, self._tell, grace_until=grace_until, foreign_grace=foreign_grace)
        self._nlm = Nlm(context, self._manager, self._monitor, time.monotonic)
        self._nsm = StatusMonitor(self._monitor, self._manager.free)
        self._tasks: set[asyncio.Task[None]] = set()

    def programs(self) -> tuple[Program, ...]:
        """NLM and NSM."""
        return self._nlm.program(), self._nsm.program()

    def released(self, file: tuple[int, bytes]) -> None:
        """Another protocol gave locks of a file back."""
        self._manager.released(file)

    def reclaiming(self, now: float) -> bool:
        """Whether hosts of NFSv3 may still reclaim, so that others must not be given new locks."""
        return now < self._manager.grace_until

    def start(self) -> None:
        """Tell the hosts of the life before, so that they reclaim what they held."""
        if self._monitor.before:
            for host in self._monitor.before:
                self._begin(self._notify(host))
            self._begin(self._end_grace())

    async def _end_grace(self) -> None:
        await asyncio.sleep(max(0.0, self._manager.grace_until - time.monotonic()))
        try:
            await asyncio.to_thread(self._monitor.retain(self._manager.holders))
        except OSError as error:
            logger.warning("cannot keep the list of hosts that hold locks: %s", error)

    async def _notify(self, host: str) -> None:
        """SM_NOTIFY, under each name that the host may know us by (C702 11.3)."""
        try:
            async with asyncio.timeout(self._grace):
                port = await find_port(host, (NSM_PROGRAM, 1), transport="udp")
                for address in self._addresses:
                    arguments = notify_arguments(address, self._monitor.state)
                    await call_udp((host, port), (NSM_PROGRAM, 1), NOTIFY, arguments)
        except (OSError, TimeoutError, CallFailedError) as error:
            logger.warning("%s could not be told that its locks must be reclaimed: %s", host, error)

    def _tell(self, waiting: Waiting) -> None:
        self._begin(self._grant(waiting))

    async def _grant(self, waiting: Waiting) -> None:
        """NLMPROC4_GRANTED; what the host does not take goes to the next."""
        host = waiting.lock.locker.address
        try:
            async with asyncio.timeout(_CALL_TIMEOUT):
                port = await find_port(host, (NLM_PROGRAM, 4), transport="tcp")
                answer = await call_tcp((host, port), (NLM_PROGRAM, 4), GRANTED, granted_arguments(waiting))
                taken = granted_result(answer) is Stat.GRANTED
        except (OSError, TimeoutError, CallFailedError, XdrError, ValueError) as error:
            logger.warning("%s could not be told that it has the lock that it waited for: %s", host, error)
            taken = False
        if not taken:
            self._manager.refused(waiting)

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Make no more calls."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
