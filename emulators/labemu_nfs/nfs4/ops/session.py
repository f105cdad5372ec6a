"""Sessions: CREATE_SESSION, SEQUENCE, BIND_CONN_TO_SESSION, DESTROY_SESSION, BACKCHANNEL_CTL, SET_SSV (RFC 8881 18.33 to 18.47)."""

from __future__ import annotations

from struct import Struct
from zlib import crc32

from labemu_nfs.limits import MAX_CREDENTIAL, MAX_GROUPS, MAX_MACHINE_NAME
from labemu_nfs.nfs4.callback import AUTH_NONE_PARTS, CallbackPath41
from labemu_nfs.nfs4.compound import FROM_41, NO_LIMIT, Compound, Op, Replay
from labemu_nfs.nfs4.constants import Number
from labemu_nfs.nfs4.ops.states import client41, principal_of, state_of
from labemu_nfs.nfs4.state.model import Session
from labemu_nfs.nfs4.state.sessions import BACK, BACK_OR_BOTH, CONN_BACK_CHAN, FORE, FORE_OR_BOTH, Channel
from labemu_nfs.nfs4.status import Nfs4Error, Status
from labemu_nfs.rpc.auth import AUTH_NONE, AUTH_SYS
from labemu_nfs.rpc.message import Body
from labemu_nfs.xdr import FALSE, Decoder, XdrError, opaque, u32

_SESSION = 16
_CREATE = Struct(">QII")
_CHANNEL = Struct(">6I")
_SEQUENCE = Struct(">16sIIII")
_SEQUENCE_RESULT = Struct(">16s5I")
_DIGEST = Struct(">IIII")
_RPCSEC_GSS = 6
_DIGESTED = 4096


def _channel(arguments: Decoder) -> Channel:
    """channel_attrs4 (RFC 8881 18.36.1); padding and RDMA are not ours."""
    _, request, reply, cached, operations, requests = arguments.unpack(_CHANNEL)
    count = arguments.u32()
    if count > 1:
        raise XdrError("more than one ca_rdma_ird")
    for _ in range(count):
        arguments.u32()
    return Channel(request, reply, cached, operations, requests)


def _encode(channel: Channel) -> bytes:
    return _CHANNEL.pack(
        0, channel.max_request, channel.max_reply, channel.max_cached, channel.max_operations, channel.max_requests
    ) + u32(0)


def _credential(arguments: Decoder) -> bytes | None:
    """The first of callback_sec_parms4<> that can be used, as an opaque_auth; AUTH_NONE where there are none."""
    found: bytes | None = None
    count = arguments.u32()
    if count > MAX_GROUPS:
        raise XdrError("too many callback_sec_parms4")
    for _ in range(count):
        parts = _one_credential(arguments)
        found = parts if found is None else found
    return AUTH_NONE_PARTS if not count else found


def _one_credential(arguments: Decoder) -> bytes | None:
    flavor = arguments.u32()
    if flavor == AUTH_NONE:
        return AUTH_NONE_PARTS
    begin = arguments.at
    if flavor == AUTH_SYS:
        arguments.u32()
        arguments.opaque(MAX_MACHINE_NAME)
        arguments.u32()
        arguments.u32()
        for _ in range(_groups(arguments)):
            arguments.u32()
        return u32(AUTH_SYS) + opaque(bytes(arguments.view[begin : arguments.at]))
    if flavor != _RPCSEC_GSS:
        raise XdrError("no such flavour")
    arguments.u32()
    arguments.opaque(MAX_CREDENTIAL)
    arguments.opaque(MAX_CREDENTIAL)
    return None


def _groups(arguments: Decoder) -> int:
    count = arguments.u32()
    if count > MAX_GROUPS:
        raise XdrError("too many groups")
    return count


def create_session(compound: Compound, arguments: Decoder) -> bytes:
    """CREATE_SESSION: RFC 8881 18.36."""
    number, seqid, flags = arguments.unpack(_CREATE)
    fore, back = _channel(arguments), _channel(arguments)
    program = arguments.u32()
    credential = _credential(arguments)
    state = state_of(compound)
    made = state.sessions.create(number, seqid, flags, (fore, back), principal_of(compound), compound.now)
    if isinstance(made, bytes):
        return made
    session, granted = made
    path = CallbackPath41(
        compound.context.handles, session.number, compound.minor, program, credential or AUTH_NONE_PARTS
    )
    session.callback = path
    link = compound.caller.link
    state.sessions.bind(session, link)
    backward = bool(flags & CONN_BACK_CHAN) and link is not None and credential is not None
    if backward and link is not None:
        path.bind(link)
        state.sessions.bind_back(session, path)
        state.delegations.new_path(session.client)
    given = CONN_BACK_CHAN if backward else 0
    answer = session.number + u32(seqid) + u32(given) + _encode(granted) + _encode(back)
    state.sessions.created(session, answer)
    return answer


