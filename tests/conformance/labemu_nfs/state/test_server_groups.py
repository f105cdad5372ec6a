"""What suites for servers ask beyond the other files here: an owner's own denials, stale stateids, kept replies, channels, long writes."""

from __future__ import annotations

from struct import pack

import pytest

from labemu_nfs.limits import MAX_IO, MAX_SLOTS
from labemu_nfs.nfs4.constants import Attribute, Number
from labemu_nfs.nfs4.status import Status
from labemu_nfs.xdr import opaque, u32, u64

READ, WRITE, BOTH = 1, 2, 3
UNCHECKED = u32(1) + u32(0) + u32(0) + u32(0)


def channel(request: int = 8192, reply: int = 8192, cached: int = 8192, operations: int = 128, slots: int = 8) -> bytes:
    return pack(">7I", 0, request, reply, cached, operations, slots, 0)


@pytest.mark.parametrize(("deny", "access"), [(READ, READ), (WRITE, WRITE), (WRITE, BOTH), (BOTH, READ)])
def test_an_owners_own_denial_counts_against_its_next_open(world, deny, access):
    peer = world.peer40()
    peer.opened(b"o", b"new", BOTH, deny, UNCHECKED)
    assert peer.open(b"o", b"new", access)[0] == Status.SHARE_DENIED
    assert peer.open(b"o", b"new", access & ~deny or BOTH, 0)[0] == (
        Status.OK if access & ~deny else Status.SHARE_DENIED
    )


def test_an_open_that_was_answered_is_answered_again_though_its_own_denial_forbids_another(world):
    peer = world.peer40()
    stateid, handle = peer.opened(b"o", b"new", how=UNCHECKED)
    assert peer.close(b"o", handle, stateid)[0] == Status.OK
    assert peer.open(b"o", b"new", BOTH, BOTH)[0] == Status.OK
    assert peer.open(b"o", b"new", BOTH, BOTH, seqid=peer.seqids[b"o"])[0] == Status.OK
    assert peer.open(b"o", b"new", BOTH, BOTH)[0] == Status.SHARE_DENIED


@pytest.mark.parametrize("operation", ["read", "write", "close", "downgrade", "lock", "unlock"])
def test_stateids_of_another_start_and_of_none(world, operation):
    peer = world.peer40()
    stateid, handle = peer.opened(b"o", b"new", how=UNCHECKED)
    whole = pack(">IIQQ", 2, 0, 0, 2**64 - 1)
    for other, status in ((pack(">IQ", 1, 0), Status.STALE_STATEID), (bytes(12), Status.BAD_STATEID)):
        bad = stateid[:4] + other
        answered = {
            "read": lambda bad=bad: peer.on(handle, world.wire.ops.read(0, 10, bad)),
            "write": lambda bad=bad: peer.on(handle, world.wire.ops.write(0, b"x", 2, bad)),
            "close": lambda bad=bad: peer.close(b"o", handle, bad, 9),
            "downgrade": lambda bad=bad: peer.downgrade(b"o", handle, bad, READ, 0),
            "lock": lambda bad=bad: peer.lock(b"o", handle, bad, b"l", whole, 9),
            "unlock": lambda bad=bad: peer.unlock(handle, bad, 1, 0, 10),
        }[operation]()[0]
        assert answered == status


def test_a_restarted_clients_stateids_are_expired(world):
    peer = world.peer40()
    stateid, handle = peer.opened(b"o", b"new", how=UNCHECKED)
    peer.verifier = b"another."
    peer.connect()
    assert peer.close(b"o", handle, stateid)[0] == Status.EXPIRED


def test_locks_at_the_end_of_64_bits(world):
    peer = world.peer40()
    stateid, handle = peer.opened(b"o", b"new", how=UNCHECKED)
    for offset, length in ((25, 0), (100, 2**64 - 2), (2**64 - 1, 2)):
        span = pack(">IIQQ", 2, 0, offset, length)
        assert peer.lock(b"o", handle, stateid, b"l", span)[0] == Status.INVAL
    assert peer.lock(b"o", handle, stateid, b"l", pack(">IIQQ", 2, 0, 2**64 - 1, 1))[0] == Status.OK
    assert peer.test(handle, b"other", 1, 2**64 - 1, 1)[0] == Status.DENIED
    assert peer.test(handle, b"other", 1, 0, 2**64 - 2)[0] == Status.OK


