"""NLM version 4 as a table of procedures (RFC 1813 appendix II; C702 chapter 10 for what that leaves open).

The synchronous procedures are served, as Linux and all others call them. The asynchronous ones (_MSG and _RES), and SHARE and UNSHARE of
DOS clients, are PROC_UNAVAIL. Locks are advisory: READ and WRITE do not ask for them.
"""

from __future__ import annotations

from collections.abc import Callable

from labemu_nfs.context import Context
from labemu_nfs.limits import MAX_HANDLE
from labemu_nfs.nfs3.request import Request, Target
from labemu_nfs.nfs3.status import Nfs3Error, Status
from labemu_nfs.nlm.manager import FileId, LockManager, Waiting
from labemu_nfs.nlm.monitor import Monitor
from labemu_nfs.nlm.types import (
    MAX_CALLER,
    MAX_COOKIE,
    LockArguments,
    Locker,
    Stat,
    encode_holder,
    encode_lock,
    lock_arguments,
)
from labemu_nfs.rpc.auth import Credential
from labemu_nfs.rpc.message import Body
from labemu_nfs.rpc.program import Caller, Job, Procedure, Program, null
from labemu_nfs.xdr import FALSE, TRUE, Decoder, opaque, u32
from labemu_store.file import access
from labemu_store.file.types import FileKind

NLM_PROGRAM = 100021
GRANTED = 5

_UNSPECIFIED = Locker("", b"", b"", 0)


def granted_arguments(waiting: Waiting) -> bytes:
    """nlm4_testargs, as NLMPROC4_GRANTED takes it to the host that waits."""
    return opaque(waiting.cookie) + (TRUE if waiting.exclusive else FALSE) + encode_lock(waiting.lock)


def granted_result(decoder: Decoder) -> Stat:
    """What a host says to NLMPROC4_GRANTED. Raises XdrError, ValueError."""
    decoder.string(MAX_COOKIE)
    return Stat(decoder.u32())


