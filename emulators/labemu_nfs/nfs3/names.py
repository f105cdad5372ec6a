"""LOOKUP, REMOVE, RMDIR, RENAME, LINK (RFC 1813 3.3.3, 3.3.12 to 3.3.15)."""

from __future__ import annotations

from contextlib import suppress

from labemu_nfs.nfs3.request import CHANGE, Request, Target, failed_link, failed_rename
from labemu_nfs.nfs3.status import Nfs3Error, Status
from labemu_nfs.nfs3.types import filename3, post_op
from labemu_nfs.rpc.message import Body
from labemu_nfs.rpc.program import Job
from labemu_nfs.xdr import Decoder, opaque, u32
from labemu_store.file import access
from labemu_store.file.types import Attributes, FileKind, Key

_OK = u32(Status.OK)
_DOTS = (b".", b"..")


def named(request: Request, arguments: Decoder) -> tuple[Target, bytes]:
    """diropargs3: a directory and a name in it (RFC 1813 2.5)."""
    directory = request.target(arguments)
    name = filename3(arguments, directory.store.capabilities.max_name)
    directory.require_directory()
    return directory, name


def find(directory: Target, name: bytes) -> Key:
    """The node of a name, of `.` and `..` too."""
    if name == b".":
        return directory.key
    if name == b"..":
        return directory.store.parent(directory.key)
    return directory.store.lookup(directory.key, name)


def lookup3(request: Request, arguments: Decoder) -> Body:
    """LOOKUP: RFC 1813 3.3.3."""
    directory, name = named(request, arguments)
    access.require(directory.before, directory.who, access.EXECUTE)
    key = find(directory, name)
    fsid = directory.export.fsid
    found = post_op(directory.store.getattr(key), fsid)
    handle = request.context.handles.make(fsid, key)
    return [_OK + opaque(handle) + found + post_op(directory.before, fsid)]


def _victim(request: Request, directory: Target, name: bytes) -> Attributes:
    """The attributes of what is to be removed, once that is allowed."""
    key, attributes = directory.store.peek(directory.key, name)
    access.require_removal(directory.before, attributes, directory.who)
    request.require_free(directory, key, CHANGE)
    return attributes


def remove3(request: Request, arguments: Decoder) -> Body | Job:
    """REMOVE: RFC 1813 3.3.12."""
    directory, name = named(request, arguments)
    directory.require_writable()
    if name in _DOTS:
        raise Nfs3Error(Status.ISDIR)
    access.require(directory.before, directory.who, access.WRITE | access.EXECUTE)
    if _victim(request, directory, name).kind is FileKind.DIRECTORY:
        raise Nfs3Error(Status.ISDIR)
    directory.store.unlink(directory.key, name)
    return request.durable([directory], lambda: [_OK + directory.wcc()])


def rmdir3(request: Request, arguments: Decoder) -> Body | Job:
    """RMDIR: RFC 1813 3.3.13: `.` is INVAL, `..` is EXIST."""
    directory, name = named(request, arguments)
    directory.require_writable()
    if name in _DOTS:
        raise Nfs3Error(Status.INVAL if name == b"." else Status.EXIST)
    access.require(directory.before, directory.who, access.WRITE | access.EXECUTE)
    if _victim(request, directory, name).kind is not FileKind.DIRECTORY:
        raise Nfs3Error(Status.NOTDIR)
    directory.store.rmdir(directory.key, name)
    return request.durable([directory], lambda: [_OK + directory.wcc()])


def rename3(request: Request, arguments: Decoder) -> Body | Job:
    """RENAME: RFC 1813 3.3.14."""
    source, name = named(request, arguments)
    target, to_name = named(request, arguments)
    source.require_writable()
    if source.export is not target.export:
        raise Nfs3Error(Status.XDEV)
    if name in _DOTS or to_name in _DOTS:
        raise Nfs3Error(Status.INVAL)
    for directory in (source, target):
        access.require(directory.before, directory.who, access.WRITE | access.EXECUTE)
    _victim(request, source, name)
    with suppress(FileNotFoundError):  # nothing is in the way
        _victim(request, target, to_name)
    source.store.rename(source.key, name, target.key, to_name)
    changed = [source] if source.key == target.key else [source, target]
    return request.durable(changed, lambda: [_OK + source.wcc() + target.wcc()], failed_rename)


def link3(request: Request, arguments: Decoder) -> Body | Job:
    """LINK: RFC 1813 3.3.15."""
    file = request.target(arguments)
    directory, name = named(request, arguments)
    directory.require_writable()
    if file.export is not directory.export:
        raise Nfs3Error(Status.XDEV)
    if name in _DOTS:
        raise Nfs3Error(Status.EXIST)
    if file.before.kind is FileKind.DIRECTORY:
        raise Nfs3Error(Status.ISDIR)
    access.require(directory.before, directory.who, access.WRITE | access.EXECUTE)
    request.require_free(file, file.key, CHANGE)
    directory.store.link(file.key, directory.key, name)
    return request.durable([directory, file], lambda: [_OK + file.post_op() + directory.wcc()], failed_link)
