"""EXCHANGE_ID, CREATE_SESSION, SEQUENCE and the rest of sessions: RFC 8881 2.10, 18.34 to 18.37, 18.46, 18.50, 18.51."""

from __future__ import annotations

from struct import pack

import pytest

from labemu_nfs.nfs4.constants import Attribute, Number
from labemu_nfs.nfs4.status import Status
from labemu_nfs.xdr import opaque, u32, u64

UPDATE, CONFIRMED = 0x4000_0000, 0x8000_0000
LEASE = 90


def identity(peer, flags=0, verifier=None):
    status, decoder = peer.exchange_id(flags, verifier)
    assert status == Status.OK, status
    return decoder.u64(), decoder.u32(), decoder.u32()


@pytest.mark.parametrize("flags", [4, CONFIRMED, 0x1000])
def test_flags_that_no_client_may_set(world, flags):
    assert world.peer41(connect=False).exchange_id(flags)[0] == Status.INVAL


def test_exchange_id_before_confirmation_replaces_the_record_whoever_asks(world):
    peer = world.peer41(connect=False)
    seen = {identity(peer)[0]}
    for uid, verifier in ((0, None), (0, b"another!"), (7, None), (8, b"a third!")):
        peer.wire.uid = uid
        number, _, flags = identity(peer, 0, verifier)
        assert number not in seen
        assert flags & CONFIRMED == 0
        assert flags & 0x70000
        seen.add(number)
    assert peer.exchange_id(UPDATE)[0] == Status.NOENT


def test_exchange_id_of_a_confirmed_client(world):
    peer = world.peer41()
    number, seqid, flags = identity(peer)
    assert (number, seqid, flags & CONFIRMED) == (peer.number, peer.creation, CONFIRMED)
    assert identity(peer, UPDATE)[0] == peer.number
    assert peer.exchange_id(UPDATE, b"another!")[0] == Status.NOT_SAME
    peer.wire.uid = 7
    assert peer.exchange_id(UPDATE)[0] == Status.PERM
    assert peer.exchange_id()[0] == Status.CLID_INUSE


def test_a_restarted_client_takes_its_old_state_when_it_makes_a_session(world):
    peer = world.peer41()
    session = peer.session
    number, peer.creation, _ = identity(peer, 0, b"restart!")
    assert number != peer.number
    peer.number = number
    assert peer.status() == Status.OK
    peer.begin()
    assert peer.session != session
    peer.session = session
    assert peer.status() == Status.BADSESSION


def test_another_principal_replaces_a_client_that_holds_nothing(world):
    peer = world.peer41()
    assert peer.wire.status(u32(Number.DESTROY_SESSION) + peer.session, minor=1) == Status.OK
    old = peer.number
    peer.wire.uid = 7
    assert identity(peer)[0] != old
    assert peer.create_session()[0] == Status.STALE_CLIENTID


def test_an_unconfirmed_record_lives_for_a_lease(world):
    peer = world.peer41(connect=False)
    peer.number, peer.creation, _ = identity(peer)
    world.now += LEASE + 1
    assert peer.create_session()[0] == Status.STALE_CLIENTID


def test_create_session_is_done_once(world):
    peer = world.peer41(connect=False)
    peer.number, peer.creation, _ = identity(peer)
    assert peer.create_session(peer.creation + 1)[0] == Status.SEQ_MISORDERED
    assert peer.create_session(0xFFFF_FFFF)[0] == Status.SEQ_MISORDERED
    first = bytes(peer.create_session()[1].view)[24:]
    assert bytes(peer.create_session()[1].view)[24:] == first
    assert peer.create_session(peer.creation + 2)[0] == Status.SEQ_MISORDERED
    assert bytes(peer.create_session(peer.creation + 1)[1].view)[24:] != first


def test_create_session_by_another_principal_before_and_after_confirmation(world):
    peer = world.peer41(connect=False)
    peer.number, peer.creation, _ = identity(peer)
    peer.wire.uid = 7
    assert peer.create_session()[0] == Status.CLID_INUSE
    peer.wire.uid = 0
    assert peer.create_session()[0] == Status.OK
    peer.wire.uid = 7
    assert peer.create_session(peer.creation + 1)[0] == Status.OK


def test_channels_are_cut_to_the_limits_and_refused_below_use(world):
    peer = world.peer41(connect=False)
    peer.number, peer.creation, _ = identity(peer)
    for channel in (
        pack(">7I", 0, 8192, 0, 0, 8, 8, 0),
        pack(">7I", 0, 20, 8192, 0, 8, 8, 0),
        pack(">7I", 0, 8192, 8192, 0, 8, 0, 0),
    ):
        assert peer.create_session(fore=channel)[0] == Status.TOOSMALL
    assert peer.create_session(flags=0xF)[0] == Status.INVAL
    assert peer.create_session(fore=pack(">9I", 0, 8192, 8192, 0, 8, 8, 2, 1, 2))[0] == Status.BADXDR
    status, decoder = peer.create_session(fore=pack(">8I", 0, *(0xFFFF_FFFF,) * 5, 1, 57))
    assert status == Status.OK
    decoder.fixed(24)
    pad, request, reply, cached, operations, slots, rdma = (decoder.u32() for _ in range(7))
    assert (pad, rdma) == (0, 0)
    assert (1 << 20) < request == reply < (2 << 20)
    assert (cached, operations, slots) == (8192, 128, 64)