class Nlm:
    """The procedures.

    Args:
        context: exports and handles, shared with NFS.
        manager: the locks.
        monitor: remembers who holds some.
        clock: seconds, as the manager's.
    """

    def __init__(self, context: Context, manager: LockManager, monitor: Monitor, clock: Callable[[], float]) -> None:
        self._context = context
        self._manager = manager
        self._monitor = monitor
        self._clock = clock

    def _file(self, caller: Caller, credential: Credential, lock: LockArguments, want: int) -> FileId | Stat:
        """The file of a lock, or why it cannot be locked by this caller."""
        try:
            target: Target = Request(self._context, caller, credential).target(Decoder(memoryview(opaque(lock.file))))
            if target.before.kind is not FileKind.REGULAR:
                return Stat.FAILED
            access.require_io(target.before, target.who, want)
        except Nfs3Error as error:
            return Stat.STALE_FH if error.status in (Status.STALE, Status.BADHANDLE) else Stat.DENIED
        except PermissionError:
            return Stat.DENIED
        except OSError:
            return Stat.STALE_FH
        return target.export.fsid, target.key

    def test(self, caller: Caller, credential: Credential, arguments: Decoder) -> Body:
        """NLMPROC4_TEST."""
        cookie, exclusive = arguments.string(MAX_COOKIE), arguments.boolean()
        lock = lock_arguments(arguments, caller.address, MAX_HANDLE)
        file = self._file(caller, credential, lock, access.READ)
        if isinstance(file, Stat):
            return [opaque(cookie) + u32(file)]
        now = self._clock()
        if self._manager.in_grace(now):
            return [opaque(cookie) + u32(Stat.DENIED_GRACE_PERIOD)]
        held = self._manager.test(file, lock, exclusive=exclusive, now=now)
        if held is None:
            return [opaque(cookie) + u32(Stat.GRANTED)]
        who = held.owner if isinstance(held.owner, Locker) else _UNSPECIFIED  # a holder of NFSv4 has no process number
        holder = encode_holder(
            exclusive=held.write, process=who.process, handle=who.handle, start=held.start, end=held.end
        )
        return [opaque(cookie) + u32(Stat.DENIED) + holder]

    def lock(self, caller: Caller, credential: Credential, arguments: Decoder) -> Body | Job:
        """NLMPROC4_LOCK; the host's first lock is answered once the host is on stable storage."""
        cookie, block, exclusive = arguments.string(MAX_COOKIE), arguments.boolean(), arguments.boolean()
        lock = lock_arguments(arguments, caller.address, MAX_HANDLE)
        reclaim, _ = arguments.boolean(), arguments.u32()
        return self._take(caller, credential, lock, cookie, block=block, exclusive=exclusive, reclaim=reclaim)

    def _take(
        self,
        caller: Caller,
        credential: Credential,
        lock: LockArguments,
        cookie: bytes,
        *,
        block: bool,
        exclusive: bool,
        reclaim: bool,
    ) -> Body | Job:
        file = self._file(caller, credential, lock, access.WRITE if exclusive else access.READ)
        if isinstance(file, Stat):
            return [opaque(cookie) + u32(file)]
        known = self._monitor.knows(caller.address)
        stat = self._manager.lock(
            file, lock, exclusive=exclusive, block=block, reclaim=reclaim, cookie=cookie, now=self._clock()
        )
        if known or stat not in (Stat.GRANTED, Stat.BLOCKED):
            return [opaque(cookie) + u32(stat)]

        def finish(error: OSError | None) -> Body:
            if error is None:
                return [opaque(cookie) + u32(stat)]
            self._manager.cancel(file, lock)
            self._manager.unlock(file, lock)
            return [opaque(cookie) + u32(Stat.DENIED_NOLOCKS)]

        return Job(self._monitor.add(caller.address, lock.locker.caller), finish)

    def cancel(self, caller: Caller, credential: Credential, arguments: Decoder) -> Body:
        """NLMPROC4_CANCEL."""
        cookie, _, _ = arguments.string(MAX_COOKIE), arguments.boolean(), arguments.boolean()
        lock = lock_arguments(arguments, caller.address, MAX_HANDLE)
        file = self._file(caller, credential, lock, 0)
        return [opaque(cookie) + u32(file if isinstance(file, Stat) else self._manager.cancel(file, lock))]

    def unlock(self, caller: Caller, credential: Credential, arguments: Decoder) -> Body:
        """NLMPROC4_UNLOCK: always granted (C702 10.5)."""
        cookie = arguments.string(MAX_COOKIE)
        lock = lock_arguments(arguments, caller.address, MAX_HANDLE)
        file = self._file(caller, credential, lock, 0)
        if isinstance(file, Stat):
            return [opaque(cookie) + u32(file)]
        self._manager.unlock(file, lock)
        return [opaque(cookie) + u32(Stat.GRANTED)]

    def unmonitored(self, caller: Caller, credential: Credential, arguments: Decoder) -> Body | Job:
        """NLMPROC4_NM_LOCK: a lock of a host that cannot tell of its restarts; never waited for."""
        cookie, _, exclusive = arguments.string(MAX_COOKIE), arguments.boolean(), arguments.boolean()
        lock = lock_arguments(arguments, caller.address, MAX_HANDLE)
        reclaim, _ = arguments.boolean(), arguments.u32()
        return self._take(caller, credential, lock, cookie, block=False, exclusive=exclusive, reclaim=reclaim)

    def free_all(self, caller: Caller, credential: Credential, arguments: Decoder) -> Body:
        """NLMPROC4_FREE_ALL: a host gives back all that it holds."""
        arguments.string(MAX_CALLER)
        arguments.u32()
        self._manager.free(caller.address)
        return []

    def program(self) -> Program:
        """As a table."""
        first = (
            Procedure("NULL", null),
            Procedure("TEST", self.test),
            Procedure("LOCK", self.lock, once=True),
            Procedure("CANCEL", self.cancel),
            Procedure("UNLOCK", self.unlock),
        )
        last = (Procedure("NM_LOCK", self.unmonitored, once=True), Procedure("FREE_ALL", self.free_all))
        return Program(NLM_PROGRAM, "nlm", {4: (*first, *((None,) * 17), *last)}, frozenset({"tcp"}))
