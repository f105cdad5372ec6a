"""NFSv4 as a program: NULL and COMPOUND (RFC 7530 16.1, 16.2), over a table of operations."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from struct import Struct
from struct import error as struct_error

from labemu_nfs.nfs4.compound import Compound, Op, tables
from labemu_nfs.nfs4.constants import MAX_OPERATIONS, Number
from labemu_nfs.nfs4.context import Context4
from labemu_nfs.nfs4.quick import QuickForms
from labemu_nfs.rpc.auth import Credential
from labemu_nfs.rpc.message import Body
from labemu_nfs.rpc.program import Caller, Job, Procedure, null
from labemu_nfs.xdr import Decoder

_ALONE = frozenset((Number.PUTROOTFH, Number.PUTPUBFH, Number.SAVEFH, Number.RESTOREFH, Number.GETFH, Number.LOOKUPP))
_WITH_TEXT = frozenset((Number.PUTFH, Number.LOOKUP))
_TWO = Struct(">II")
_THREE = Struct(">III")
_LARGEST_KEPT = 8192
"""Bytes of a call whose reply is kept: none that changes names or attributes is larger, but for the longest ACLs."""


def must_not_repeat(once: frozenset[int], view: memoryview, at: int) -> bool:
    """Whether the reply to a COMPOUND of 4.0 must be kept, since doing it again would not have the same outcome (RFC 7530 3.1.1).

    It is looked for among the operations up to the first one that is no mere way to a file. From 4.1 on, sessions see to that.

    Args:
        once: the numbers of such operations.
        view: the message.
        at: where the arguments begin.
    """
    if len(view) > _LARGEST_KEPT:
        return False
    try:
        tag, minor, count = _THREE.unpack_from(view, at)
        if tag:
            at += 4 + (tag + 3 & ~3)
            minor, count = _TWO.unpack_from(view, at)
            at += 8
        else:
            at += 12
        for _ in range(0 if minor else min(count, MAX_OPERATIONS)):
            number, size = _TWO.unpack_from(view, at)  # each that is looked for has arguments
            if number in _WITH_TEXT:
                at += 8 + (size + 3 & ~3)
            elif number in once:
                return True
            elif number == Number.GETATTR:
                at += 8 + 4 * size
            elif number in _ALONE:
                at += 4
            else:
                return False
    except struct_error:
        pass
    return False


def kept(rows: Iterable[Op]) -> Callable[[memoryview, int], bool]:
    """Tells of which COMPOUNDs over these operations the reply is kept; see must_not_repeat."""
    return partial(must_not_repeat, frozenset(int(op.number) for op in rows if op.once))


def nfs4_procedures(context: Context4, rows: Iterable[Op], *, quick: bool = True) -> tuple[Procedure, ...]:
    """The procedures of version 4 of the NFS program.

    Args:
        context: what all calls share.
        rows: the operations that there are, of all minor versions.
        quick: whether they are done in their quick forms where they can be.
    """
    rows = tuple(rows)
    by_minor = tables(QuickForms(context).of(rows) if quick else rows)

    def compound(caller: Caller, credential: Credential, arguments: Decoder) -> Body | Job:
        return Compound(context, caller, credential, arguments).run(by_minor)

    return Procedure("NULL", null), Procedure("COMPOUND", compound, kept(rows))