def test_sixteen_sessions_at_most(world):
    peer = world.peer41()
    for seqid in range(peer.creation, peer.creation + 15):
        assert peer.create_session(seqid)[0] == Status.OK
    assert peer.create_session(peer.creation + 15)[0] == Status.NOSPC


def test_sequence_is_first_and_in_order(world):
    peer = world.peer41()
    assert peer.status(peer.sequence(peer.seqid)) == Status.SEQUENCE_POS
    for number, slot, status in ((2, 5, Status.SEQ_MISORDERED), (0, 5, Status.SEQ_MISORDERED), (1, 8, Status.BADSLOT)):
        assert peer.wire.status(peer.sequence(number, slot), minor=1) == status
    high = u32(Number.SEQUENCE) + peer.session + pack(">4I", 1, 5, 3, 0)
    assert peer.wire.status(high, minor=1) == Status.BAD_HIGH_SLOT
    peer.session = bytes(16)
    assert peer.status() == Status.BADSESSION


def test_a_request_that_is_sent_again_gets_its_answer_and_is_not_done_again(world):
    peer = world.peer41()
    ops = peer.wire.ops
    sequence = peer.sequence(keep=True)
    request = (sequence, *peer.wire.at("gold"), ops.mkdir(b"once"))
    first = peer.wire.send(*request, minor=1)
    assert first.status == Status.OK
    again = peer.wire.send(*request, minor=1)
    assert bytes(again.results.view[24:]) == bytes(first.results.view[24:])
    other = peer.wire.send(sequence, *peer.wire.at("gold"), ops.mkdir(b"other"), minor=1)
    assert other.status == Status.SEQ_FALSE_RETRY
    failing = (peer.sequence(keep=True), *peer.wire.at("gold"), ops.mkdir(b"once"))
    assert [peer.wire.send(*failing, minor=1).status for _ in range(2)] == [Status.EXIST] * 2


def test_a_large_answer_is_kept_only_where_that_was_asked_for(world):
    peer = world.peer41()
    stateid = peer.open(b"file")[1].stateid
    ops = peer.wire.ops
    assert peer.status(*peer.wire.at("gold/file"), ops.write(0, b"x" * 4000, 0, stateid)) == Status.OK
    for keep, status in ((True, Status.OK), (False, Status.RETRY_UNCACHED_REP)):
        request = (peer.sequence(keep=keep), *peer.wire.at("gold/file"), ops.read(0, 4000, stateid))
        assert peer.wire.send(*request, minor=1).status == Status.OK
        assert peer.wire.send(*request, minor=1).status == status
    keeping = peer.wire.ops.read(0, 4000, stateid)
    big = (*peer.wire.at("gold/file"), keeping, keeping, keeping)
    assert peer.send(*big, keep=True).status == Status.REP_TOO_BIG_TO_CACHE
    assert peer.send(*big).status == Status.OK


def test_requests_beyond_what_the_session_takes(world):
    peer = world.peer41()
    peer.begin(complete=False, fore=pack(">7I", 0, 512, 300, 200, 4, 8, 0))
    ops = peer.wire.ops
    assert peer.status(ops.PUTROOTFH, ops.lookup(b"x" * 500)) == Status.REQ_TOO_BIG
    peer.seqid -= 1
    assert peer.status(ops.PUTROOTFH, *[ops.GETFH] * 3) == Status.TOO_MANY_OPS
    peer.seqid -= 1
    every = ops.getattr(*[a for a in Attribute if a in (0, 1, 3, 4, 19, 20, 33, 36, 37, 45, 47, 52, 53)])
    assert peer.status(ops.PUTROOTFH, every, every) == Status.REP_TOO_BIG


def test_destroying_sessions_and_clients(world):
    peer = world.peer41()
    destroy = u32(Number.DESTROY_SESSION) + peer.session
    assert peer.wire.status(u32(Number.DESTROY_CLIENTID) + u64(peer.number), minor=1) == Status.CLIENTID_BUSY
    assert peer.status(destroy, peer.wire.ops.PUTROOTFH) == Status.NOT_ONLY_OP
    rogue = world.connection()
    assert rogue.status(destroy, minor=1) == Status.CONN_NOT_BOUND_TO_SESSION
    assert rogue.status(peer.sequence(), minor=1) == Status.OK
    assert rogue.status(destroy, minor=1) == Status.OK
    assert rogue.status(destroy, minor=1) == Status.BADSESSION
    assert peer.wire.status(u32(Number.DESTROY_CLIENTID) + u64(peer.number), minor=1) == Status.OK
    assert peer.wire.status(u32(Number.DESTROY_CLIENTID) + u64(peer.number), minor=1) == Status.STALE_CLIENTID


