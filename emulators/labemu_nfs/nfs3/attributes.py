"""GETATTR, SETATTR, ACCESS (RFC 1813 3.3.1, 3.3.2, 3.3.4)."""

from __future__ import annotations

from dataclasses import replace
from errno import EPERM

from labemu_nfs.nfs3.request import CHANGE, WRITE, Request, Target
from labemu_nfs.nfs3.status import Nfs3Error, Status
from labemu_nfs.nfs3.types import fattr3, nfstime3, post_op, sattr3
from labemu_nfs.rpc.message import Body
from labemu_nfs.rpc.program import Job
from labemu_nfs.xdr import Decoder, u32
from labemu_store.file import access
from labemu_store.file.types import AttributeChange, Attributes, FileKind, Now

_OK = u32(Status.OK)
_SECOND = 1_000_000_000
_SET_GID = 0o2000

READ, LOOKUP, MODIFY, EXTEND, DELETE, EXECUTE = 1, 2, 4, 8, 16, 32
"""The bits of ACCESS."""


def getattr3(request: Request, arguments: Decoder) -> Body:
    """GETATTR: RFC 1813 3.3.1."""
    target = request.target(arguments)
    return [_OK + fattr3(target.before, target.export.fsid)]


def setattr3(request: Request, arguments: Decoder) -> Body | Job:
    """SETATTR: RFC 1813 3.3.2."""
    target = request.target(arguments)
    change = sattr3(arguments)
    guard = nfstime3(arguments) if arguments.boolean() else None
    target.require_writable()
    if guard is not None and guard != target.before.ctime % (2**32 * _SECOND):
        raise Nfs3Error(Status.NOT_SYNC)
    request.require_free(target, target.key, CHANGE if change.size is None else WRITE)
    target.store.setattr(target.key, allowed_change(target.before, target.who, change))
    return request.durable([target], lambda: [_OK + target.wcc()])


def allowed_change(before: Attributes, who: access.Identity, change: AttributeChange) -> AttributeChange:
    """The change as `who` may make it, by the rules of chmod, chown, truncate and utimes. Raises Nfs3Error, OSError."""
    if change.size is not None:
        if before.kind is not FileKind.REGULAR:
            raise Nfs3Error(Status.ISDIR if before.kind is FileKind.DIRECTORY else Status.INVAL)
        access.require_io(before, who, access.WRITE)
    if who.uid == 0:
        return change
    _require_times(before, who, change)
    owner = who.uid == before.uid
    if change.mode is not None:
        if not owner:
            raise PermissionError(EPERM, "not the owner")
        if change.mode & _SET_GID and not who.in_group(before.gid if change.gid is None else change.gid):
            change = replace(change, mode=change.mode & ~_SET_GID)
    if change.uid is not None and not (owner and change.uid == before.uid):
        raise PermissionError(EPERM, "only root gives files away")
    if change.gid is not None and not (owner and (change.gid == before.gid or who.in_group(change.gid))):
        raise PermissionError(EPERM, "not a member of that group")
    return change


def _require_times(before: Attributes, who: access.Identity, change: AttributeChange) -> None:
    """Setting times of one's own needs the owner; setting the server's time needs the right to write."""
    times = [time for time in (change.atime, change.mtime) if time is not None]
    if not times or who.uid == before.uid:
        return
    if not all(isinstance(time, Now) for time in times):
        raise PermissionError(EPERM, "not the owner")
    access.require(before, who, access.WRITE)


def access3(request: Request, arguments: Decoder) -> Body:
    """ACCESS: RFC 1813 3.3.4."""
    target = request.target(arguments)
    wanted = arguments.u32()
    return [_OK + post_op(target.before, target.export.fsid) + u32(wanted & granted(target))]


def granted(target: Target) -> int:
    """All that the caller may do to a node, in ACCESS's bits."""
    held = access.permitted(target.before, target.who)
    directory = target.before.kind is FileKind.DIRECTORY
    bits = READ if held & access.READ else 0
    if held & access.WRITE and not target.export.read_only:
        bits |= MODIFY | EXTEND | DELETE if directory else MODIFY | EXTEND
    if held & access.EXECUTE:
        bits |= LOOKUP if directory else EXECUTE
    return bits
