"""LOCK, LOCKT, LOCKU, RELEASE_LOCKOWNER: RFC 7530 9.1.5, 9.2, 16.10 to 16.12, 16.37."""

from __future__ import annotations

from struct import pack

import pytest

from labemu_nfs.nfs4.constants import Number
from labemu_nfs.nfs4.status import Status
from labemu_nfs.xdr import opaque, u32, u64

READ_LT, WRITE_LT = 1, 2
TO_EOF = 2**64 - 1


def span(kind, offset, length, reclaim=0):
    return pack(">IIQQ", kind, reclaim, offset, length)


def denied(decoder):
    return decoder.u64(), decoder.u64(), decoder.u32(), decoder.u64(), decoder.string(1024)


@pytest.fixture
def locked(world):
    """A client with 25..99 of the file locked for writing: the client, the file's handle, the open, the lock."""
    peer = world.peer40()
    stateid, handle = peer.opened(b"o", b"file")
    status, decoder = peer.lock(b"o", handle, stateid, b"l", span(WRITE_LT, 25, 75))
    assert status == Status.OK
    return peer, handle, stateid, bytes(decoder.fixed(16))


def test_a_lock_in_the_way_is_told_with_its_owner(world, locked):
    peer, handle, _, _ = locked
    other = world.peer40(b"other")
    for who, kind in ((peer, READ_LT), (other, READ_LT), (other, WRITE_LT)):
        status, decoder = who.test(handle, b"tester", kind, 0, TO_EOF)
        assert status == Status.DENIED
        assert denied(decoder) == (25, 75, WRITE_LT, peer.number, b"l")
    assert peer.test(handle, b"l", WRITE_LT, 0, TO_EOF)[0] == Status.OK
    assert other.test(handle, b"l", READ_LT, 0, 25)[0] == Status.OK
    assert other.test(handle, b"l", READ_LT, 100, TO_EOF)[0] == Status.OK


def test_locks_of_one_owner_merge_split_and_change_their_type(locked):
    peer, handle, _, lockid = locked
    status, decoder = peer.relock(handle, lockid, 1, span(WRITE_LT, 50, 75))
    assert status == Status.OK
    merged = bytes(decoder.fixed(16))
    assert denied(peer.test(handle, b"t", READ_LT, 0, TO_EOF)[1])[:2] == (25, 100)
    assert peer.relock(handle, lockid, 2, span(WRITE_LT, 50, 75))[0] == Status.OLD_STATEID
    status, decoder = peer.relock(handle, merged, 3, span(READ_LT, 40, 10))
    assert status == Status.OK
    assert peer.test(handle, b"t", READ_LT, 40, 10)[0] == Status.OK
    assert denied(peer.test(handle, b"t", WRITE_LT, 40, 10)[1])[:3] == (40, 10, READ_LT)
    changed = bytes(decoder.fixed(16))
    status, decoder = peer.unlock(handle, changed, 4, 60, 10)
    assert status == Status.OK
    assert peer.test(handle, b"t", WRITE_LT, 60, 10)[0] == Status.OK
    assert denied(peer.test(handle, b"t", WRITE_LT, 55, TO_EOF)[1])[:2] == (50, 10)
    assert denied(peer.test(handle, b"t", WRITE_LT, 60, TO_EOF)[1])[:2] == (70, 55)


@pytest.mark.parametrize(("offset", "length", "status"), [
    (25, 0, Status.INVAL),
    (100, 2**64 - 2, Status.INVAL),
    (1, 2**64 - 1, Status.OK),
    (2**64 - 1, 1, Status.OK),
    (2**64 - 1, 2, Status.INVAL),
    (0, 2**64 - 2, Status.OK),
])  # fmt: skip
def test_ranges_of_64_bits(world, offset, length, status):
    peer = world.peer40()
    stateid, handle = peer.opened(b"o", b"file")
    assert peer.test(handle, b"l", WRITE_LT, offset, length)[0] == status
    assert peer.lock(b"o", handle, stateid, b"l", span(WRITE_LT, offset, length))[0] == status


def test_the_open_decides_which_locks_can_be_had(world):
    peer = world.peer40()
    stateid, handle = peer.opened(b"o", b"file", 1)
    assert peer.lock(b"o", handle, stateid, b"l", span(WRITE_LT, 0, 1))[0] == Status.OPENMODE
    assert peer.lock(b"o", handle, stateid, b"l", span(READ_LT, 0, 1), lock_seqid=1)[0] == Status.OK


