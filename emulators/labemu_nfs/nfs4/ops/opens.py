"""OPEN_CONFIRM, OPEN_DOWNGRADE, CLOSE, OPENATTR (RFC 7530 16.2, 16.17 to 16.19; RFC 8881 18.2, 18.17, 18.18)."""

from __future__ import annotations

from struct import Struct

from labemu_nfs.nfs4.compound import V40, Compound, Op, Wait
from labemu_nfs.nfs4.constants import Number
from labemu_nfs.nfs4.ops.states import fingerprint, sequenced, state_of
from labemu_nfs.nfs4.state.model import Open
from labemu_nfs.nfs4.state.owners import Sequence
from labemu_nfs.nfs4.state.service import actual, client_of
from labemu_nfs.nfs4.state.stateids import INVALID, Stateid
from labemu_nfs.nfs4.status import Nfs4Error, Status
from labemu_nfs.nfs4.types import decode_stateid, encode_stateid
from labemu_nfs.xdr import Decoder

_DOWNGRADE = Struct(">III")
_NONE = Sequence()


class _Nobody:
    """In 4.1 nothing has a sequence of its own."""

    sequence = _NONE


NOBODY = _Nobody()


def _find(compound: Compound, stateid: Stateid, *, confirmed: bool = True) -> Open:
    """The open of a stateid, of the current file."""
    state, client = state_of(compound), client_of(compound)
    opened = state.opens.find(stateid, compound.minor, client=client, file=compound.file, confirmed=confirmed)
    opened.client.renewed = compound.now
    return opened


def open_confirm(compound: Compound, arguments: Decoder) -> bytes | Wait:
    """OPEN_CONFIRM: RFC 7530 16.18."""
    begin = arguments.at
    stateid, seqid = decode_stateid(arguments), arguments.u32()
    compound.node  # noqa: B018 # NOFILEHANDLE
    opens = state_of(compound).opens

    def run() -> bytes:
        return encode_stateid(opens.confirm(_find(compound, stateid, confirmed=False)))

    return sequenced(compound, opens.owner_of(stateid), seqid, fingerprint(arguments, begin), run)


def open_downgrade(compound: Compound, arguments: Decoder) -> bytes | Wait:
    """OPEN_DOWNGRADE: RFC 7530 16.19, RFC 8881 18.18."""
    begin = arguments.at
    stateid = decode_stateid(arguments)
    seqid, access, deny = arguments.unpack(_DOWNGRADE)
    compound.node  # noqa: B018 # NOFILEHANDLE
    opens = state_of(compound).opens
    stateid = actual(compound, stateid)

    def run() -> bytes:
        opened = _find(compound, stateid)
        compound.stateid = opens.downgrade(opened, (access & 3 if compound.minor else access, deny))
        return encode_stateid(compound.stateid)

    owner = NOBODY if compound.minor else opens.owner_of(stateid)
    return sequenced(compound, owner, seqid, fingerprint(arguments, begin), run)


def close(compound: Compound, arguments: Decoder) -> bytes | Wait:
    """CLOSE: RFC 7530 16.2, RFC 8881 18.2."""
    begin = arguments.at
    seqid, stateid = arguments.u32(), decode_stateid(arguments)
    compound.node  # noqa: B018 # NOFILEHANDLE
    opens = state_of(compound).opens
    stateid = actual(compound, stateid)

    def run() -> bytes:
        last = opens.close(_find(compound, stateid))
        compound.stateid = INVALID if compound.minor else None  # RFC 8881 16.2.3.1.2
        return encode_stateid(INVALID if compound.minor else last)

    owner = NOBODY if compound.minor else opens.owner_of(stateid)
    return sequenced(compound, owner, seqid, fingerprint(arguments, begin), run)


def openattr(compound: Compound, arguments: Decoder) -> bytes:
    """OPENATTR: no store has named attributes (RFC 7530 16.17.5); extended ones are reached otherwise (RFC 8276)."""
    arguments.boolean()
    compound.node  # noqa: B018 # NOFILEHANDLE
    raise Nfs4Error(Status.NOTSUPP)


OPS: tuple[Op, ...] = (
    Op(Number.OPEN_CONFIRM, open_confirm, (V40,), once=True),
    Op(Number.OPEN_DOWNGRADE, open_downgrade, once=True),
    Op(Number.CLOSE, close, once=True),
    Op(Number.OPENATTR, openattr),
)
