"""NFSv3 with faults: the program again, each procedure behind a question to the rules. Installed only while there are any.

A call that waits is not done before its time, so its arguments are kept: the buffer that they came in is used again meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from struct import Struct

from labemu_nfs.context import Context
from labemu_nfs.errors import ProtocolError
from labemu_nfs.faults import Faults
from labemu_nfs.handles import BadHandleError
from labemu_nfs.limits import MAX_HANDLE
from labemu_nfs.nfs3.program import TABLE
from labemu_nfs.nfs3.request import Request
from labemu_nfs.rpc.auth import Credential
from labemu_nfs.rpc.message import Body
from labemu_nfs.rpc.program import Caller, Handler, Hold, Job, Procedure, Program
from labemu_nfs.xdr import Decoder, XdrError, u32
from labemu_store.file.protocol import PathStore

_NAMED = frozenset(["LOOKUP", "CREATE", "MKDIR", "SYMLINK", "MKNOD", "REMOVE", "RMDIR", "RENAME"])
"""Procedures whose arguments begin with a directory and a name in it; all others begin with a handle alone."""

_MOVES_DATA = frozenset(("READ", "WRITE"))
_RANGE = Struct(">QI")
_MAX_NAME = 1024
_FAILURES = {name: failure for name, _, failure, _ in TABLE}


@dataclass(frozen=True, slots=True)
class _About:
    """What a call is about, as far as its arguments tell before they are checked."""

    path: str = ""
    handle: bytes = b""
    ranges: tuple[tuple[int, int], ...] = ()


def faulty(program: Program, faults: Faults, context: Context) -> Program:
    """The same program, where rules have the first word on NFSv3's procedures.

    Args:
        program: as nfs_program makes it.
        faults: the rules.
        context: the program's own.
    """
    table = tuple(
        procedure
        if procedure is None or procedure.name not in _FAILURES
        else replace(procedure, handler=_handler(procedure, faults, context))
        for procedure in program.versions[3]
    )
    return replace(program, versions={**program.versions, 3: table})


def _handler(procedure: Procedure, faults: Faults, context: Context) -> Handler:
    name, handler = procedure.name, procedure.handler

    def handle(caller: Caller, credential: Credential, arguments: Decoder) -> Body | Job:
        about = _about(name, arguments, context, paths=faults.wants_paths)
        decision = faults.decide(name, about.path, caller.address, handle=about.handle, ranges=about.ranges)
        if decision is None:
            return handler(caller, credential, arguments)
        if decision.drop:
            raise ProtocolError("dropped by an ordered fault")
        kept = Decoder(memoryview(bytes(arguments.view)), arguments.at)

        def proceed() -> Body | Job:
            if decision.status:
                return [u32(decision.status) + _FAILURES[name](Request(context, caller, credential))]
            return handler(caller, credential, kept)

        if decision.delay or decision.gate:
            return Hold(proceed, delay=decision.delay, gate=decision.gate, silent=decision.silent)
        return proceed()

    return handle


def _about(name: str, arguments: Decoder, context: Context, *, paths: bool) -> _About:
    """Read ahead; nothing is said of what does not decode, which the procedure itself refuses."""
    ahead = Decoder(arguments.view, arguments.at)
    try:
        handle = ahead.string(MAX_HANDLE)
        below = ahead.string(_MAX_NAME) if name in _NAMED else b""
        ranges = (_range(ahead),) if name in _MOVES_DATA else ()
    except XdrError:
        return _About()
    return _About(path_of(context, handle, below) if paths else "", handle, ranges)


def _range(ahead: Decoder) -> tuple[int, int]:
    offset, count = ahead.unpack(_RANGE)
    return offset, count


def path_of(context: Context, handle: bytes, name: bytes = b"") -> str:
    """The path of a filehandle, the export's first, and of a name in that directory; the export's alone where the store cannot tell."""
    try:
        fsid, key = context.handles.open(handle)
    except BadHandleError:
        return ""
    export = context.exports.by_fsid(fsid)
    if export is None:
        return ""
    try:
        inside = export.store.path(key) if isinstance(export.store, PathStore) else b""
    except OSError:
        inside = b""
    parts = (export.path.rstrip("/"), inside.decode("utf-8", "replace"), name.decode("utf-8", "replace"))
    return "/".join(part for part in parts if part) or "/"
