"""OPEN, OPEN_CONFIRM, OPEN_DOWNGRADE, CLOSE and their seqids in NFSv4.0: RFC 7530 9.1, 9.9, 16.2, 16.16 to 16.19."""

from __future__ import annotations

import pytest

from labemu_nfs.nfs4.constants import Attribute, Number
from labemu_nfs.nfs4.status import Status
from labemu_nfs.xdr import opaque, u32

UNCHECKED = u32(1) + u32(0) + u32(0) + u32(0)
GUARDED = u32(1) + u32(1) + u32(0) + u32(0)
TRUNCATE = u32(1) + u32(0) + u32(1) + u32(1 << 4) + opaque(bytes(8))


def exclusive(verifier):
    return u32(1) + u32(2) + verifier


def test_a_new_owner_is_to_confirm_and_until_then_its_stateid_is_no_good(world):
    peer = world.peer40()
    status, opened, handle = peer.open(b"o", b"file")
    assert (status, opened.flags & 2) == (Status.OK, 2)
    assert peer.on(handle, peer.wire.ops.read(0, 9, opened.stateid))[0] == Status.BAD_STATEID
    stateid = peer.confirmed(b"o", handle, opened.stateid)
    assert stateid[:4] == u32(2)
    assert stateid[4:] == opened.stateid[4:]
    assert peer.on(handle, peer.wire.ops.read(0, 9, stateid))[0] == Status.OK
    status, opened, _ = peer.open(b"o", b"file")
    assert opened.flags & 2 == 0
    again = u32(Number.OPEN_CONFIRM) + opened.stateid + u32(peer.next(b"o"))
    assert peer.on(handle, again)[0] == Status.BAD_STATEID


def test_an_unconfirmed_owner_may_begin_anew_with_any_seqid(world):
    peer = world.peer40()
    first = peer.open(b"o", b"file", 3, 3)[1]
    status, second, _ = peer.open(b"o", b"file", 3, 3, seqid=77)
    assert status == Status.OK
    assert second.stateid[4:] != first.stateid[4:]


def test_seqids_go_up_by_one_and_the_last_gets_the_last_answer(world):
    peer = world.peer40()
    _, handle = peer.opened(b"o", b"file")
    seqid = peer.next(b"o")
    status, opened, _ = peer.open(b"o", b"made", how=GUARDED, seqid=seqid)
    assert status == Status.OK
    status, again, handle2 = peer.open(b"o", b"made", how=GUARDED, seqid=seqid)
    assert (status, again.stateid, handle2 != handle) == (Status.OK, opened.stateid, True)
    assert peer.open(b"o", b"other", how=GUARDED, seqid=seqid)[0] == Status.BAD_SEQID
    assert peer.open(b"o", b"file", seqid=seqid + 2)[0] == Status.BAD_SEQID
    assert peer.open(b"o", b"absent", seqid=seqid + 1)[0] == Status.NOENT
    assert peer.open(b"o", b"absent", seqid=seqid + 1)[0] == Status.NOENT
    assert peer.open(b"o", b"file", seqid=seqid + 2)[0] == Status.OK


def test_close_can_be_sent_again_though_its_stateid_is_gone(world):
    peer = world.peer40()
    stateid, handle = peer.opened(b"o", b"file")
    seqid = peer.next(b"o")
    status, decoder = peer.close(b"o", handle, stateid, seqid)
    answer = bytes(decoder.fixed(16))
    status2, decoder = peer.close(b"o", handle, stateid, seqid)
    assert (status, status2, bytes(decoder.fixed(16))) == (Status.OK, Status.OK, answer)
    assert peer.close(b"o", handle, stateid)[0] == Status.BAD_STATEID
    assert peer.on(handle, peer.wire.ops.read(0, 9, stateid))[0] == Status.BAD_STATEID


@pytest.mark.parametrize(("held", "wanted", "status"), [
    ((1, 0), (3, 0), Status.OK),
    ((1, 1), (1, 0), Status.SHARE_DENIED),
    ((1, 2), (2, 0), Status.SHARE_DENIED),
    ((1, 2), (1, 0), Status.OK),
    ((2, 0), (1, 2), Status.SHARE_DENIED),
    ((2, 0), (1, 1), Status.OK),
    ((3, 3), (1, 0), Status.SHARE_DENIED),
])  # fmt: skip
def test_share_reservations_of_different_owners(world, held, wanted, status):
    one, two = world.peer40(b"one"), world.peer40(b"two")
    one.opened(b"o", b"file", *held)
    assert two.open(b"o", b"file", *wanted)[0] == status


@pytest.mark.parametrize("share", [(0, 0), (4, 0), (1, 4), (0x101, 0)])
def test_shares_that_mean_nothing(world, share):
    assert world.peer40().open(b"o", b"file", *share)[0] == Status.INVAL


