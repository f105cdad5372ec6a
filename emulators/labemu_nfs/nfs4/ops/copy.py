"""COPY, CLONE, OFFLOAD_STATUS, OFFLOAD_CANCEL (RFC 7862 15.2, 15.13, 15.9, 15.8).

A COPY of at most MAX_COPY bytes is done before it is answered, in a thread, whatever the client prefers: RFC 7862 15.2.3 leaves that to the
server. A longer one goes on after the answer where the client allows that and can be called back; otherwise MAX_COPY bytes are copied,
and the client asks for the rest.
"""

from __future__ import annotations

from struct import Struct

from labemu_nfs.limits import MAX_COPY
from labemu_nfs.nfs4.compound import V42, Compound, Op, Wait
from labemu_nfs.nfs4.constants import Number, StableHow
from labemu_nfs.nfs4.node import Node
from labemu_nfs.nfs4.offload import Copying
from labemu_nfs.nfs4.ops.data import drop_set_ids, require_data
from labemu_nfs.nfs4.ops.states import client41, state_of
from labemu_nfs.nfs4.state import api
from labemu_nfs.nfs4.state.model import Offload
from labemu_nfs.nfs4.state.offloads import Offloads
from labemu_nfs.nfs4.state.service import client_of
from labemu_nfs.nfs4.state.stateids import Stateid
from labemu_nfs.nfs4.status import Nfs4Error, Status
from labemu_nfs.nfs4.types import decode_stateid
from labemu_nfs.xdr import FALSE, TRUE, Decoder, u32, u64
from labemu_store.file import access
from labemu_store.file.types import MAX_OFFSET, Attributes

_RANGE = Struct(">QQQ")
_WRITTEN = Struct(">IQI8s")
_WRITTEN_LATER = Struct(">II12sQI8s")
_U64 = 2**64 - 1


def _check_source(compound: Compound, stateid: Stateid) -> tuple[Node, Attributes]:
    """The saved file, to be read with this stateid, and its attributes."""
    node = compound.saved_node
    attributes = require_data(compound, node)
    current, own = compound.current, compound.stateid
    compound.current, compound.stateid = node, compound.saved_stateid
    try:
        compound.context.states.check_io(compound, stateid, api.READ)
    finally:
        compound.current, compound.stateid = current, own
    access.require_io(attributes, node.who, access.READ)
    return node, attributes


def _both(compound: Compound, arguments: Decoder) -> tuple[Node, Attributes, Node, Attributes, int, int, int]:
    """The saved file, the current one, what they are, and from where to where how much is copied (RFC 7862 15.2.3, 15.13.3).

    Raises:
        Nfs4Error: XDEV, FBIG; INVAL where the source ends before that or a file is copied over itself.
    """
    target = compound.node
    from_stateid, to_stateid = decode_stateid(arguments), decode_stateid(arguments)
    offset, to_offset, count = arguments.unpack(_RANGE)
    source, before = _check_source(compound, from_stateid)
    to_before = require_data(compound, target)
    if source.export is not target.export:
        raise Nfs4Error(Status.XDEV)
    target.require_writable()
    compound.context.states.check_io(compound, to_stateid, api.WRITE)
    access.require_io(to_before, target.who, access.WRITE)
    if offset + count > _U64 or to_offset + count > _U64 or offset + count > before.size:
        raise Nfs4Error(Status.INVAL)
    count = count or before.size - offset
    if to_offset + count > MAX_OFFSET:
        raise Nfs4Error(Status.FBIG)
    if source.key == target.key and abs(offset - to_offset) < count:
        raise Nfs4Error(Status.INVAL)
    return source, before, target, to_before, offset, to_offset, count


def copy(compound: Compound, arguments: Decoder) -> bytes | Wait:
    """COPY: RFC 7862 15.2, within an export."""
    source, _, target, before, offset, to_offset, count = _both(compound, arguments)
    arguments.boolean()  # ca_consecutive: it always is
    synchronous = arguments.boolean()
    if arguments.u32():
        raise Nfs4Error(Status.NOTSUPP)  # from another server
    shared = compound.context.shared

    def results(done: int) -> bytes:
        return _WRITTEN.pack(0, done, StableHow.UNSTABLE, shared.verifier) + TRUE + TRUE

    if count > MAX_COPY and not synchronous:
        begun = _begin(compound, source, (offset, to_offset, count))
        if begun is not None:
            drop_set_ids(target, before)
            return _WRITTEN_LATER.pack(1, *begun.stateid, 0, StableHow.UNSTABLE, shared.verifier) + TRUE + FALSE
    count = min(count, MAX_COPY)
    if not count:
        return results(0)
    work = source.store.copy(source.key, offset, target.key, to_offset, count)
    drop_set_ids(target, before)
    done: list[int] = []

    def finish(error: OSError | None) -> bytes:
        if error is not None:
            raise error
        shared.bytes_written += done[0]
        return results(done[0])

    return Wait(lambda: done.append(work()), finish)


def _begin(compound: Compound, source: Node, span: tuple[int, int, int]) -> Offload | None:
    """Let the copy go on by itself; None where that cannot be. Raises OSError, Nfs4Error DELAY."""
    context, client, target = compound.context, client41(compound), compound.node
    offloads = state_of(compound).offloads
    if context.background is None or not offloads.room(client):
        return None
    offload = offloads.begin(client, target.file, compound.now)
    try:
        context.background(Copying(context, offloads, offload, source, target, span).piece())
    except OSError:
        offloads.forget(offload)
        raise
    return offload


def clone(compound: Compound, arguments: Decoder) -> bytes:
    """CLONE: RFC 7862 15.13: both files share the bytes until one of them is written."""
    source, before, target, to_before, offset, to_offset, count = _both(compound, arguments)
    if count:
        whole = offset + count == before.size  # the last, partial block can be shared only up to the end
        source.store.clone(source.key, offset, target.key, to_offset, 0 if whole else count)
        drop_set_ids(target, to_before)
        compound.changed()
    return b""


def _offload(compound: Compound, arguments: Decoder) -> tuple[Offloads, Offload]:
    """The client's copy into the current file that a stateid names. Raises Nfs4Error BAD_STATEID."""
    stateid = decode_stateid(arguments)
    file = compound.file
    offloads = state_of(compound).offloads
    return offloads, offloads.find(stateid, client_of(compound), file)


def offload_status(compound: Compound, arguments: Decoder) -> bytes:
    """OFFLOAD_STATUS: RFC 7862 15.9: how much is copied, and how it ended if it has."""
    _, found = _offload(compound, arguments)
    return u64(found.copied) + (u32(0) if found.status is None else u32(1) + u32(found.status))


def offload_cancel(compound: Compound, arguments: Decoder) -> bytes:
    """OFFLOAD_CANCEL: RFC 7862 15.8: it stops after the piece under way, and no CB_OFFLOAD tells of it."""
    offloads, found = _offload(compound, arguments)
    offloads.forget(found)
    if found.status is not None:
        raise Nfs4Error(Status.COMPLETE_ALREADY)
    return b""


OPS = (
    Op(Number.COPY, copy, (V42,)),
    Op(Number.CLONE, clone, (V42,)),
    Op(Number.OFFLOAD_STATUS, offload_status, (V42,)),
    Op(Number.OFFLOAD_CANCEL, offload_cancel, (V42,)),
)
