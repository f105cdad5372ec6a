"""NSM, the network status monitor, version 1 (C702 chapter 11): a host that was restarted tells us so, and its locks are gone.

Only what other hosts call is served: MON and its kin are between a host's own lock manager and monitor, and are refused.
"""

from __future__ import annotations

from collections.abc import Callable

from labemu_nfs.nlm.monitor import Monitor
from labemu_nfs.rpc.auth import Credential
from labemu_nfs.rpc.message import Body
from labemu_nfs.rpc.program import Caller, Procedure, Program, null
from labemu_nfs.xdr import Decoder, opaque, u32

NSM_PROGRAM = 100024
NOTIFY = 6

_MAX_NAME = 1024  # SM_MAXSTRLEN
_SUCCEEDED, _FAILED = u32(0), u32(1)


def notify_arguments(name: str, state: int) -> bytes:
    """stat_chge: what SM_NOTIFY tells."""
    return opaque(name.encode()) + u32(state)


class StatusMonitor:
    """The procedures.

    Args:
        monitor: whom to listen to.
        restarted: is told the address of a host that was.
    """

    def __init__(self, monitor: Monitor, restarted: Callable[[str], None]) -> None:
        self._monitor = monitor
        self._restarted = restarted

    def stat(self, caller: Caller, credential: Credential, arguments: Decoder) -> Body:
        """SM_STAT: whether a host could be monitored, and our state."""
        arguments.string(_MAX_NAME)
        return [_SUCCEEDED + u32(self._monitor.state)]

    def refuse(self, caller: Caller, credential: Credential, arguments: Decoder) -> Body:
        """SM_MON, SM_UNMON, SM_UNMON_ALL: not from another host."""
        return [_FAILED + u32(self._monitor.state)]

    def notify(self, caller: Caller, credential: Credential, arguments: Decoder) -> Body:
        """SM_NOTIFY: a host was restarted."""
        name = arguments.string(_MAX_NAME)
        arguments.u32()
        for address in self._monitor.named(name, caller.address):
            self._restarted(address)
        return []

    def program(self) -> Program:
        """As a table; SM_SIMU_CRASH (5) is for a host's own tests."""
        refuse = self.refuse
        procedures = (
            Procedure("NULL", null),
            Procedure("STAT", self.stat),
            Procedure("MON", refuse),
            Procedure("UNMON", refuse),
            Procedure("UNMON_ALL", refuse),
            None,
            Procedure("NOTIFY", self.notify),
        )
        return Program(NSM_PROGRAM, "status", {1: procedures})