def test_a_session_may_end_itself_at_the_end(world):
    peer = world.peer41()
    assert peer.status(u32(Number.DESTROY_SESSION) + peer.session) == Status.OK
    assert peer.status() == Status.BADSESSION


def test_reclaim_complete_comes_once_and_before_any_open(world):
    peer = world.peer41(connect=False)
    peer.connect(complete=False)
    assert peer.open(b"file")[0] == Status.GRACE
    assert peer.status(u32(Number.RECLAIM_COMPLETE) + u32(0)) == Status.OK
    assert peer.status(u32(Number.RECLAIM_COMPLETE) + u32(0)) == Status.COMPLETE_ALREADY
    assert peer.open(b"file")[0] == Status.OK


def test_the_current_stateid_follows_the_operations(world):
    peer = world.peer41()
    ops, current = peer.wire.ops, u32(1) + bytes(12)
    close = u32(Number.CLOSE) + u32(0) + current
    opening = (*peer.wire.at("gold"), peer.open_op(b"file"))
    assert peer.status(*opening, ops.read(0, 9, current), ops.write(0, b"x", 0, current), close) == Status.OK
    assert peer.status(*opening, close, ops.read(0, 9, current)) == Status.BAD_STATEID
    assert peer.status(*peer.wire.at("gold/file"), ops.read(0, 9, current)) == Status.BAD_STATEID
    lock = u32(Number.LOCK) + pack(">IIQQ", 2, 0, 0, 9) + u32(1) + u32(0) + current + u32(0) + bytes(8) + opaque(b"l")
    unlock = u32(Number.LOCKU) + pack(">II", 2, 0) + current + pack(">QQ", 0, 9)
    assert peer.status(*opening, lock, unlock) == Status.OK


def test_a_seqid_of_zero_means_any_and_states_are_their_clients_own(world):
    peer, other = world.peer41(), world.peer41(b"other")
    _, opened, handle = peer.open(b"file")
    ops = peer.wire.ops
    assert peer.on(handle, ops.read(0, 1, u32(0) + opened.stateid[4:])) == Status.OK
    assert other.on(handle, ops.read(0, 1, opened.stateid)) == Status.BAD_STATEID
    peer.open(b"file")
    assert peer.on(handle, ops.read(0, 1, opened.stateid)) == Status.OLD_STATEID


def test_stateids_are_tested_and_freed(world):
    peer = world.peer41()
    _, opened, handle = peer.open(b"file")
    ask = u32(Number.TEST_STATEID) + u32(2) + opened.stateid + u32(1) + b"\1" * 12
    decoder = peer.send(ask).skip(36)
    assert [decoder.u32() for _ in range(3)] == [2, Status.OK, Status.BAD_STATEID]
    assert peer.status(u32(Number.FREE_STATEID) + opened.stateid) == Status.LOCKS_HELD
    lock = (
        u32(Number.LOCK)
        + pack(">IIQQ", 2, 0, 0, 9)
        + u32(1)
        + u32(0)
        + opened.stateid
        + u32(0)
        + bytes(8)
        + opaque(b"l")
    )
    lockid = bytes(peer.send(peer.wire.ops.putfh(handle), lock).skip(36, 0).fixed(16))
    assert peer.status(u32(Number.FREE_STATEID) + lockid) == Status.LOCKS_HELD
    assert peer.on(handle, u32(Number.LOCKU) + pack(">II", 2, 0) + lockid + pack(">QQ", 0, 9)) == Status.OK
    assert peer.status(u32(Number.FREE_STATEID) + u32(0) + lockid[4:]) == Status.OK
    assert peer.status(u32(Number.FREE_STATEID) + lockid) == Status.BAD_STATEID


def test_protection_that_this_server_does_not_have_is_refused(world):
    wire = world.connection()
    head = u32(Number.EXCHANGE_ID) + b"verifier" + opaque(b"name") + u32(0)
    assert wire.status(head + u32(1) + u32(0) + u32(0) + u32(0), minor=1) == Status.INVAL
    ssv = u32(2) + u32(0) + u32(0) + u32(0) + u32(0) + u32(1) + u32(1)
    assert wire.status(head + ssv + u32(0), minor=1) == Status.ENCR_ALG_UNSUPP
    assert wire.status(head + u32(0) + u32(2), minor=1) == Status.BADXDR
    assert world.peer41().status(u32(Number.SET_SSV) + u32(0) + u32(0)) == Status.INVAL