def test_a_write_above_maxwrite_is_done_up_to_it(world):
    peer = world.peer40()
    stateid, handle = peer.opened(b"o", b"new", how=UNCHECKED)
    data = b"abcdefghijklmnopq" * 0x10000
    status, decoder = peer.on(handle, world.wire.ops.write(0, data, 0, stateid))
    assert (status, decoder.u32()) == (Status.OK, MAX_IO)
    assert world.wire.number("gold/new", Attribute.SIZE) == MAX_IO


def test_only_what_the_client_wanted_kept_is_answered_again(world):
    peer = world.peer41()
    for keep, again in ((False, Status.RETRY_UNCACHED_REP), (True, Status.OK)):
        name = b"kept" if keep else b"not kept"
        operations = (peer.sequence(keep=keep), *world.wire.at("gold"), world.wire.ops.mkdir(name))
        assert world.wire.status(*operations, minor=1) == Status.OK
        assert world.wire.status(*operations, minor=1) == again


def test_sequence_alone_is_always_answered_again(world):
    peer = world.peer41()
    alone = peer.sequence()
    assert [world.wire.status(alone, minor=1) for _ in range(3)] == [Status.OK] * 3


@pytest.mark.parametrize("back", [channel(10), channel(reply=10), channel(operations=1), channel(slots=0)])
def test_a_backchannel_of_no_use_is_refused_and_takes_no_number(world, back):
    peer = world.peer41(connect=False)
    _, decoder = peer.exchange_id()
    peer.number, peer.creation = decoder.u64(), decoder.u32()
    head = u32(Number.CREATE_SESSION) + pack(">QII", peer.number, peer.creation, 0) + channel()
    for _ in range(100):
        assert world.wire.status(head + back + u32(123) + u32(0), minor=1) == Status.TOOSMALL
    assert not world.wire.context.states.core.sessions
    assert world.wire.status(head + channel() + u32(123) + u32(0), minor=1) == Status.OK


def begun(world, fore: bytes):
    peer = world.peer41(connect=False)
    _, decoder = peer.exchange_id()
    peer.number, peer.creation = decoder.u64(), decoder.u32()
    return peer.begin(complete=False, fore=fore)


def test_requests_and_replies_beyond_the_channel(world):
    ops = world.wire.ops
    small = begun(world, channel(512))
    assert small.status(ops.PUTROOTFH, ops.lookup(b"12345" * 100)) == Status.REQ_TOO_BIG
    small.seqid -= 1
    assert small.status(ops.PUTROOTFH) == Status.OK
    short = begun(world, channel(reply=400, cached=400))
    everything = ops.getattr(*range(12), Attribute.FILEHANDLE)
    assert short.status(ops.PUTROOTFH, *[everything] * 4) == Status.REP_TOO_BIG
    uncached = begun(world, channel(cached=10))
    assert world.wire.status(uncached.sequence(keep=True), minor=1) == Status.REP_TOO_BIG_TO_CACHE
    few = begun(world, channel(operations=4))
    assert few.status(ops.PUTROOTFH, ops.GETFH, ops.GETFH) == Status.OK
    assert few.status(ops.PUTROOTFH, ops.GETFH, ops.GETFH, ops.GETFH) == Status.TOO_MANY_OPS


def test_slots_beyond_those_granted(world):
    peer = begun(world, channel(slots=500))
    session = world.wire.context.states.core.sessions[peer.session]
    assert len(session.slots) == MAX_SLOTS
    for slot in (MAX_SLOTS, 500, 2**32 - 1):
        request = u32(Number.SEQUENCE) + peer.session + pack(">4I", 1, slot, slot, 1)
        assert world.wire.status(request, minor=1) == Status.BADSLOT
    for seqid in (0, 2, 2**32 - 1):
        assert world.wire.status(peer.sequence(seqid, 3), minor=1) == Status.SEQ_MISORDERED


def test_reclaims_after_reclaim_complete_and_opens_before_it(world):
    peer = world.peer41()
    handle = peer.open(b"new", how=UNCHECKED)[2]
    head = u32(Number.OPEN) + pack(">IIIQ", 0, BOTH, 0, 0) + opaque(b"o")
    assert peer.on(handle, head + u32(0) + u32(1) + u32(0)) == Status.NO_GRACE
    early = world.peer41(b"early", connect=False)
    early.connect(complete=False)
    assert early.open(b"new")[0] == Status.GRACE


def test_a_clientid_that_nobody_has(world):
    assert world.wire.status(u32(Number.RENEW) + u64(0)) == Status.STALE_CLIENTID
    assert world.wire.status(u32(Number.SETCLIENTID_CONFIRM) + u64(0) + bytes(8)) == Status.STALE_CLIENTID
    assert world.wire.status(u32(Number.DESTROY_CLIENTID) + u64(0), minor=1) == Status.STALE_CLIENTID
