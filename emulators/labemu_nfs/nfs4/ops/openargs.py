"""The arguments of OPEN (RFC 7530 16.16.1, RFC 8881 18.16.1), and its results' delegations."""

from __future__ import annotations

from dataclasses import dataclass, field
from struct import Struct

from labemu_nfs.nfs4.constants import MAX_OPAQUE
from labemu_nfs.nfs4.settings import Settings, decode_settings
from labemu_nfs.nfs4.state.model import Delegation
from labemu_nfs.nfs4.state.stateids import Stateid
from labemu_nfs.nfs4.status import Nfs4Error, Status
from labemu_nfs.nfs4.types import decode_component, decode_stateid, encode_stateid
from labemu_nfs.xdr import FALSE, Decoder, XdrError, opaque, u32, u64

_HEAD = Struct(">3IQ")
_ACE = Struct(">3I")

NOCREATE, CREATE = 0, 1
UNCHECKED, GUARDED, EXCLUSIVE, EXCLUSIVE_41 = 0, 1, 2, 3
(
    CLAIM_NULL,
    CLAIM_PREVIOUS,
    CLAIM_DELEGATE_CUR,
    CLAIM_DELEGATE_PREV,
    CLAIM_FH,
    CLAIM_DELEG_CUR_FH,
    CLAIM_DELEG_PREV_FH,
) = range(7)
BY_NAME = (CLAIM_NULL, CLAIM_DELEGATE_CUR, CLAIM_DELEGATE_PREV)

WANT_MASK = 0xFF00
WANT_READ, WANT_WRITE, WANT_ANY, WANT_NONE, WANT_CANCEL = 0x100, 0x200, 0x300, 0x400, 0x500
_SHARE_MASK = 0x3
_KNOWN = _SHARE_MASK | WANT_MASK | 0x3_0000

DELEGATE_NONE, DELEGATE_READ, DELEGATE_WRITE, DELEGATE_NONE_EXT = 0, 1, 2, 3
NOT_WANTED, CONTENTION, NO_RESOURCE, CANCELLED = 0, 1, 2, 7
"""why_no_delegation4 (RFC 8881 18.16.2)."""


@dataclass(slots=True)
class OpenArguments:
    """OPEN4args; `refused` is what is wrong with a name or an attribute, to be told once the request counts."""

    seqid: int
    access: int
    want: int
    deny: int
    client: int
    owner: bytes
    creates: bool = False
    mode: int = UNCHECKED
    settings: Settings | None = None
    verifier: bytes = b""
    claim: int = CLAIM_NULL
    name: bytes = b""
    stateid: Stateid | None = None
    delegated: int = DELEGATE_NONE
    refused: list[Nfs4Error] = field(default_factory=list)


def decode_open(arguments: Decoder, minor: int, longest: int) -> OpenArguments:
    """OPEN4args.

    Args:
        arguments: of the call.
        minor: of the COMPOUND.
        longest: bytes of a name.

    Raises:
        XdrError: they do not decode.
    """
    seqid, access, deny, client = arguments.unpack(_HEAD)
    owner = arguments.string(MAX_OPAQUE)
    share = access & (_SHARE_MASK if minor else 0xFFFF_FFFF)
    found = OpenArguments(seqid, share, access & WANT_MASK if minor else 0, deny, client, owner)
    if minor and access & ~_KNOWN:
        found.refused.append(Nfs4Error(Status.INVAL))
    how = arguments.u32()
    if how > CREATE:
        raise XdrError("no such opentype4")
    if how == CREATE:
        _decode_creation(arguments, found, minor)
    found.claim = arguments.u32()
    if found.claim > (CLAIM_DELEG_PREV_FH if minor else CLAIM_DELEGATE_PREV):
        raise XdrError("no such open_claim_type4")
    if found.claim == CLAIM_PREVIOUS:
        found.delegated = arguments.u32()
    if found.claim in (CLAIM_DELEGATE_CUR, CLAIM_DELEG_CUR_FH):
        found.stateid = decode_stateid(arguments)
    if found.claim in BY_NAME:
        try:
            found.name = decode_component(arguments, longest)
        except Nfs4Error as error:
            found.refused.append(error)
    return found


def _decode_creation(arguments: Decoder, found: OpenArguments, minor: int) -> None:
    """createhow4."""
    found.creates = True
    found.mode = arguments.u32()
    if found.mode > (EXCLUSIVE_41 if minor else EXCLUSIVE):
        raise XdrError("no such createmode4")
    if found.mode in (EXCLUSIVE, EXCLUSIVE_41):
        found.verifier = bytes(arguments.fixed(8))
    if found.mode != EXCLUSIVE:
        try:
            found.settings = decode_settings(arguments, minor)
        except Nfs4Error as error:
            found.refused.append(error)


def encode_delegation(delegation: Delegation) -> bytes:
    """open_delegation4 of one that was given; the ACE allows nobody else anything, so that the client asks (RFC 7530 10.4.1)."""
    nobody = _ACE.pack(0, 0, 0) + opaque(b"")
    given = encode_stateid(delegation.stateid) + FALSE
    if not delegation.write:
        return u32(DELEGATE_READ) + given + nobody
    unlimited = u32(1) + u64(2**64 - 1)
    return u32(DELEGATE_WRITE) + given + unlimited + nobody


def encode_refusal(why: int) -> bytes:
    """open_delegation4 of none, with the reason."""
    return u32(DELEGATE_NONE_EXT) + u32(why) + (FALSE if why in (CONTENTION, NO_RESOURCE) else b"")
