"""The faults of a running server: rules put before its procedures, and on its connections.

Nothing of this is on the path of a call while no rule is set: the program is served without the layer, and connections take from and
give to their own engines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from labemu_faults.action import ActionKind
from labemu_faults.rule import Armed, Rule
from labemu_faults.table import FaultTable
from labemu_nfs.faults import Faults, check_rule, is_transport
from labemu_nfs.io.connection import Connection
from labemu_nfs.nfs3.faulty import faulty
from labemu_nfs.nfs3.program import TABLE
from labemu_nfs.nfs4.context import Context4
from labemu_nfs.nfs4.faulty import faulty_procedures
from labemu_nfs.nfs4.ops.table import OPS
from labemu_nfs.rpc.program import Program
from labemu_nfs.rpc.server import RpcServer

OPERATIONS: Final = tuple(dict.fromkeys((*(name for name, *_ in TABLE), *(op.name for op in OPS))))


class NfsFaults:
    """A server's rules.

    Args:
        rpc: the server that the program is in.
        program: NFS, as served without faults.
        context4: what its calls share.
        connections: those that are open now.
    """

    def __init__(
        self,
        rpc: RpcServer,
        program: Program,
        context4: Context4,
        connections: Callable[[], Iterable[Connection]],
    ) -> None:
        self._rpc = rpc
        self._plain = program
        self._connections = connections
        self.faults = Faults(self.apply)
        third = faulty(program, self.faults, context4.shared)
        fourth = faulty_procedures(context4, OPS, self.faults)
        self._faulty = replace(third, versions={**third.versions, 4: fourth})

    @property
    def table(self) -> FaultTable:
        """The rules."""
        return self.faults.table

    def add(self, rule: Rule, *, hits: int = 0) -> Armed:
        """Set a rule; it is at work at once.

        Raises:
            FaultError: what the server cannot do, or its id is taken.
        """
        check_rule(rule, OPERATIONS)
        return self.faults.table.add(rule, hits=hits)

    def apply(self) -> None:
        """Bring the program and the connections in line with the rules."""
        wanted = self._faulty if self.faults.rules else self._plain
        if self._rpc.programs[wanted.number] is not wanted:
            self._rpc.replace(wanted)
        for connection in tuple(self._connections()):
            self._apply_to(connection)

    def accepted(self, connection: Connection) -> None:
        """A connection came in."""
        if len(self.faults.table):
            self._apply_to(connection)

    def resets(self, address: str) -> bool:
        """Whether a new connection from there is to be reset."""
        return any(armed.rule.action.reset and armed.admits(address) for armed in self._silent())

    def _silent(self) -> list[Armed]:
        return [a for a in self.faults.table if is_transport(a.rule) and a.rule.action.kind is ActionKind.SILENCE]

    def _apply_to(self, connection: Connection) -> None:
        mine = [armed for armed in self.faults.table if is_transport(armed.rule) and armed.admits(connection.address)]
        connection.limit([armed for armed in mine if armed.rule.action.kind is ActionKind.DROP])
        silent = [armed for armed in mine if armed.rule.action.kind is ActionKind.SILENCE]
        if connection.frozen:
            if not silent:
                connection.thaw()
        elif any(armed.strike() for armed in silent):
            connection.freeze()