def test_seqids_of_both_owners(locked):
    peer, handle, stateid, lockid = locked
    assert peer.lock(b"o", handle, stateid, b"m", span(READ_LT, 0, 1), seqid=50)[0] == Status.BAD_SEQID
    assert peer.relock(handle, lockid, 2, span(READ_LT, 0, 1))[0] == Status.BAD_SEQID
    first = peer.relock(handle, lockid, 1, span(READ_LT, 0, 1))
    again = peer.relock(handle, lockid, 1, span(READ_LT, 0, 1))
    assert bytes(first[1].fixed(16)) == bytes(again[1].fixed(16))
    assert peer.lock(b"o", handle, stateid, b"l", span(READ_LT, 5, 1), lock_seqid=9)[0] == Status.BAD_SEQID


def test_stateids_that_are_no_good_for_locks(locked):
    peer, handle, stateid, lockid = locked
    take = span(READ_LT, 0, 1)
    assert peer.lock(b"o", handle, bytes(16), b"m", take, seqid=9)[0] == Status.BAD_STATEID
    assert peer.relock(handle, stateid, 1, take)[0] == Status.BAD_STATEID
    assert peer.relock(handle, lockid[:4] + u32(99) + lockid[8:], 1, take)[0] == Status.STALE_STATEID
    peer.number += 1
    assert peer.lock(b"o", handle, stateid, b"m", take, seqid=9)[0] == Status.STALE_CLIENTID


def test_close_gives_the_locks_back(locked):
    peer, handle, stateid, lockid = locked
    assert peer.close(b"o", handle, stateid)[0] == Status.OK
    assert peer.test(handle, b"t", WRITE_LT, 0, TO_EOF)[0] == Status.OK
    assert peer.unlock(handle, lockid, 1, 0, 9)[0] == Status.BAD_STATEID


def test_an_owner_is_released_once_it_holds_nothing(locked):
    peer, handle, _, lockid = locked
    release = u32(Number.RELEASE_LOCKOWNER) + u64(peer.number) + opaque(b"l")
    assert peer.wire.status(release) == Status.LOCKS_HELD
    assert peer.unlock(handle, lockid, 1, 0, TO_EOF)[0] == Status.OK
    assert peer.wire.status(release) == Status.OK
    assert peer.wire.status(release) == Status.OK
    assert peer.unlock(handle, lockid, 2, 0, TO_EOF)[0] == Status.BAD_STATEID


def test_locks_of_a_client_whose_lease_is_over_give_way(world, locked):
    handle = locked[1]
    other = world.peer40(b"other")
    stateid, _ = other.opened(b"o", b"file")
    assert other.lock(b"o", handle, stateid, b"l", span(READ_LT, 0, TO_EOF))[0] == Status.DENIED
    world.now += 91
    assert other.lock(b"o", handle, stateid, b"l", span(READ_LT, 0, TO_EOF), lock_seqid=1)[0] == Status.OK
    assert locked[0].unlock(handle, locked[3], 1, 0, 9)[0] == Status.EXPIRED


def test_only_files_are_locked(world):
    peer = world.peer40()
    directory, link = peer.wire.handle("gold/dir"), peer.wire.handle("gold/link")
    assert peer.test(directory, b"l", READ_LT, 0, 1)[0] == Status.ISDIR
    assert peer.test(link, b"l", READ_LT, 0, 1)[0] == Status.INVAL
    assert (
        peer.wire.status(u32(Number.LOCKT) + pack(">IQQQ", 1, 0, 1, peer.number) + opaque(b"l")) == Status.NOFILEHANDLE
    )


def test_a_name_whose_first_lock_failed_may_be_given_to_another_owner(world, locked):
    """As Linux does: it forgets an owner that got nothing, counts again from 0, and its process then waits in vain or gets EIO."""
    handle = locked[1]
    other = world.peer40(b"other")
    stateid, _ = other.opened(b"o", b"file")
    for lock_seqid in (0, 1, 0, 0):
        assert other.lock(b"o", handle, stateid, b"l", span(READ_LT, 30, 1), lock_seqid=lock_seqid)[0] == Status.DENIED
    assert other.lock(b"o", handle, stateid, b"l", span(READ_LT, 0, 1))[0] == Status.OK
    assert other.lock(b"o", handle, stateid, b"l", span(READ_LT, 1, 1))[0] == Status.BAD_SEQID
