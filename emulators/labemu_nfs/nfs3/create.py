"""CREATE, MKDIR, SYMLINK, MKNOD (RFC 1813 3.3.8 to 3.3.11).

EXCLUSIVE create keeps the client's verifier in the new file's times, as other servers do, so that the same request sent again, even after
a restart, is known for the same (RFC 1813 3.3.8); the client sets the times with SETATTR afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct

from labemu_nfs.limits import MAX_PATH
from labemu_nfs.nfs3.attributes import allowed_change
from labemu_nfs.nfs3.names import find, named
from labemu_nfs.nfs3.request import Request, Target
from labemu_nfs.nfs3.status import Nfs3Error, Status
from labemu_nfs.nfs3.types import post_op, sattr3
from labemu_nfs.rpc.message import Body
from labemu_nfs.rpc.program import Job
from labemu_nfs.xdr import FALSE, Decoder, XdrError, u32
from labemu_store.file import access
from labemu_store.file.types import AttributeChange, FileKind, Key, Ownership

_OK = u32(Status.OK)
_VERIFIER = Struct(">II")
_SECOND = 1_000_000_000
_DOTS = (b".", b"..")

UNCHECKED, GUARDED, EXCLUSIVE = 0, 1, 2


def _require_creation(directory: Target, name: bytes) -> None:
    directory.require_writable()
    if name in _DOTS:
        raise Nfs3Error(Status.EXIST)
    access.require(directory.before, directory.who, access.WRITE | access.EXECUTE)


def _owner(directory: Target, change: AttributeChange, mode: int) -> Ownership:
    """Whose the new node is: the caller's, unless root says otherwise."""
    who = directory.who
    root = who.uid == 0
    uid = change.uid if root and change.uid is not None else who.uid
    may_give = change.gid is not None and (root or who.in_group(change.gid))
    gid = change.gid if may_give and change.gid is not None else who.gid
    return Ownership(mode=mode if change.mode is None else change.mode, uid=uid, gid=gid)


def _finish_times(directory: Target, key: Key, change: AttributeChange) -> None:
    if change.atime is not None or change.mtime is not None:
        directory.store.setattr(key, AttributeChange(atime=change.atime, mtime=change.mtime))


def _made(request: Request, directory: Target, key: Key) -> Body | Job:
    """The results of all four: handle, attributes, the directory before and after."""

    def results() -> Body:
        handle = request.post_op_fh(directory, key)
        try:
            attributes = post_op(directory.store.getattr(key), directory.export.fsid)
        except OSError:  # somebody has removed it meanwhile
            attributes = FALSE
        return [_OK + handle + attributes + directory.wcc()]

    return request.durable([directory], results, made=key)


def create3(request: Request, arguments: Decoder) -> Body | Job:
    """CREATE: RFC 1813 3.3.8."""
    directory, name = named(request, arguments)
    how = arguments.u32()
    if how == EXCLUSIVE:
        high, low = _VERIFIER.unpack(arguments.fixed(_VERIFIER.size))
        return _create_exclusive(request, directory, name, (high & 0x7FFF_FFFF, low & 0x7FFF_FFFF))
    if how not in (UNCHECKED, GUARDED):
        raise XdrError("no such createmode3")
    change = sattr3(arguments)
    _require_creation(directory, name)
    try:
        key = directory.store.create(directory.key, name, _owner(directory, change, 0o644))
    except FileExistsError:
        if how == GUARDED:
            raise
        return _made(request, directory, _reuse(directory, name, change))
    if change.size:
        directory.store.setattr(key, AttributeChange(size=change.size))
    _finish_times(directory, key, change)
    return _made(request, directory, key)


def _reuse(directory: Target, name: bytes, change: AttributeChange) -> Key:
    """UNCHECKED where the file is there: it stays, cut to the size that is asked for."""
    key = find(directory, name)
    there = directory.store.getattr(key)
    if there.kind is not FileKind.REGULAR:
        raise Nfs3Error(Status.EXIST)
    if change.size is not None:
        directory.store.setattr(key, allowed_change(there, directory.who, AttributeChange(size=change.size)))
    return key


def _create_exclusive(request: Request, directory: Target, name: bytes, verifier: tuple[int, int]) -> Body | Job:
    _require_creation(directory, name)
    atime, mtime = verifier[0] * _SECOND, verifier[1] * _SECOND
    try:
        key = directory.store.create(directory.key, name, _owner(directory, AttributeChange(), 0o600))
    except FileExistsError:
        key = find(directory, name)
        there = directory.store.getattr(key)
        if (there.kind, there.size, there.atime, there.mtime) != (FileKind.REGULAR, 0, atime, mtime):
            raise
    else:
        directory.store.setattr(key, AttributeChange(atime=atime, mtime=mtime))
    return _made(request, directory, key)


def mkdir3(request: Request, arguments: Decoder) -> Body | Job:
    """MKDIR: RFC 1813 3.3.9."""
    return _make(request, arguments, 0o755, lambda at, name, owner: at.store.mkdir(at.key, name, owner))


def _make(
    request: Request, arguments: Decoder, mode: int, make: Callable[[Target, bytes, Ownership], Key]
) -> Body | Job:
    directory, name = named(request, arguments)
    change = sattr3(arguments)
    _require_creation(directory, name)
    key = make(directory, name, _owner(directory, change, mode))
    _finish_times(directory, key, change)
    return _made(request, directory, key)


def symlink3(request: Request, arguments: Decoder) -> Body | Job:
    """SYMLINK: RFC 1813 3.3.10. What the path says is the clients' business alone."""
    directory, name = named(request, arguments)
    change = sattr3(arguments)
    path = arguments.string(MAX_PATH)
    _require_creation(directory, name)
    if not path or b"\0" in path:
        raise Nfs3Error(Status.INVAL)
    key = directory.store.symlink(directory.key, name, path, _owner(directory, change, 0o777))
    return _made(request, directory, key)


def mknod3(request: Request, arguments: Decoder) -> Body | Job:
    """MKNOD: RFC 1813 3.3.11. Device nodes are root's to make."""
    directory, name = named(request, arguments)
    number = arguments.u32()
    if number not in FileKind.__members__.values():
        raise Nfs3Error(Status.BADTYPE)
    kind = FileKind(number)
    if kind in (FileKind.REGULAR, FileKind.DIRECTORY, FileKind.SYMLINK):
        raise Nfs3Error(Status.BADTYPE)
    change = sattr3(arguments)
    device = (0, 0)
    if kind in (FileKind.BLOCK, FileKind.CHARACTER):
        device = (arguments.u32(), arguments.u32())
        if directory.who.uid:
            raise Nfs3Error(Status.PERM)
    _require_creation(directory, name)
    key = directory.store.mknod(directory.key, name, kind, device, _owner(directory, change, 0o644))
    _finish_times(directory, key, change)
    return _made(request, directory, key)
