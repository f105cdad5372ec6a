"""Clients: SETCLIENTID(_CONFIRM), RENEW (RFC 7530 16.29, 16.33, 16.34); EXCHANGE_ID, DESTROY_CLIENTID, RECLAIM_COMPLETE (RFC 8881 18)."""

from __future__ import annotations

from ipaddress import ip_address

from labemu_nfs.nfs4.callback import CallbackPath40
from labemu_nfs.nfs4.compound import FROM_41, V40, Compound, Op
from labemu_nfs.nfs4.constants import MAX_OPAQUE, Number
from labemu_nfs.nfs4.ops.states import client41, principal_of, state_of
from labemu_nfs.nfs4.state.clients41 import CONFIRMED_R, SUPP_MOVED_REFER, USE_NON_PNFS
from labemu_nfs.nfs4.status import Nfs4Error, Status
from labemu_nfs.nfs4.types import decode_bitmap, decode_time
from labemu_nfs.xdr import Decoder, XdrError, opaque, u32, u64

_VERIFIER = 8
_MAX_TEXT = 1024
_MAX_LISTED = 64
SP4_NONE, SP4_MACH_CRED, SP4_SSV = 0, 1, 2


def _address(netid: bytes, text: bytes) -> tuple[str, int] | None:
    """Host and port of a universal address (RFC 5665 5.2.3), or None where it is none that can be called."""
    if netid not in (b"tcp", b"tcp6"):
        return None
    host, *ports = text.decode("ascii", "replace").rsplit(".", 2)
    try:
        high, low = map(int, ports)
        ip_address(host)
    except ValueError:
        return None
    port = high << 8 | low
    return (host, port) if 0 <= high < 256 and 0 <= low < 256 and port else None


def setclientid(compound: Compound, arguments: Decoder) -> bytes:
    """SETCLIENTID: RFC 7530 16.33."""
    verifier = bytes(arguments.fixed(_VERIFIER))
    name = arguments.string(MAX_OPAQUE)
    program = arguments.u32()
    netid, text = arguments.string(_MAX_TEXT), arguments.string(_MAX_TEXT)
    ident = arguments.u32()
    state = state_of(compound)
    where = _address(netid, text)
    path = None
    # Only the caller itself is called: a client must not make the server connect to others.
    if where is not None and state.dialer is not None and where[0] == compound.caller.address:
        path = CallbackPath40(compound.context.handles, state.dialer, *where, program, ident)
    try:
        number, confirmation = state.clients40.set(name, verifier, principal_of(compound), path, compound.now)
    except Nfs4Error as error:
        if error.status is Status.CLID_INUSE:  # client_using: RFC 7530 16.33.2
            raise Nfs4Error(error.status, opaque(b"tcp") + opaque(b"0.0.0.0.0.0")) from None
        raise
    return u64(number) + confirmation


def setclientid_confirm(compound: Compound, arguments: Decoder) -> bytes:
    """SETCLIENTID_CONFIRM: RFC 7530 16.34."""
    number = arguments.u64()
    confirmation = bytes(arguments.fixed(_VERIFIER))
    state = state_of(compound)
    client = state.clients40.confirm(number, confirmation, principal_of(compound), compound.now)
    if isinstance(client.callback, CallbackPath40):
        client.callback.probe()
        state.delegations.new_path(client)
    return b""


def renew(compound: Compound, arguments: Decoder) -> bytes:
    """RENEW: RFC 7530 16.29."""
    client = state_of(compound).clients40.get(arguments.u64(), compound.now)
    path = client.callback
    if client.delegated and (path is None or not path.up):
        raise Nfs4Error(Status.CB_PATH_DOWN)
    return b""


def exchange_id(compound: Compound, arguments: Decoder) -> bytes:
    """EXCHANGE_ID: RFC 8881 18.35; no state protection but SP4_NONE, as credentials are not protected themselves."""
    verifier = bytes(arguments.fixed(_VERIFIER))
    name = arguments.string(MAX_OPAQUE)
    flags = arguments.u32()
    protection = arguments.u32()
    _skip_protection(arguments, protection)
    _skip_implementation(arguments)
    if protection == SP4_MACH_CRED:
        raise Nfs4Error(Status.INVAL)  # 18.35.3: it takes RPCSEC_GSS
    if protection == SP4_SSV:
        raise Nfs4Error(Status.ENCR_ALG_UNSUPP)
    state = state_of(compound)
    client = state.clients41.exchange(name, verifier, principal_of(compound), flags, compound.now)
    granted = USE_NON_PNFS | flags & SUPP_MOVED_REFER | (CONFIRMED_R if client.confirmed else 0)
    following = client.creation.seqid + 1 & 0xFFFF_FFFF
    server = u64(0) + opaque(state.identity) + opaque(state.identity)
    return u64(client.number) + u32(following) + u32(granted) + u32(SP4_NONE) + server + u32(0)


def _skip_protection(arguments: Decoder, protection: int) -> None:
    """state_protect4_a (RFC 8881 18.35.1)."""
    if protection > SP4_SSV:
        raise XdrError("no such state_protect_how4")
    if protection == SP4_NONE:
        return
    decode_bitmap(arguments)
    decode_bitmap(arguments)
    if protection == SP4_SSV:
        for _ in range(2):
            for _ in range(_bounded(arguments)):
                arguments.opaque(MAX_OPAQUE)
        arguments.u32()
        arguments.u32()


def _bounded(arguments: Decoder, most: int = _MAX_LISTED) -> int:
    count = arguments.u32()
    if count > most:
        raise XdrError(f"{count} where at most {most} are allowed")
    return count


def _skip_implementation(arguments: Decoder) -> None:
    """nfs_impl_id4<1> (RFC 8881 3.3.21): for people only."""
    for _ in range(_bounded(arguments, 1)):
        arguments.opaque(_MAX_TEXT)
        arguments.opaque(_MAX_TEXT)
        decode_time(arguments)


def destroy_clientid(compound: Compound, arguments: Decoder) -> bytes:
    """DESTROY_CLIENTID: RFC 8881 18.50."""
    state_of(compound).clients41.destroy(arguments.u64(), compound.now)
    return b""


def reclaim_complete(compound: Compound, arguments: Decoder) -> bytes:
    """RECLAIM_COMPLETE: RFC 8881 18.51; for one file system, after migration, there is nothing to do."""
    if arguments.boolean():
        compound.node  # noqa: B018 # NOFILEHANDLE
        return b""
    state_of(compound).grace.complete(client41(compound))
    return b""


OPS: tuple[Op, ...] = (
    Op(Number.SETCLIENTID, setclientid, (V40,), once=True),
    Op(Number.SETCLIENTID_CONFIRM, setclientid_confirm, (V40,), once=True),
    Op(Number.RENEW, renew, (V40,)),
    Op(Number.EXCHANGE_ID, exchange_id, FROM_41, sessionless=True, once=True),
    Op(Number.DESTROY_CLIENTID, destroy_clientid, FROM_41, sessionless=True, once=True),
    Op(Number.RECLAIM_COMPLETE, reclaim_complete, FROM_41, once=True),
)
