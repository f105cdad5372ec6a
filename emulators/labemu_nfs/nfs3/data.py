"""READLINK, READ, WRITE, COMMIT (RFC 1813 3.3.5, 3.3.6, 3.3.7, 3.3.21).

Durability: an UNSTABLE write is in the store's keeping but not durable. DATA_SYNC and FILE_SYNC writes, and COMMIT, are answered only after
the store's `sync` succeeded, in a thread. Where it fails, the verifier changes, since nobody knows what was lost.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct

from labemu_nfs.context import Context
from labemu_nfs.limits import MAX_IO
from labemu_nfs.nfs3.request import READ, WRITE, Request, Target, failed_wcc
from labemu_nfs.nfs3.status import Nfs3Error, Status, status_of
from labemu_nfs.nfs3.types import fattr3
from labemu_nfs.rpc.message import Body
from labemu_nfs.rpc.program import Job
from labemu_nfs.xdr import Decoder, XdrError, opaque, padding, u32
from labemu_store.file import access
from labemu_store.file.types import MAX_OFFSET, AttributeChange, FileKind

_OK = u32(Status.OK)
_READ = Struct(">QI")
_READ_HEAD = Struct(">II")
_READ_TAIL = Struct(">III")
_WRITE = Struct(">QII")
_WRITE_TAIL = Struct(">II8s")
_SET_IDS = 0o6000

UNSTABLE, DATA_SYNC, FILE_SYNC = 0, 1, 2


def readlink3(request: Request, arguments: Decoder) -> Body:
    """READLINK: RFC 1813 3.3.5."""
    target = request.target(arguments)
    if target.before.kind is not FileKind.SYMLINK:
        raise Nfs3Error(Status.INVAL)
    path = target.store.readlink(target.key)
    return [_OK + target.post_op() + opaque(path)]


def _require_file(target: Target, want: int) -> None:
    if target.before.kind is not FileKind.REGULAR:
        raise Nfs3Error(Status.ISDIR if target.before.kind is FileKind.DIRECTORY else Status.INVAL)
    access.require_io(target.before, target.who, want)


def read3(request: Request, arguments: Decoder) -> Body:
    """READ: RFC 1813 3.3.6. A count above rtmax is cut to it."""
    target = request.target(arguments)
    offset, count = arguments.unpack(_READ)
    _require_file(target, access.READ)
    request.require_free(target, target.key, READ)
    before = target.before
    size = before.size
    data = target.store.read(target.key, offset, min(count, MAX_IO, size - offset)) if offset < size else b""
    request.context.bytes_read += len(data)
    eof = offset + len(data) >= size
    head = _READ_HEAD.pack(0, 1) + fattr3(before, target.export.fsid) + _READ_TAIL.pack(len(data), eof, len(data))
    return [head, data, padding(len(data))] if len(data) & 3 else [head, data]


def write3(request: Request, arguments: Decoder) -> Body | Job:
    """WRITE: RFC 1813 3.3.7."""
    target = request.target(arguments)
    offset, count, stable = arguments.unpack(_WRITE)
    data = arguments.opaque(MAX_IO)
    if stable > FILE_SYNC:
        raise XdrError("no such stable_how")
    if count != len(data):
        raise Nfs3Error(Status.INVAL)
    target.require_writable()
    _require_file(target, access.WRITE)
    request.require_free(target, target.key, WRITE)
    if offset + count > MAX_OFFSET:
        raise Nfs3Error(Status.FBIG)
    if count:
        target.store.write(target.key, offset, data)
        _drop_set_ids(target)
    request.context.bytes_written += count
    if stable == UNSTABLE:
        return [_OK + target.wcc() + _WRITE_TAIL.pack(count, UNSTABLE, request.context.verifier)]
    return _synced(
        request, target, lambda: _OK + target.wcc() + _WRITE_TAIL.pack(count, FILE_SYNC, request.context.verifier)
    )


def _drop_set_ids(target: Target) -> None:
    """Writing takes set-uid and set-gid away unless root does it, as write(2)."""
    if target.before.mode & _SET_IDS and target.who.uid:
        target.store.setattr(target.key, AttributeChange(mode=target.before.mode & ~_SET_IDS))


def commit3(request: Request, arguments: Decoder) -> Job:
    """COMMIT: RFC 1813 3.3.21. All of the file is made durable, whatever range is asked for."""
    target = request.target(arguments)
    arguments.unpack(_READ)
    target.require_writable()
    _require_file(target, access.WRITE)
    return _synced(request, target, lambda: _OK + target.wcc() + request.context.verifier)


def _synced(request: Request, target: Target, results: Callable[[], bytes]) -> Job:
    context: Context = request.context

    def finish(error: OSError | None) -> Body:
        if error is None:
            return [results()]
        context.lost_writes()
        return [u32(status_of(error)) + failed_wcc(request)]

    return Job(target.store.sync(target.key), finish)