def test_downgrade_goes_back_to_a_union_of_opens_only(world):
    peer = world.peer40()
    peer.opened(b"o", b"file", 1, 0)
    stateid, handle = peer.opened(b"o", b"file", 3, 2)
    assert peer.downgrade(b"o", handle, stateid, 2, 0)[0] == Status.INVAL
    assert peer.downgrade(b"o", handle, stateid, 0, 0)[0] == Status.INVAL
    status, decoder = peer.downgrade(b"o", handle, stateid, 1, 0)
    assert status == Status.OK
    lower = bytes(decoder.fixed(16))
    assert peer.on(handle, peer.wire.ops.write(0, b"x", 0, lower))[0] == Status.OPENMODE
    assert peer.on(handle, peer.wire.ops.read(0, 1, stateid))[0] == Status.OLD_STATEID
    future = u32(99) + lower[4:]
    assert peer.on(handle, peer.wire.ops.read(0, 1, future))[0] == Status.BAD_STATEID


def test_stateids_are_for_their_own_file_and_for_what_was_opened(world):
    peer = world.peer40()
    stateid, handle = peer.opened(b"o", b"file", 2)
    _, other = peer.opened(b"o", b"made", how=UNCHECKED)
    ops = peer.wire.ops
    assert peer.on(handle, ops.read(0, 1, stateid))[0] == Status.OPENMODE
    assert peer.on(handle, ops.write(0, b"x", 0, stateid))[0] == Status.OK
    assert peer.on(other, ops.write(0, b"x", 0, stateid))[0] == Status.BAD_STATEID
    assert peer.on(handle, ops.read(0, 1, stateid[:4] + b"\1" * 12))[0] in (Status.STALE_STATEID, Status.BAD_STATEID)
    assert peer.on(handle, ops.read(0, 1, u32(5) + bytes(12)))[0] == Status.BAD_STATEID


def test_io_without_a_stateid_respects_denials(world):
    peer = world.peer40()
    ops = peer.wire.ops
    handle = peer.opened(b"o", b"file", 1, 2)[1]
    assert peer.on(handle, ops.read(0, 1))[0] == Status.OK
    assert peer.on(handle, ops.write(0, b"x"))[0] == Status.LOCKED
    assert peer.on(handle, ops.setattr((Attribute.SIZE, bytes(8))))[0] == Status.LOCKED


def test_creation_modes(world):
    peer = world.peer40()
    assert peer.open(b"o", b"new", how=GUARDED)[0] == Status.OK
    stateid, handle = peer.opened(b"p", b"new", how=UNCHECKED)
    assert peer.on(handle, peer.wire.ops.write(0, b"data", 0, stateid))[0] == Status.OK
    assert peer.open(b"p", b"new", how=GUARDED)[0] == Status.EXIST
    status, opened, _ = peer.open(b"p", b"new", how=TRUNCATE)
    assert (status, opened.mask) == (Status.OK, 1 << Attribute.SIZE)
    assert peer.wire.number("gold/new", Attribute.SIZE) == 0


def test_exclusive_create_knows_its_own_repetition(world):
    peer = world.peer40()
    peer.opened(b"o", b"file")
    status, opened, _ = peer.open(b"o", b"new", how=exclusive(b"verifie1"))
    assert status == Status.OK
    assert opened.mask == 1 << Attribute.TIME_ACCESS | 1 << Attribute.TIME_MODIFY
    assert peer.open(b"o", b"new", how=exclusive(b"verifie1"))[0] == Status.OK
    assert peer.open(b"o", b"new", how=exclusive(b"verifie2"))[0] == Status.EXIST


@pytest.mark.parametrize(("name", "status"), [
    (b"dir", Status.ISDIR),
    (b"link", Status.SYMLINK),
    (b"", Status.INVAL),
    (b"absent", Status.NOENT),
    (b"x" * 300, Status.NAMETOOLONG),
    (b"\xff\xfe", Status.INVAL),
])  # fmt: skip
def test_what_cannot_be_opened(world, name, status):
    assert world.peer40().open(b"o", name)[0] == status


def test_permissions_are_those_of_the_file(world):
    world.peer40().opened(b"o", b"file")
    stranger = world.peer40(b"stranger", uid=5)
    assert stranger.open(b"o", b"file", 1)[0] == Status.OK
    assert stranger.open(b"p", b"file", 2)[0] == Status.ACCESS
    assert stranger.open(b"q", b"new", how=GUARDED)[0] == Status.ACCESS


def test_named_attributes_and_purges_are_refused(world):
    peer = world.peer40()
    handle = peer.opened(b"o", b"file")[1]
    assert peer.on(handle, u32(Number.OPENATTR) + u32(0))[0] == Status.NOTSUPP
    assert peer.wire.status(u32(Number.DELEGPURGE) + bytes(8)) == Status.NOTSUPP
