"""READ, WRITE, COMMIT, READLINK (RFC 7530 16.23, 16.36, 16.3, 16.25; RFC 8881 18.22, 18.32, 18.3, 18.24).

Durability is as in NFSv3: an UNSTABLE write is in the store's keeping; others and COMMIT are answered once the store's `sync` succeeded.
Where that fails, the verifier changes, since nobody knows what was lost.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct

from labemu_nfs.limits import MAX_IO
from labemu_nfs.nfs4.compound import Compound, Op, Wait
from labemu_nfs.nfs4.constants import Number, StableHow
from labemu_nfs.nfs4.node import Node
from labemu_nfs.nfs4.state import api
from labemu_nfs.nfs4.status import Nfs4Error, Status
from labemu_nfs.nfs4.types import decode_stateid
from labemu_nfs.rpc.message import Body
from labemu_nfs.xdr import Decoder, XdrError, opaque, padding
from labemu_store.file import access
from labemu_store.file.types import MAX_OFFSET, AttributeChange, Attributes, FileKind

_READ = Struct(">QI")
_READ_HEAD = Struct(">II")
_WRITE = Struct(">QI")
_WRITTEN = Struct(">II8s")
_SET_IDS = 0o6000
_U64 = 2**64 - 1


def require_data(compound: Compound, node: Node) -> Attributes:
    """The attributes of a regular file. Raises Nfs4Error ISDIR, SYMLINK or WRONG_TYPE from 4.1 on, else INVAL (RFC 8881 15.1.2.9)."""
    attributes = node.attributes
    if attributes.kind is FileKind.REGULAR:
        return attributes
    if attributes.kind is FileKind.DIRECTORY:
        raise Nfs4Error(Status.ISDIR)
    if not compound.minor:
        raise Nfs4Error(Status.INVAL)
    raise Nfs4Error(Status.SYMLINK if attributes.kind is FileKind.SYMLINK else Status.WRONG_TYPE)


def require_read(compound: Compound, arguments: Decoder) -> Attributes:
    """For READ and its like: a stateid comes next, and the current file may be read with it. Returns its attributes."""
    node = compound.node
    stateid = decode_stateid(arguments)
    attributes = require_data(compound, node)
    compound.context.states.check_io(compound, stateid, api.READ)
    access.require_io(attributes, node.who, access.READ)
    return attributes


def require_write(compound: Compound, node: Node, arguments: Decoder) -> Attributes:
    """For WRITE and its like: a stateid comes next, and the current file may be written with it. Returns its attributes."""
    stateid = decode_stateid(arguments)
    attributes = require_data(compound, node)
    node.require_writable()
    compound.context.states.check_io(compound, stateid, api.WRITE)
    access.require_io(attributes, node.who, access.WRITE)
    return attributes


def read(compound: Compound, arguments: Decoder) -> Body:
    """READ: RFC 8881 18.22. A count above maxread is cut to it."""
    size = require_read(compound, arguments).size
    offset, count = arguments.unpack(_READ)
    node = compound.node
    data = node.store.read(node.key, offset, min(count, MAX_IO, size - offset)) if offset < size and count else b""
    compound.context.shared.bytes_read += len(data)
    head = _READ_HEAD.pack(offset + len(data) >= size, len(data))
    return [head, data, padding(len(data))] if len(data) & 3 else [head, data]


def write(compound: Compound, arguments: Decoder) -> bytes | Wait:
    """WRITE: RFC 8881 18.32."""
    node = compound.node
    before = require_write(compound, node, arguments)
    offset, stable = arguments.unpack(_WRITE)
    data = arguments.opaque(compound.size)[:MAX_IO]  # a server may write less (RFC 8881 18.32.3)
    count = len(data)
    if stable > StableHow.FILE_SYNC:
        raise XdrError("no such stable_how4")
    if offset + count > _U64:
        raise Nfs4Error(Status.INVAL)
    if offset + count > MAX_OFFSET:
        raise Nfs4Error(Status.FBIG)
    if count:
        node.store.write(node.key, offset, data)
        drop_set_ids(node, before)
        compound.changed()
    shared = compound.context.shared
    shared.bytes_written += count
    if stable == StableHow.UNSTABLE:
        return _WRITTEN.pack(count, StableHow.UNSTABLE, shared.verifier)
    return synced(compound, node, lambda: _WRITTEN.pack(count, StableHow.FILE_SYNC, shared.verifier))


def drop_set_ids(node: Node, before: Attributes) -> None:
    """Writing takes set-uid and set-gid away unless root does it, as write(2)."""
    if before.mode & _SET_IDS and node.who.uid:
        node.store.setattr(node.key, AttributeChange(mode=before.mode & ~_SET_IDS))


def commit(compound: Compound, arguments: Decoder) -> Wait:
    """COMMIT: RFC 8881 18.3. All of the file is made durable, whatever range is asked for."""
    node = compound.node
    offset, count = arguments.unpack(_READ)
    attributes = require_data(compound, node)
    if offset + count > _U64:
        raise Nfs4Error(Status.INVAL)
    access.require_io(attributes, node.who, access.WRITE)
    return synced(compound, node, lambda: compound.context.shared.verifier)


def synced(compound: Compound, node: Node, results: Callable[[], bytes]) -> Wait:
    """Answer once a file is on stable storage."""

    def finish(error: OSError | None) -> bytes:
        if error is not None:
            compound.context.shared.lost_writes()
            raise error
        return results()

    return Wait(node.store.sync(node.key), finish)


def readlink(compound: Compound, arguments: Decoder) -> bytes:
    """READLINK: RFC 8881 18.24; WRONG_TYPE from 4.1 on."""
    node = compound.node
    kind = node.attributes.kind
    if kind is not FileKind.SYMLINK:
        if compound.minor and kind is not FileKind.DIRECTORY:
            raise Nfs4Error(Status.WRONG_TYPE)
        raise Nfs4Error(Status.ISDIR if kind is FileKind.DIRECTORY and compound.minor else Status.INVAL)
    return opaque(node.store.readlink(node.key))


OPS = (
    Op(Number.READ, read),
    Op(Number.WRITE, write),
    Op(Number.COMMIT, commit),
    Op(Number.READLINK, readlink),
)
