"""OPEN (RFC 7530 16.16, RFC 8881 18.16): by name, by handle, with creation, as a reclaim, under a delegation."""

from __future__ import annotations

from struct import Struct

from labemu_nfs.nfs4.compound import Compound, Op, Wait
from labemu_nfs.nfs4.constants import Attribute, Number
from labemu_nfs.nfs4.node import Node
from labemu_nfs.nfs4.ops.names import find, require_change
from labemu_nfs.nfs4.ops.openargs import (
    BY_NAME,
    CANCELLED,
    CLAIM_DELEG_PREV_FH,
    CLAIM_DELEGATE_PREV,
    CLAIM_PREVIOUS,
    CONTENTION,
    DELEGATE_NONE,
    DELEGATE_WRITE,
    EXCLUSIVE,
    EXCLUSIVE_41,
    GUARDED,
    NO_RESOURCE,
    NOT_WANTED,
    WANT_ANY,
    WANT_CANCEL,
    WANT_NONE,
    WANT_READ,
    WANT_WRITE,
    OpenArguments,
    decode_open,
    encode_delegation,
    encode_refusal,
)
from labemu_nfs.nfs4.ops.states import fingerprint, named_client, sequenced, state_of
from labemu_nfs.nfs4.settings import Settings, allowed_change
from labemu_nfs.nfs4.state import shares
from labemu_nfs.nfs4.state.model import Client, Delegation, Open, OpenOwner
from labemu_nfs.nfs4.state.service import NfsState, actual
from labemu_nfs.nfs4.status import Nfs4Error, Status
from labemu_nfs.nfs4.types import change_info, encode_bitmap, encode_stateid
from labemu_nfs.xdr import Decoder, u32
from labemu_store.file import access
from labemu_store.file.types import AttributeChange, FileKind, Ownership

RESULT_CONFIRM, RESULT_LOCKTYPE_POSIX = 2, 4
"""OPEN4_RESULT_*."""

_VERIFIER = Struct(">II")
_SECOND = 1_000_000_000
_VERIFIER_MASK = 1 << Attribute.TIME_ACCESS | 1 << Attribute.TIME_MODIFY
"""Where an exclusive create keeps its verifier: what the client is told to set afterwards (RFC 7530 16.16.5)."""


class _Target:
    """What is opened.

    Args:
        node: it.
        directory: where it was named, or None.
        before: the directory's change then.
        made: whether it is new.
        cut: whether it was there and is empty now.
        mask: the attributes that were set.
    """

    __slots__ = ("before", "cut", "directory", "made", "mask", "node")

    def __init__(
        self,
        node: Node,
        directory: Node | None,
        before: int,
        *,
        made: bool = False,
        cut: bool = False,
        mask: int = 0,
    ) -> None:
        self.node = node
        self.directory = directory
        self.before = before
        self.made = made
        self.cut = cut
        self.mask = mask


def open_file(compound: Compound, arguments: Decoder) -> bytes | Wait:
    """OPEN."""
    begin = arguments.at
    longest = compound.current.store.capabilities.max_name if compound.current is not None else 255
    given = decode_open(arguments, compound.minor, longest)
    request = fingerprint(arguments, begin)
    state = state_of(compound)
    client = named_client(compound, given.client)
    owner = state.opens.owner(client, given.owner, compound.now)
    if not owner.confirmed and not owner.sequence.is_last(given.seqid, request):
        state.opens.restart(owner)
    return sequenced(compound, owner, given.seqid, request, lambda: _open(compound, state, owner, given))


def _open(compound: Compound, state: NfsState, owner: OpenOwner, given: OpenArguments) -> bytes | Wait:
    client, now = owner.client, compound.now
    compound.node  # noqa: B018 # NOFILEHANDLE comes first
    for error in given.refused:
        raise error
    shares.check(given.access, given.deny)
    if given.claim in (CLAIM_DELEGATE_PREV, CLAIM_DELEG_PREV_FH):
        raise Nfs4Error(Status.NOTSUPP)  # none outlives its client's restart
    if given.claim == CLAIM_PREVIOUS:
        if given.creates:
            raise Nfs4Error(Status.INVAL)
        state.grace.may_reclaim(client, now)
        owner.confirmed = True
    else:
        state.grace.require_over(client, now)
        state.grace.remember(client)
    target = _target(compound, state, owner, given)
    opened = _share(compound, state, owner, given, target)
    compound.go_to(target.node)
    compound.stateid = opened.stateid
    delegation = _delegation(compound, state, opened, given)

    def results() -> bytes:
        return _results(target, opened, owner, delegation)

    if target.cut:
        return compound.durable((target.node,), results)
    if not target.made or target.directory is None:
        return results()
    return compound.durable((target.node, target.directory), results)


