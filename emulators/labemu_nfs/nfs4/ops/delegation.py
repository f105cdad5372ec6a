"""DELEGRETURN, DELEGPURGE, WANT_DELEGATION, GET_DIR_DELEGATION (RFC 7530 16.5, 16.6; RFC 8881 18.5, 18.6, 18.39, 18.49)."""

from __future__ import annotations

from labemu_nfs.nfs4.compound import FROM_41, Compound, Op
from labemu_nfs.nfs4.constants import Number
from labemu_nfs.nfs4.ops.openargs import (
    CLAIM_FH,
    CLAIM_PREVIOUS,
    CONTENTION,
    DELEGATE_WRITE,
    NO_RESOURCE,
    NOT_WANTED,
    WANT_ANY,
    WANT_MASK,
    WANT_READ,
    WANT_WRITE,
    encode_delegation,
    encode_refusal,
)
from labemu_nfs.nfs4.ops.states import client41, state_of
from labemu_nfs.nfs4.state.model import Delegation
from labemu_nfs.nfs4.state.service import actual, client_of
from labemu_nfs.nfs4.status import Nfs4Error, Status
from labemu_nfs.nfs4.types import decode_bitmap, decode_stateid, decode_time
from labemu_nfs.xdr import Decoder, XdrError, u32
from labemu_store.file.types import FileKind

_CLAIM_DELEG_PREV_FH = 6
_UNAVAILABLE = 1
"""GDD4_UNAVAIL."""


def delegreturn(compound: Compound, arguments: Decoder) -> bytes:
    """DELEGRETURN: RFC 7530 16.6, RFC 8881 18.6."""
    stateid = actual(compound, decode_stateid(arguments))
    compound.node  # noqa: B018 # NOFILEHANDLE
    state = state_of(compound)
    held = state.core.find(stateid, compound.minor, client=client_of(compound), file=compound.file)
    if not isinstance(held, Delegation):
        raise Nfs4Error(Status.BAD_STATEID)
    held.client.renewed = compound.now
    state.core.release(held)
    return b""


def delegpurge(compound: Compound, arguments: Decoder) -> bytes:
    """DELEGPURGE: no delegation outlives its client's restart, so there is none to purge (RFC 7530 16.5.5, RFC 8881 18.5.3)."""
    arguments.u64()
    raise Nfs4Error(Status.NOTSUPP)


def want_delegation(compound: Compound, arguments: Decoder) -> bytes:
    """WANT_DELEGATION: RFC 8881 18.49; a delegation now or none: no later offer is made."""
    want = arguments.u32()
    claim = arguments.u32()
    if claim not in (CLAIM_PREVIOUS, CLAIM_FH, _CLAIM_DELEG_PREV_FH):
        raise XdrError("no such claim")
    delegated = arguments.u32() if claim == CLAIM_PREVIOUS else 0
    node, state, client = compound.node, state_of(compound), client41(compound)
    if node.attributes.kind is not FileKind.REGULAR:
        raise Nfs4Error(Status.ISDIR if node.attributes.kind is FileKind.DIRECTORY else Status.WRONG_TYPE)
    if claim == _CLAIM_DELEG_PREV_FH:
        raise Nfs4Error(Status.NOTSUPP)
    now = compound.now
    if claim == CLAIM_PREVIOUS:
        state.grace.may_reclaim(client, now)
        file = state.core.file_state(node.file)
        return encode_delegation(state.delegations.make(client, file, write=delegated == DELEGATE_WRITE, now=now))
    state.grace.require_over(client, now)
    if want & WANT_MASK not in (WANT_READ, WANT_WRITE, WANT_ANY):
        return encode_refusal(NOT_WANTED)
    write = want & WANT_MASK == WANT_WRITE
    granted = state.delegations.grant_alone(client, node.file, write=write, now=now)
    if granted is not None:
        return encode_delegation(granted)
    up = client.callback is not None and client.callback.up
    return encode_refusal(CONTENTION if up else NO_RESOURCE)


def get_dir_delegation(compound: Compound, arguments: Decoder) -> bytes:
    """GET_DIR_DELEGATION: there are none for now, which is an answer and no failure (RFC 8881 18.39.3)."""
    arguments.boolean()
    decode_bitmap(arguments)
    decode_time(arguments)
    decode_time(arguments)
    decode_bitmap(arguments)
    decode_bitmap(arguments)
    compound.node.require_directory()
    return u32(_UNAVAILABLE) + u32(0)


OPS: tuple[Op, ...] = (
    Op(Number.DELEGRETURN, delegreturn, once=True),
    Op(Number.DELEGPURGE, delegpurge),
    Op(Number.WANT_DELEGATION, want_delegation, FROM_41, once=True),
    Op(Number.GET_DIR_DELEGATION, get_dir_delegation, FROM_41),
)
