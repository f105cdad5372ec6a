"""NFSv4 with faults: the operations again, each behind a question to the rules. Installed only while there are any.

An operation that waits is asked of the COMPOUND again when its time has come, from a copy of its arguments. A connection that is to be
dropped, or stay silent, loses the reply of the whole COMPOUND, which is done first: a slot whose request was begun and never ended
would answer no repetition (RFC 8881 2.10.6.1.3).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from struct import Struct

from labemu_nfs.context import Context
from labemu_nfs.faults import Decision, Faults
from labemu_nfs.nfs3.faulty import path_of
from labemu_nfs.nfs4.compound import Compound, Handler, Op, Result, Wait, tables
from labemu_nfs.nfs4.context import Context4
from labemu_nfs.nfs4.program import kept
from labemu_nfs.nfs4.status import Nfs4Error, Status
from labemu_nfs.rpc.auth import Credential
from labemu_nfs.rpc.message import Body
from labemu_nfs.rpc.program import Caller, Hold, Job, Procedure, null
from labemu_nfs.xdr import Decoder, XdrError

_NAMED = frozenset(("LOOKUP", "REMOVE", "RENAME"))
"""Operations whose arguments begin with a name in the current directory."""

_RANGES = {"READ": Struct(">16xQI"), "WRITE": Struct(">16xQ4xI")}
_MAX_NAME = 1024


class _Postponed(Wait):
    """An operation that is to be asked again later."""

    __slots__ = ("decision",)

    def __init__(self, decision: Decision) -> None:
        super().__init__(lambda: None, lambda _: b"")
        self.decision = decision


class FaultyCompound(Compound):
    """A COMPOUND whose operations rules may strike."""

    def __init__(self, context: Context4, caller: Caller, credential: Credential, arguments: Decoder) -> None:
        """Read the head of the arguments. Raises XdrError."""
        super().__init__(context, caller, credential, arguments)
        self.lost: Decision | None = None
        self.postponed: Decision | None = None
        self.postponed_at = -1

    def _suspend(self, op: Op, wait: Wait) -> Job:
        if not isinstance(wait, _Postponed):
            return super()._suspend(op, wait)
        rest = self._arguments
        self._arguments = Decoder(memoryview(bytes(rest.view[rest.at - 4 :])))  # with the operation's number
        self.postponed, self.postponed_at = wait.decision, self.index
        return Hold(self._go, delay=wait.decision.delay, gate=wait.decision.gate)

    def answered(self, outcome: Body | Job) -> Body | Job:
        """The outcome of `run`, unless its reply is to be lost."""
        if isinstance(outcome, Hold):
            return Hold(lambda: self.answered(outcome.proceed()), delay=outcome.delay, gate=outcome.gate)
        if isinstance(outcome, Job):
            return Job(outcome.run, lambda error: self.answered(outcome.finish(error)))
        lost = self.lost
        if lost is None:
            return outcome
        return Hold(lambda: outcome, delay=lost.delay, gate=lost.gate, silent=True)


def faulty_procedures(context: Context4, rows: Iterable[Op], faults: Faults) -> tuple[Procedure, ...]:
    """The procedures of version 4, where rules have the first word on each operation.

    Args:
        context: as nfs4_procedures takes it.
        rows: the operations that there are.
        faults: the rules.
    """
    rows = tuple(rows)
    by_minor = tables(replace(op, handler=_handler(op, faults, context.shared), quick=None) for op in rows)

    def compound(caller: Caller, credential: Credential, arguments: Decoder) -> Body | Job:
        it = FaultyCompound(context, caller, credential, arguments)
        return it.answered(it.run(by_minor))

    return Procedure("NULL", null), Procedure("COMPOUND", compound, kept(rows))


def _handler(op: Op, faults: Faults, context: Context) -> Handler:
    def handle(compound: Compound, arguments: Decoder) -> Result:
        assert isinstance(compound, FaultyCompound)
        if compound.postponed is not None and compound.postponed_at == compound.index:
            if compound.postponed.status:
                raise Nfs4Error(_status(compound.postponed.status))
            return op.handler(compound, arguments)
        decision = _decide(op.name, compound, arguments, faults, context)
        if decision is None:
            return op.handler(compound, arguments)
        if decision.drop or decision.silent:
            compound.lost = decision
            return op.handler(compound, arguments)
        if decision.delay or decision.gate:
            return _Postponed(decision)
        raise Nfs4Error(_status(decision.status))

    return handle


def _status(number: int) -> Status:
    """The nfsstat4 of a number that may be NFSv3's alone."""
    try:
        return Status(number)
    except ValueError:
        return Status.SERVERFAULT


def _decide(
    name: str, compound: FaultyCompound, arguments: Decoder, faults: Faults, context: Context
) -> Decision | None:
    ahead = Decoder(arguments.view, arguments.at)
    ranges: tuple[tuple[int, int], ...] = ()
    handle = below = b""
    try:
        shape = _RANGES.get(name)
        if shape is not None:
            offset, count = ahead.unpack(shape)
            ranges = ((offset, count),)
        if name in _NAMED:
            below = ahead.string(_MAX_NAME)
    except XdrError:
        pass  # the operation itself refuses it
    node = compound.current
    if node is not None and faults.wants_paths:
        handle = context.handles.make(node.export.fsid, node.key)
    path = path_of(context, handle, below) if handle else ""
    return faults.decide(name, path, compound.caller.address, handle=handle, ranges=ranges)
