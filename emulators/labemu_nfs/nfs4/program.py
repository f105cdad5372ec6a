"""NFSv4 as a program: NULL and COMPOUND (RFC 7530 16.1, 16.2), over a table of operations."""

from __future__ import annotations

from collections.abc import Iterable

from labemu_nfs.nfs4.compound import Compound, Op, tables
from labemu_nfs.nfs4.context import Context4
from labemu_nfs.rpc.auth import Credential
from labemu_nfs.rpc.message import Body
from labemu_nfs.rpc.program import Caller, Job, Procedure, null
from labemu_nfs.xdr import Decoder


def nfs4_procedures(context: Context4, rows: Iterable[Op]) -> tuple[Procedure, ...]:
    """The procedures of version 4 of the NFS program.

    Args:
        context: what all calls share.
        rows: the operations that there are, of all minor versions.
    """
    by_minor = tables(rows)

    def compound(caller: Caller, credential: Credential, arguments: Decoder) -> Body | Job:
        return Compound(context, caller, credential, arguments).run(by_minor)

    return Procedure("NULL", null), Procedure("COMPOUND", compound)