def _results(target: _Target, opened: Open, owner: OpenOwner, delegation: bytes) -> bytes:
    """OPEN4resok."""
    after = target.before
    if target.directory is not None:
        target.directory.changed()
        after = target.directory.attributes.change
    flags = RESULT_LOCKTYPE_POSIX | (0 if owner.confirmed else RESULT_CONFIRM)
    info = change_info(target.before, after)
    return encode_stateid(opened.stateid) + info + u32(flags) + encode_bitmap(target.mask) + delegation


def _target(compound: Compound, state: NfsState, owner: OpenOwner, given: OpenArguments) -> _Target:
    """Find or make the file."""
    if given.claim not in BY_NAME:
        node = compound.node
        if given.creates and given.claim != CLAIM_PREVIOUS:
            raise Nfs4Error(Status.INVAL)
        _require_regular(compound, node)
        return _Target(node, None, 0)
    directory = compound.node
    before = directory.require_directory().change
    try:
        export, key = find(compound, directory, given.name)
    except FileNotFoundError:
        if not given.creates:
            raise
        return _create(compound, directory, given)
    node = Node(export, key, directory.who)
    if given.creates:
        return _existing(compound, state, owner, node, directory, given)
    _require_regular(compound, node)
    return _Target(node, directory, before)


def _require_regular(compound: Compound, node: Node) -> None:
    """Raise Nfs4Error ISDIR, SYMLINK, WRONG_TYPE: 4.0 has no word for other kinds but SYMLINK (RFC 7530 16.16.6, RFC 8881 18.16.3)."""
    kind = node.attributes.kind
    if kind is FileKind.REGULAR:
        return
    if kind is FileKind.DIRECTORY:
        raise Nfs4Error(Status.ISDIR)
    raise Nfs4Error(Status.WRONG_TYPE if compound.minor and kind is not FileKind.SYMLINK else Status.SYMLINK)


def _times(verifier: bytes) -> tuple[int, int]:
    high, low = _VERIFIER.unpack(verifier)
    return (high & 0x7FFF_FFFF) * _SECOND, (low & 0x7FFF_FFFF) * _SECOND


def _create(compound: Compound, directory: Node, given: OpenArguments) -> _Target:
    """The name is free: make a file."""
    before = require_change(directory).change
    settings = given.settings
    exclusive = given.mode in (EXCLUSIVE, EXCLUSIVE_41)
    who = directory.who
    default = 0o600 if given.mode == EXCLUSIVE else 0o644
    owner = settings.owner(who, default) if settings is not None else Ownership(mode=default, uid=who.uid, gid=who.gid)
    if exclusive and settings is not None and settings.times() is not None:
        raise Nfs4Error(Status.INVAL)  # not in suppattr_exclcreat (RFC 8881 5.8.1.14)
    key = directory.store.create(directory.key, given.name, owner)
    compound.changed()
    node = Node(directory.export, key, who)
    mask = settings.mask if settings is not None else 0
    if settings is not None and settings.change.size:
        directory.store.setattr(key, AttributeChange(size=settings.change.size))
    if exclusive:
        atime, mtime = _times(given.verifier)
        directory.store.setattr(key, AttributeChange(atime=atime, mtime=mtime))
        mask |= _VERIFIER_MASK
    elif settings is not None:
        times = settings.times()
        if times is not None:
            directory.store.setattr(key, times)
    return _Target(node, directory, before, made=True, mask=mask)


