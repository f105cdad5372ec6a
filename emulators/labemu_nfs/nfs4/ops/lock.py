"""LOCK, LOCKT, LOCKU, RELEASE_LOCKOWNER (RFC 7530 16.10 to 16.12, 16.37); TEST_STATEID, FREE_STATEID (RFC 8881 18.48, 18.38)."""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct

from labemu_nfs.nfs4.compound import FROM_41, V40, Compound, Op, Wait
from labemu_nfs.nfs4.constants import MAX_OPAQUE, Number
from labemu_nfs.nfs4.ops.opens import NOBODY
from labemu_nfs.nfs4.ops.states import client41, fingerprint, named_client, sequenced, state_of
from labemu_nfs.nfs4.state.locks import READ_LT, WRITE_LT, WRITEW_LT, DeniedError
from labemu_nfs.nfs4.state.model import Lock, LockOwner, Open
from labemu_nfs.nfs4.state.service import NfsState, actual, client_of
from labemu_nfs.nfs4.state.stateids import Stateid
from labemu_nfs.nfs4.status import Nfs4Error, Status
from labemu_nfs.nfs4.types import decode_stateid, encode_stateid
from labemu_nfs.xdr import Decoder, XdrError, opaque, u32
from labemu_store.file.types import FileKind

_RANGE = Struct(">IIQQ")
_TEST = Struct(">IQQQ")
_UNLOCK = Struct(">II")
_DENIED = Struct(">QQIQ")
_MAX_TESTED = 4096


@dataclass(slots=True)
class _Arguments:
    """LOCK4args; `owner` is that of a new lock-owner, whose open is named by `stateid`; else `stateid` is of the lock."""

    kind: int
    reclaim: bool
    offset: int
    length: int
    open_seqid: int
    stateid: Stateid
    lock_seqid: int
    client: int
    owner: bytes | None


def _decode(arguments: Decoder) -> _Arguments:
    kind, reclaim, offset, length = arguments.unpack(_RANGE)
    if reclaim > 1 or not READ_LT <= kind <= WRITEW_LT:
        raise XdrError("no such lock")
    if arguments.boolean():
        open_seqid, stateid, lock_seqid = arguments.u32(), decode_stateid(arguments), arguments.u32()
        client, owner = arguments.u64(), arguments.string(MAX_OPAQUE)
        return _Arguments(kind, reclaim == 1, offset, length, open_seqid, stateid, lock_seqid, client, owner)
    stateid = decode_stateid(arguments)
    return _Arguments(kind, reclaim == 1, offset, length, 0, stateid, arguments.u32(), 0, None)


def _require_regular(compound: Compound) -> None:
    kind = compound.node.attributes.kind
    if kind is FileKind.DIRECTORY:
        raise Nfs4Error(Status.ISDIR)
    if kind is not FileKind.REGULAR:
        raise Nfs4Error(Status.INVAL)


def _denied(error: DeniedError) -> Nfs4Error:
    """LOCK4denied (RFC 7530 16.10.2)."""
    held = error.held
    kind = WRITE_LT if held.write else READ_LT
    body = _DENIED.pack(held.start, held.length, kind, error.number) + opaque(error.name)
    return Nfs4Error(Status.DENIED, body)


def lock(compound: Compound, arguments: Decoder) -> bytes | Wait:
    """LOCK: RFC 7530 16.10, RFC 8881 18.10."""
    begin = arguments.at
    given = _decode(arguments)
    request = fingerprint(arguments, begin)
    _require_regular(compound)
    state = state_of(compound)
    given.stateid = actual(compound, given.stateid)
    if given.owner is None:
        owner = NOBODY if compound.minor else state.locks.owner_of(given.stateid)
        return sequenced(compound, owner, given.lock_seqid, request, lambda: _lock_again(compound, state, given))
    if not compound.minor:
        named_client(compound, given.client)
    opener = NOBODY if compound.minor else state.opens.owner_of(given.stateid)
    return sequenced(compound, opener, given.open_seqid, request, lambda: _lock_first(compound, state, given, request))


def _lock_again(compound: Compound, state: NfsState, given: _Arguments) -> bytes:
    """By a lock-owner that has a lock state."""
    held = state.locks.find(given.stateid, compound.minor, client=client_of(compound), file=compound.file)
    return _take(compound, state, held.open, held.owner, given)


