"""Whatever a client does, the server holds no more than limits.py allows, and says so with the right status."""

from __future__ import annotations

from struct import pack

import pytest

from labemu_nfs import limits
from labemu_nfs.nfs4.constants import Number
from labemu_nfs.nfs4.state import core, opens
from labemu_nfs.nfs4.status import Status
from labemu_nfs.xdr import opaque, u32
from labemu_store.file import Ownership

READ, BOTH = 1, 3


@pytest.mark.parametrize("count", [limits.MAX_OPERATIONS + 1, 150 * 3, 100_000])
def test_huge_compounds_of_version_0_are_refused_unread(world, count):
    assert world.wire.status(*[world.wire.ops.PUTROOTFH] * count, minor=0) == Status.RESOURCE


def test_counts_that_the_request_does_not_have(world):
    arguments = opaque(b"") + pack(">II", 1, 2**32 - 1)
    assert world.wire.parse(world.wire.exchange(1, arguments)).status == Status.BADXDR


def test_a_compound_whose_answer_would_never_end_is_stopped_by_the_session(world):
    peer = world.peer41()
    store = world.wire.exports["/gold"].store
    store.write(store.lookup(store.root, b"file"), 0, bytes(limits.MAX_IO))
    reads = [world.wire.ops.read(0, 2**32 - 1)] * 32
    assert peer.status(*world.wire.at("gold/file"), *reads) == Status.REP_TOO_BIG


@pytest.mark.parametrize(("size", "status"), [(0, Status.TOOSMALL), (15, Status.TOOSMALL), (2**32 - 1, Status.OK)])
def test_readdirs_of_any_size(world, size, status):
    store = world.wire.exports["/gold"].store
    for number in range(200):
        store.symlink(store.root, b"%0200d" % number, b"x", _owner())
    reply = world.wire.send(*world.wire.at("gold"), world.wire.ops.readdir(0, *range(12), size=size))
    assert reply.status == status
    assert len(reply.results.view) <= limits.MAX_READDIR + 4096


def _owner():
    return Ownership(mode=0o777, uid=0, gid=0)


@pytest.mark.parametrize(("minor", "status"), [(0, Status.RESOURCE), (1, Status.DELAY)])
def test_endless_opens(world, monkeypatch, minor, status):
    monkeypatch.setattr(core, "MAX_STATES", 50)
    peer = world.peer41() if minor else world.peer40()
    states = world.wire.context.states.core.states
    if minor:
        answers = [peer.open(b"file", READ, owner=b"%d" % number)[0] for number in range(100)]
    else:
        answers = [peer.open(b"%d" % number, b"file", READ)[0] for number in range(100)]
    assert len(states) <= 50
    assert answers[0] == Status.OK
    assert answers[-1] == status


def test_endless_open_owners_make_room_when_idle(world, monkeypatch):
    monkeypatch.setattr(opens, "MAX_OWNERS", 20)
    peer = world.peer40()
    for number in range(100):
        stateid, handle = peer.opened(b"%d" % number, b"file", READ)
        assert peer.close(b"%d" % number, handle, stateid)[0] == Status.OK
    (client,) = world.wire.context.states.core.clients.values()
    assert len(client.open_owners) <= 20


@pytest.mark.parametrize("minor", [0, 1])
def test_thousands_of_clients_that_never_come_back(world, minor):
    clients = world.wire.context.states.core.clients
    for number in range(limits.MAX_CLIENTS + 500):
        peer = (world.peer41 if minor else world.peer40)(b"%d" % number, connect=False)
        peer.wire = world.wire
        assert (peer.exchange_id() if minor else peer.setclientid())[0] == Status.OK
    assert len(clients) <= limits.MAX_CLIENTS


def test_clients_with_a_lease_are_not_driven_out(world, monkeypatch):
    monkeypatch.setattr(core, "MAX_CLIENTS", 10)
    peers = [world.peer40(b"%d" % number) for number in range(10)]
    late = world.peer40(b"late", connect=False)
    assert late.setclientid()[0] == Status.RESOURCE
    assert world.peer41(b"later", connect=False).exchange_id()[0] == Status.DELAY
    assert peers[0].open(b"o", b"file")[0] == Status.OK
    world.now += limits.LEASE_TIME + 1
    assert late.setclientid()[0] == Status.OK


def test_replies_kept_in_slots_are_bounded(world):
    peer = world.peer41()
    session = world.wire.context.states.core.sessions[peer.session]
    big = world.wire.ops.readdir(size=2**32 - 1)
    for slot in range(len(session.slots)):
        request = u32(Number.SEQUENCE) + peer.session
        request += pack(">4I", 1 if slot else peer.seqid + 1, slot, slot, 1)
        world.wire.status(request, *world.wire.at("gold"), *[big] * 64, minor=1)
    kept = sum(len(slot.reply or b"") for slot in session.slots)
    assert kept <= limits.MAX_SLOTS * (limits.MAX_CACHED_REPLY + 64)