def _existing(
    compound: Compound, state: NfsState, owner: OpenOwner, node: Node, directory: Node, given: OpenArguments
) -> _Target:
    """The name is taken: that is right for UNCHECKED, and for an exclusive create that is sent again."""
    before = directory.attributes.change
    there = node.attributes
    if given.mode == GUARDED:
        raise Nfs4Error(Status.EXIST)
    if given.mode in (EXCLUSIVE, EXCLUSIVE_41):
        atime, mtime = _times(given.verifier)
        if (there.kind, there.size, there.atime, there.mtime) != (FileKind.REGULAR, 0, atime, mtime):
            raise Nfs4Error(Status.EXIST)
        mask = _VERIFIER_MASK | (given.settings.mask if given.settings is not None else 0)
        return _Target(node, directory, before, made=True, mask=mask)
    _require_regular(compound, node)
    settings = given.settings
    if settings is None or settings.change.size != 0:
        return _Target(node, directory, before)  # the other attributes are for a new file (RFC 8881 18.16.3)
    _truncate(compound, state, owner, node, settings, given)
    return _Target(node, directory, before, cut=True, mask=1 << Attribute.SIZE)


def _truncate(
    compound: Compound, state: NfsState, owner: OpenOwner, node: Node, settings: Settings, given: OpenArguments
) -> None:
    """Cut the file, once it is sure that it may be opened."""
    node.require_writable()
    change = allowed_change(node.attributes, node.who, AttributeChange(size=settings.change.size))
    state.opens.require(owner, node.file, (given.access | shares.WRITE, given.deny), compound.now)
    _require_undelegated(compound, state, owner.client, node, shares.WRITE)
    node.store.setattr(node.key, change)
    node.changed()


def _require_undelegated(compound: Compound, state: NfsState, client: Client, node: Node, wants: int) -> None:
    """Recall what is in the way; in 4.0 also the client's own, since another of its owners may not know of it (RFC 7530 10.4)."""
    own = None if not compound.minor and wants & shares.WRITE else client
    state.delegations.require_none(node.file, own, wants, compound.now)


def _share(compound: Compound, state: NfsState, owner: OpenOwner, given: OpenArguments, target: _Target) -> Open:
    """Make the open, where permissions, shares and delegations allow it."""
    node = target.node
    if given.access & shares.WRITE:
        node.require_writable()
    if not target.made:
        _require_permission(node, given.access)
    state.opens.require(owner, node.file, (given.access, given.deny), compound.now)
    if given.stateid is not None:
        stateid = actual(compound, given.stateid)
        held = state.core.find(stateid, compound.minor, client=owner.client, file=node.file)
        if not isinstance(held, Delegation):
            raise Nfs4Error(Status.BAD_STATEID)
    else:
        _require_undelegated(compound, state, owner.client, node, given.access)
    return state.opens.open(owner, node.file, (given.access, given.deny), compound.now)


def _require_permission(node: Node, wants: int) -> None:
    """Raise EACCES; what may only be executed may be read, to run it (RFC 7530 16.16.6)."""
    attributes = node.attributes
    held = access.permitted(attributes, node.who)
    if held & access.EXECUTE and not wants & shares.WRITE:
        return
    need = (access.READ if wants & shares.READ else 0) | (access.WRITE if wants & shares.WRITE else 0)
    access.require(attributes, node.who, need)


def _delegation(compound: Compound, state: NfsState, opened: Open, given: OpenArguments) -> bytes:
    """open_delegation4: one where that is wise and, where wishes were made, why not (RFC 8881 18.16.3, 10.4)."""
    client, file, now = opened.client, opened.file, compound.now
    if given.claim == CLAIM_PREVIOUS:
        if given.delegated == DELEGATE_NONE:
            return u32(DELEGATE_NONE)
        return encode_delegation(state.delegations.make(client, file, write=given.delegated == DELEGATE_WRITE, now=now))
    if given.want in (WANT_NONE, WANT_CANCEL):
        return encode_refusal(NOT_WANTED if given.want == WANT_NONE else CANCELLED)
    if given.stateid is not None or not opened.owner.confirmed:
        return u32(DELEGATE_NONE)
    write = given.want == WANT_WRITE or (given.want == WANT_ANY and bool(given.access & shares.WRITE))
    if write or given.want == WANT_READ or given.access == shares.READ:
        delegation = state.delegations.grant(client, file, write=write, now=now)
        if delegation is not None:
            return encode_delegation(delegation)
    if not given.want:
        return u32(DELEGATE_NONE)
    callable_ = client.callback is not None and client.callback.up
    return encode_refusal(CONTENTION if callable_ else NO_RESOURCE)


OPS: tuple[Op, ...] = (Op(Number.OPEN, open_file, once=True),)