def sequence(compound: Compound, arguments: Decoder) -> bytes:
    """SEQUENCE: RFC 8881 18.46."""
    number, seqid, slot_number, highest, keep = arguments.unpack(_SEQUENCE)
    if keep > 1:
        raise XdrError("neither true nor false")
    if compound.index:
        raise Nfs4Error(Status.SEQUENCE_POS)
    state = state_of(compound)
    session = state.sessions.get(number)  # type: ignore[arg-type] # what Struct gives for "s" is bytes
    if compound.count > session.max_operations:
        raise Nfs4Error(Status.TOO_MANY_OPS)
    if compound.size > session.max_request:
        raise Nfs4Error(Status.REQ_TOO_BIG)
    slot = state.sessions.slot(session, slot_number, highest)
    again = slot.begin(seqid, _digest(compound, arguments))
    state.sessions.renew(session, compound.caller.link, compound.now)
    if again is not None:
        raise Replay([again])
    compound.session, compound.slot = session, slot
    compound.limit(session.max_reply, session.max_cached if keep else NO_LIMIT)

    def replied(body: Body) -> None:
        kept = keep or compound.count == 1  # SEQUENCE alone can always be sent again (RFC 8881 2.10.6.1.3)
        slot.end(b"".join(body) if kept else None)

    compound.replied = replied
    last = len(session.slots) - 1
    flags = state.sessions.flags(session.client, compound.now)
    return _SEQUENCE_RESULT.pack(session.number, seqid, slot_number, last, last, flags)


def _digest(compound: Compound, arguments: Decoder) -> bytes:
    """Tells a request from another one under the same number, as far as its beginning goes (RFC 8881 2.10.6.1.3.1)."""
    begin = crc32(arguments.view[arguments.at : arguments.at + _DIGESTED])
    return _DIGEST.pack(compound.count, compound.size, begin, compound.credential.uid)


def _session(compound: Compound, arguments: Decoder) -> Session:
    return state_of(compound).sessions.get(bytes(arguments.fixed(_SESSION)))


def bind_conn_to_session(compound: Compound, arguments: Decoder) -> bytes:
    """BIND_CONN_TO_SESSION: RFC 8881 18.34."""
    number = bytes(arguments.fixed(_SESSION))
    direction = arguments.u32()
    arguments.boolean()  # RDMA: there is none
    if direction not in (FORE, BACK, FORE_OR_BOTH, BACK_OR_BOTH):
        raise XdrError("no such channel_dir_from_client4")
    state = state_of(compound)
    session = state.sessions.get(number)
    link = compound.caller.link
    state.sessions.renew(session, link, compound.now)
    if direction != FORE and link is not None and isinstance(session.callback, CallbackPath41):
        session.callback.bind(link)
        state.sessions.bind_back(session, session.callback)
        state.delegations.new_path(session.client)
    bound = direction if direction in (FORE, BACK) else FORE_OR_BOTH
    return number + u32(bound) + FALSE


def destroy_session(compound: Compound, arguments: Decoder) -> bytes:
    """DESTROY_SESSION: RFC 8881 18.37."""
    session = _session(compound, arguments)
    if compound.session is session and compound.index != compound.count - 1:
        raise Nfs4Error(Status.NOT_ONLY_OP)
    link = compound.caller.link
    if link is not None and link not in session.connections:
        raise Nfs4Error(Status.CONN_NOT_BOUND_TO_SESSION)
    state_of(compound).sessions.destroy(session)
    return b""


def backchannel_ctl(compound: Compound, arguments: Decoder) -> bytes:
    """BACKCHANNEL_CTL: RFC 8881 18.33."""
    program = arguments.u32()
    credential = _credential(arguments)
    client41(compound)
    path = compound.session.callback if compound.session is not None else None
    if credential is None:
        raise Nfs4Error(Status.NOENT)  # RPCSEC_GSS handles that this server has none of
    if isinstance(path, CallbackPath41):
        path.program, path.credential = program, credential
    return b""


def set_ssv(compound: Compound, arguments: Decoder) -> bytes:
    """SET_SSV: no client ID was made with SP4_SSV (RFC 8881 18.47.3)."""
    raise Nfs4Error(Status.INVAL)


OPS: tuple[Op, ...] = (
    Op(Number.CREATE_SESSION, create_session, FROM_41, sessionless=True, once=True),
    Op(Number.SEQUENCE, sequence, FROM_41),
    Op(Number.BIND_CONN_TO_SESSION, bind_conn_to_session, FROM_41, sessionless=True, once=True),
    Op(Number.DESTROY_SESSION, destroy_session, FROM_41, sessionless=True, once=True),
    Op(Number.BACKCHANNEL_CTL, backchannel_ctl, FROM_41),
    Op(Number.SET_SSV, set_ssv, FROM_41),
)
