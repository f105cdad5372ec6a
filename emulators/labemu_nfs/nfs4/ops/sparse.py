"""SEEK, ALLOCATE, DEALLOCATE, READ_PLUS, IO_ADVISE (RFC 7862 15.11, 15.1, 15.4, 15.10, 15.5)."""

from __future__ import annotations

from errno import EINVAL, ENXIO
from struct import Struct

from labemu_nfs.limits import MAX_IO
from labemu_nfs.nfs4.compound import V42, Compound, Op
from labemu_nfs.nfs4.constants import Number
from labemu_nfs.nfs4.node import Node
from labemu_nfs.nfs4.ops.data import require_read, require_write
from labemu_nfs.nfs4.status import Nfs4Error, Status
from labemu_nfs.nfs4.types import decode_bitmap, encode_bitmap
from labemu_nfs.rpc.message import Body
from labemu_nfs.xdr import Decoder, padding
from labemu_store.file.protocol import FileStore
from labemu_store.file.types import MAX_OFFSET, Key

_SEEK = Struct(">QI")
_SOUGHT = Struct(">IQ")
_RANGE = Struct(">QQ")
_READ = Struct(">QI")
_TWO = Struct(">II")
_DATA_HEAD = Struct(">IQI")
_HOLE = Struct(">IQQ")
_DATA, _HOLES = 0, 1
"""data_content4."""

_U64 = 2**64 - 1
_MAX_EXTENTS = 64
"""Stretches in one READ_PLUS: a file full of holes is read by several."""


def seek(compound: Compound, arguments: Decoder) -> bytes:
    """SEEK: RFC 7862 15.11; the end of the file is a hole too."""
    size = require_read(compound, arguments).size
    offset, what = arguments.unpack(_SEEK)
    if what not in (_DATA, _HOLES):
        raise Nfs4Error(Status.UNION_NOTSUPP)
    if offset >= size:
        raise Nfs4Error(Status.NXIO)
    node = compound.node
    found = _next(node.store, node.key, offset, size, data=what == _DATA)
    return _SOUGHT.pack(found >= size, found)


def _next(store: FileStore, key: Key, offset: int, size: int, *, data: bool) -> int:
    """Where data, or a hole, is next; the file's end where nowhere. A store that cannot tell has no holes."""
    try:
        return min(store.seek(key, offset, data=data), size)
    except OSError as error:
        if error.errno == ENXIO:
            return size
        if error.errno != EINVAL:
            raise
        return offset if data else size


def _range(compound: Compound, arguments: Decoder) -> tuple[Node, int, int]:
    """The current file, to be written, and a stretch of it."""
    node = compound.node
    require_write(compound, node, arguments)
    offset, size = arguments.unpack(_RANGE)
    if not size or offset + size > _U64:
        raise Nfs4Error(Status.INVAL)
    return node, offset, size


def allocate(compound: Compound, arguments: Decoder) -> bytes:
    """ALLOCATE: RFC 7862 15.1."""
    node, offset, size = _range(compound, arguments)
    if offset + size > MAX_OFFSET:
        raise Nfs4Error(Status.FBIG)
    node.store.allocate(node.key, offset, size)
    compound.changed()
    return b""


def deallocate(compound: Compound, arguments: Decoder) -> bytes:
    """DEALLOCATE: RFC 7862 15.4."""
    node, offset, size = _range(compound, arguments)
    if offset < MAX_OFFSET:
        node.store.deallocate(node.key, offset, size)
    compound.changed()
    return b""


def read_plus(compound: Compound, arguments: Decoder) -> Body:
    """READ_PLUS: RFC 7862 15.10: data as it is, holes by their length."""
    size = require_read(compound, arguments).size
    offset, count = arguments.unpack(_READ)
    end = min(offset + min(count, MAX_IO), size)
    node = compound.node
    parts: Body = []
    extents = 0
    while offset < end and extents < _MAX_EXTENTS:
        start = _next(node.store, node.key, offset, size, data=True)
        if start > offset:
            stop = min(start, end)
            parts.append(_HOLE.pack(_HOLES, offset, stop - offset))
        else:
            stop = min(_next(node.store, node.key, offset, size, data=False), end)
            data = node.store.read(node.key, offset, stop - offset)
            parts += (_DATA_HEAD.pack(_DATA, offset, len(data)), data, padding(len(data)))
            compound.context.shared.bytes_read += len(data)
        offset, extents = stop, extents + 1
    return [_TWO.pack(offset >= size, extents), *parts]


def io_advise(compound: Compound, arguments: Decoder) -> bytes:
    """IO_ADVISE: RFC 7862 15.5; none of the advice is followed, which is what the empty answer says."""
    require_read(compound, arguments)
    arguments.unpack(_RANGE)
    decode_bitmap(arguments)
    return encode_bitmap(0)


OPS = (
    Op(Number.SEEK, seek, (V42,)),
    Op(Number.ALLOCATE, allocate, (V42,)),
    Op(Number.DEALLOCATE, deallocate, (V42,)),
    Op(Number.READ_PLUS, read_plus, (V42,)),
    Op(Number.IO_ADVISE, io_advise, (V42,)),
)
