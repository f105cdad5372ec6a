"""SETCLIENTID, SETCLIENTID_CONFIRM, RENEW, leases: RFC 7530 9.5, 9.6, 16.29, 16.33, 16.34."""

from __future__ import annotations

from struct import pack

from labemu_nfs.nfs4.constants import Number
from labemu_nfs.nfs4.status import Status
from labemu_nfs.xdr import u32, u64

LEASE = 90


def record(peer, verifier=None):
    status, decoder = peer.setclientid(verifier)
    assert status == Status.OK
    return decoder.u64(), bytes(decoder.fixed(8))


def test_a_record_is_confirmed_once_and_then_again_the_same(world):
    peer = world.peer40(connect=False)
    number, confirmation = record(peer)
    assert peer.confirm(number, bytes(8)) == Status.STALE_CLIENTID
    assert peer.confirm(number + 1, confirmation) == Status.STALE_CLIENTID
    assert peer.confirm(number, confirmation) == Status.OK
    assert peer.confirm(number, confirmation) == Status.OK


def test_the_same_verifier_updates_the_callback_and_keeps_clientid_and_state(world):
    peer = world.peer40()
    stateid, handle = peer.opened(b"o", b"file")
    number, confirmation = record(peer)
    assert number == peer.number
    assert peer.confirm(number, confirmation) == Status.OK
    assert peer.close(b"o", handle, stateid)[0] == Status.OK


def test_another_verifier_is_a_restart_that_takes_the_old_state_when_confirmed(world):
    peer = world.peer40()
    stateid, handle = peer.opened(b"o", b"file")
    number, confirmation = record(peer, b"restart!")
    assert number != peer.number
    assert peer.wire.status(u32(Number.RENEW) + u64(peer.number)) == Status.OK
    assert peer.confirm(number, confirmation) == Status.OK
    assert peer.close(b"o", handle, stateid)[0] == Status.EXPIRED
    assert peer.wire.status(u32(Number.RENEW) + u64(peer.number)) == Status.STALE_CLIENTID


def test_an_unconfirmed_record_is_replaced_by_the_next(world):
    peer = world.peer40(connect=False)
    first = record(peer)
    second = record(peer, b"another!")
    assert first[0] != second[0]
    assert first[1] != second[1]
    assert peer.confirm(*first) == Status.STALE_CLIENTID
    assert peer.confirm(*second) == Status.OK


def test_another_principal_gets_the_name_only_while_nothing_is_held_under_it(world):
    world.peer40(b"shared", uid=1)
    other = world.peer40(b"shared", uid=2, connect=False)
    assert other.setclientid()[0] == Status.OK
    holder = world.peer40(b"held", uid=0)
    holder.opened(b"o", b"file")
    thief = world.peer40(b"held", uid=2, connect=False)
    status, decoder = thief.setclientid()
    assert status == Status.CLID_INUSE
    assert decoder.string(99) == b"tcp"
    world.now += LEASE + 1
    assert thief.setclientid()[0] == Status.OK


def test_another_principal_cannot_confirm(world):
    peer = world.peer40(connect=False)
    number, confirmation = record(peer)
    peer.wire.uid = 7
    assert peer.confirm(number, confirmation) == Status.CLID_INUSE


def test_an_idle_client_keeps_its_opens_until_they_stand_in_the_way(world):
    idle, other = world.peer40(b"idle"), world.peer40(b"other")
    stateid, handle = idle.opened(b"o", b"file", 3, 2)
    world.now += 10 * LEASE
    assert idle.on(handle, idle.wire.ops.read(0, 9, stateid))[0] == Status.OK
    assert other.open(b"p", b"file", 3)[0] == Status.SHARE_DENIED
    world.now += 10 * LEASE
    assert other.open(b"p", b"file", 3)[0] == Status.OK
    assert idle.on(handle, idle.wire.ops.read(0, 9, stateid))[0] == Status.EXPIRED
    assert idle.wire.status(u32(Number.RENEW) + u64(idle.number)) == Status.EXPIRED
    assert idle.connect().opened(b"new", b"file")


def test_clientids_of_another_start_are_stale(world):
    peer = world.peer40()
    stateid, handle = peer.opened(b"o", b"file")
    world.restart()
    assert peer.wire.status(u32(Number.RENEW) + u64(peer.number)) == Status.STALE_CLIENTID
    assert peer.on(handle, peer.wire.ops.read(0, 9, stateid))[0] == Status.STALE_STATEID
    assert peer.open(b"o", b"file")[0] == Status.STALE_CLIENTID


def test_4096_clients_are_held_and_the_next_waits_for_a_lease_to_end(world):
    peer = world.peer40()
    for number in range(4095):
        peer.name = b"c%d" % number
        assert peer.confirm(*record(peer)) == Status.OK
    peer.name = b"too many"
    assert peer.setclientid()[0] == Status.RESOURCE
    world.now += LEASE + 1
    assert peer.setclientid()[0] == Status.OK


def test_what_is_kept_of_names_that_are_never_confirmed_is_bounded(world, monkeypatch):
    for module in ("core", "clients40", "clients41"):
        monkeypatch.setattr(f"labemu_nfs.nfs4.state.{module}.MAX_CLIENTS", 8)
    old, new = world.peer40(connect=False), world.peer41(connect=False)
    for number in range(100):
        old.name = new.name = b"c%d" % number
        assert old.setclientid()[0] == Status.OK
        assert new.exchange_id()[0] == Status.OK
    states = world.wire.context.states
    assert len(states.core.clients) <= 8
    assert len(states.clients40._drafts) <= 18
    assert len(states.clients41._drafts) <= 18


def test_locks_are_bounded_also_by_splitting(world, monkeypatch):
    monkeypatch.setattr("labemu_nfs.nfs4.state.locks.MAX_STATES", 5)
    peer = world.peer40()
    stateid, handle = peer.opened(b"o", b"file")
    whole = pack(">IIQQ", 2, 0, 0, 1000)
    lockid = bytes(peer.lock(b"o", handle, stateid, b"l", whole)[1].fixed(16))
    statuses = []
    for seqid in range(1, 8):
        status, decoder = peer.unlock(handle, lockid, seqid, seqid * 10, 1)
        statuses.append(status)
        if status:
            break
        lockid = bytes(decoder.fixed(16))
    assert statuses == [Status.OK] * 4 + [Status.RESOURCE]
    assert peer.unlock(handle, lockid, 5, 0, 2**64 - 1)[0] == Status.OK
