"""Restart, grace and reclaim: RFC 7530 9.6.2, RFC 8881 8.4.2."""

from __future__ import annotations

from struct import pack

import pytest

from labemu_nfs.nfs4.constants import Attribute, Number
from labemu_nfs.nfs4.state.service import NfsState
from labemu_nfs.nfs4.status import Status
from labemu_nfs.xdr import opaque, u32, u64

PERIOD = 90


class Kept:
    """Stable storage in memory."""

    def __init__(self, *names):
        self.names = frozenset(names)

    def load(self):
        return self.names

    def save(self, names):
        self.names = frozenset(names)


@pytest.fixture
def kept(world):
    records = Kept()
    world.wire.context.states = NfsState(7, world.now, records)
    return records


def reclaim(peer, handle, owner=b"o", access=3, deny=0, seqid=0):
    head = u32(Number.OPEN) + pack(">IIIQ", seqid, access, deny, peer.number) + opaque(owner)
    return peer.wire.ops.putfh(handle), head + u32(0) + u32(1) + u32(0)


def test_a_4_0_client_gets_its_open_and_lock_back_before_anybody_else(world, kept):
    peer, other = world.peer40(b"peer"), world.peer40(b"other")
    handle = peer.opened(b"o", b"file", 3, 2)[1]
    assert kept.names == {(0, b"peer")}
    world.restart(kept)
    peer.connect()
    other.connect()
    assert other.open(b"x", b"file")[0] == Status.GRACE
    assert other.on(handle, other.wire.ops.write(0, b"x"))[0] == Status.GRACE
    assert other.wire.status(*reclaim(other, handle, seqid=1)) == Status.RECLAIM_BAD
    reply = peer.wire.send(*reclaim(peer, handle, b"new", deny=2, seqid=1))
    assert reply.status == Status.OK
    stateid = bytes(reply.skip(0).fixed(16))
    peer.seqids[b"new"] = 1
    lock = pack(">IIQQ", 2, 1, 0, 9)
    assert peer.lock(b"new", handle, stateid, b"l", lock)[0] == Status.OK
    world.now += PERIOD - 1
    assert peer.wire.status(u32(Number.RENEW) + u64(peer.number)) == Status.OK
    world.now += 2
    assert other.open(b"y", b"file")[0] == Status.SHARE_DENIED
    assert peer.wire.status(*reclaim(peer, handle, b"late", seqid=1)) == Status.NO_GRACE


def test_grace_is_over_as_soon_as_all_have_reclaimed(world, kept):
    peer = world.peer41()
    handle = peer.open(b"file", 3)[2]
    assert kept.names == {(1, b"peer")}
    world.restart(kept)
    assert peer.status() == Status.BADSESSION
    peer.connect(complete=False)
    assert peer.status(*reclaim(peer, handle)) == Status.OK
    assert peer.open(b"file", 3)[0] == Status.GRACE
    assert peer.status(u32(Number.RECLAIM_COMPLETE) + u32(0)) == Status.OK
    assert peer.status(*reclaim(peer, handle)) == Status.NO_GRACE
    assert peer.open(b"file", 3)[0] == Status.OK


def test_who_lost_a_lock_to_somebody_cannot_reclaim_it(world, kept):
    peer, other = world.peer41(), world.peer41(b"other")
    handle = peer.open(b"file", 3, 3)[2]
    world.now += PERIOD + 1
    assert other.open(b"file", 3, 3)[0] == Status.OK
    assert (1, b"peer") not in kept.names
    world.restart(kept)
    peer.connect(complete=False)
    assert peer.status(*reclaim(peer, handle)) == Status.RECLAIM_BAD


def test_who_does_not_reclaim_in_time_cannot_after_the_next_restart(world, kept):
    peer, other = world.peer41(), world.peer41(b"other")
    handle = peer.open(b"file", 3)[2]
    world.restart(kept)
    assert kept.names == {(1, b"peer"), (1, b"other")}
    world.now += PERIOD + 1
    other.connect()
    assert other.open(b"file", 3)[0] == Status.OK
    assert kept.names == {(1, b"other")}
    world.restart(kept)
    peer.connect(complete=False)
    assert peer.status(*reclaim(peer, handle)) == Status.RECLAIM_BAD


def test_a_crash_within_the_grace_period_forgets_nobody(world, kept):
    peer = world.peer41()
    handle = peer.open(b"file", 3)[2]
    for _ in range(3):
        world.restart(kept)
    peer.connect(complete=False)
    assert peer.status(*reclaim(peer, handle)) == Status.OK


def test_a_server_that_stops_in_good_order_keeps_only_those_that_hold_something(world, kept):
    peer, idle = world.peer40(b"peer"), world.peer40(b"idle")
    peer.opened(b"o", b"file")
    stateid, handle = idle.opened(b"o", b"file")
    assert idle.close(b"o", handle, stateid)[0] == Status.OK
    assert kept.names == {(0, b"peer"), (0, b"idle")}
    world.wire.context.states.close()
    assert kept.names == {(0, b"peer")}


def test_a_4_0_client_that_asks_for_something_new_has_reclaimed_all(world, kept):
    peer, other = world.peer40(b"peer"), world.peer40(b"other")
    handle = peer.opened(b"o", b"file", 3)[1]
    other.opened(b"o", b"file", 3)
    world.restart(kept)
    stranger = world.peer40(b"stranger")
    peer.connect()
    other.connect()
    assert peer.wire.status(*reclaim(peer, handle, b"p", seqid=1)) == Status.OK
    peer.seqids[b"p"] = 1
    assert peer.open(b"p", b"file")[0] == Status.GRACE
    assert stranger.open(b"o", b"file")[0] == Status.GRACE
    assert other.wire.status(*reclaim(other, handle, b"p", seqid=1)) == Status.OK
    other.seqids[b"p"] = 1
    assert other.open(b"p", b"file")[0] == Status.OK
    assert stranger.open(b"p", b"file")[0] == Status.OK


def test_a_grace_period_of_its_own_length_and_a_lease_that_clients_are_told(world, kept):
    peer = world.peer40()
    peer.opened(b"o", b"file")
    world.wire.context.states = NfsState(9, world.now, kept, lease=30, grace=10)
    world.wire.context.lease = 30
    assert world.wire.number("gold", Attribute.LEASE_TIME) == 30
    other = world.peer40(b"other")
    world.now += 9
    assert other.open(b"o", b"file")[0] == Status.GRACE
    world.now += 2
    assert other.open(b"o", b"file")[0] == Status.OK
    assert not world.wire.context.states.core.lapsed(peer_of(world), world.now + 29)
    assert world.wire.context.states.core.lapsed(peer_of(world), world.now + 31)


def peer_of(world):
    return next(iter(world.wire.context.states.core.clients.values()))