def _lock_first(compound: Compound, state: NfsState, given: _Arguments, request: bytes) -> bytes:
    """By a lock-owner that is joined to an open: its own sequence begins, or goes on, here (RFC 7530 9.1.5)."""
    client = client_of(compound)
    opened = state.opens.find(given.stateid, compound.minor, client=client, file=compound.file)
    assert given.owner is not None
    if not compound.minor and opened.client.number != given.client:
        raise Nfs4Error(Status.INVAL)
    owner = state.locks.owner(opened.client, given.owner)
    if compound.minor:
        return _take(compound, state, opened, owner, given)
    result = sequenced(compound, owner, given.lock_seqid, request, lambda: _take(compound, state, opened, owner, given))
    assert isinstance(result, bytes)
    return result


def _take(compound: Compound, state: NfsState, opened: Open, owner: LockOwner, given: _Arguments) -> bytes:
    now = compound.now
    if given.reclaim:
        state.grace.may_reclaim(opened.client, now)
    else:
        state.grace.require_over(opened.client, now)
        if state.foreign_grace(now):
            raise Nfs4Error(Status.GRACE)
    opened.client.renewed = now
    try:
        held = state.locks.lock(opened, owner, given.kind, given.offset, given.length, now)
    except DeniedError as error:
        raise _denied(error) from None
    return _stated(compound, held)


def _stated(compound: Compound, held: Lock) -> bytes:
    compound.stateid = held.stateid
    return encode_stateid(held.stateid)


def lockt(compound: Compound, arguments: Decoder) -> bytes:
    """LOCKT: RFC 7530 16.11, RFC 8881 18.11."""
    kind, offset, length, number = arguments.unpack(_TEST)
    name = arguments.string(MAX_OPAQUE)
    if not READ_LT <= kind <= WRITEW_LT:
        raise XdrError("no such nfs_lock_type4")
    _require_regular(compound)
    state = state_of(compound)
    client = named_client(compound, number)
    if state.grace.active(compound.now) or state.foreign_grace(compound.now):
        raise Nfs4Error(Status.GRACE)
    try:
        state.locks.test(client, name, compound.file, kind, offset, length, compound.now)
    except DeniedError as error:
        raise _denied(error) from None
    return b""


def locku(compound: Compound, arguments: Decoder) -> bytes | Wait:
    """LOCKU: RFC 7530 16.12, RFC 8881 18.12."""
    begin = arguments.at
    kind, seqid = arguments.unpack(_UNLOCK)
    stateid = decode_stateid(arguments)
    offset, length = arguments.u64(), arguments.u64()
    if not READ_LT <= kind <= WRITEW_LT:
        raise XdrError("no such nfs_lock_type4")
    _require_regular(compound)
    state = state_of(compound)
    stateid = actual(compound, stateid)

    def run() -> bytes:
        held = state.locks.find(stateid, compound.minor, client=client_of(compound), file=compound.file)
        held.client.renewed = compound.now
        state.locks.unlock(held, offset, length)
        return _stated(compound, held)

    owner = NOBODY if compound.minor else state.locks.owner_of(stateid)
    return sequenced(compound, owner, seqid, fingerprint(arguments, begin), run)


def release_lockowner(compound: Compound, arguments: Decoder) -> bytes:
    """RELEASE_LOCKOWNER: RFC 7530 16.37."""
    number, name = arguments.u64(), arguments.string(MAX_OPAQUE)
    state = state_of(compound)
    state.locks.release_owner(state.clients40.get(number, compound.now), name)
    return b""


def check_stateids(compound: Compound, arguments: Decoder) -> bytes:
    """TEST_STATEID: RFC 8881 18.48."""
    count = arguments.u32()
    if count > _MAX_TESTED:
        raise XdrError(f"{count} stateids")
    given = [decode_stateid(arguments) for _ in range(count)]
    state, client = state_of(compound), client41(compound)
    return u32(count) + b"".join(u32(state.locks.test_stateid(each, client)) for each in given)


def free_stateid(compound: Compound, arguments: Decoder) -> bytes:
    """FREE_STATEID: RFC 8881 18.38."""
    stateid = actual(compound, decode_stateid(arguments))
    state_of(compound).locks.free(stateid, client41(compound))
    return b""


OPS: tuple[Op, ...] = (
    Op(Number.LOCK, lock, once=True),
    Op(Number.LOCKT, lockt),
    Op(Number.LOCKU, locku, once=True),
    Op(Number.RELEASE_LOCKOWNER, release_lockowner, (V40,), once=True),
    Op(Number.TEST_STATEID, check_stateids, FROM_41),
    Op(Number.FREE_STATEID, free_stateid, FROM_41, once=True),
)
