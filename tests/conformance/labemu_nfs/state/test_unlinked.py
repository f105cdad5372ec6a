"""A file that lost its last name while it is open over NFSv4 stays good for whoever has it open, and then gives its room back."""

from __future__ import annotations

from pathlib import Path

import pytest

from labemu_nfs.kept import KeptFiles
from labemu_nfs.nfs4.constants import Attribute, Number
from labemu_nfs.nfs4.state.service import NfsState
from labemu_nfs.nfs4.status import Status
from labemu_nfs.xdr import u32
from labemu_store.file import Ownership


@pytest.fixture
def wire(world):
    """A connection to a server that keeps what is open."""
    kept = KeptFiles(world.wire.context.exports)
    world.wire.context.states = NfsState(7, world.now, opened=kept.opened, closed=kept.closed)
    return world.wire


def take(wire, how: str) -> None:
    """Take the file's only name."""
    if how == "remove":
        assert wire.status(*wire.at("gold"), wire.ops.remove(b"file")) == Status.OK
        return
    store = wire.exports["/gold"].store
    store.create(store.root, b"new", Ownership(mode=0o644, uid=0, gid=0))
    here = wire.at("gold")
    assert wire.status(*here, wire.ops.SAVEFH, *here, wire.ops.rename(b"new", b"file")) == Status.OK


def content(peer, handle: bytes, stateid: bytes) -> bytes:
    status, decoder = peer.on(handle, peer.wire.ops.read(0, 99, stateid))
    assert status == Status.OK
    decoder.u32()
    return decoder.string(99)


@pytest.mark.parametrize("how", ["remove", "rename"])
def test_it_is_read_written_and_told_of_until_the_last_close(world, wire, how):
    peer, other = world.peer40(), world.peer40(b"other")
    mine, handle = peer.opened(b"o", b"file")
    others, _ = other.opened(b"o", b"file")
    take(wire, how)
    assert content(peer, handle, mine) == b"contents"
    assert other.on(handle, wire.ops.write(8, b" and more", 2, others))[0] == Status.OK
    assert peer.on(handle, wire.ops.setattr((Attribute.MODE, u32(0o600))))[0] == Status.OK
    reply = wire.send(wire.ops.putfh(handle), wire.ops.getattr(Attribute.NUMLINKS))
    assert bytes(reply.skip(0).view[-4:]) == u32(0)
    assert peer.close(b"o", handle, mine)[0] == Status.OK
    assert content(other, handle, others) == b"contents and more"
    assert other.on(handle, wire.ops.commit())[0] == Status.OK
    assert other.close(b"o", handle, others)[0] == Status.OK
    assert wire.status(wire.ops.putfh(handle)) == Status.STALE


def test_a_client_that_is_gone_keeps_nothing(world, wire):
    peer = world.peer40()
    _, handle = peer.opened(b"o", b"file")
    take(wire, "remove")
    peer.verifier = b"restarts"
    peer.connect()
    assert wire.status(wire.ops.putfh(handle)) == Status.STALE


def test_what_nobody_has_open_is_gone_with_its_name(world, wire):
    handle = wire.handle("gold/file")
    take(wire, "remove")
    assert wire.status(wire.ops.putfh(handle)) == Status.STALE


def test_it_is_not_promised_past_a_restart(world, wire):
    """RFC 8881 18.16.3: OPEN4_RESULT_PRESERVE_UNLINKED would promise that."""
    assert not world.peer41().open(b"file")[1].flags & 8


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_descriptors_are_given_back(world, wire):
    before = descriptors()
    peer = world.peer40()
    names = [b"f%d" % number for number in range(20)]
    store = wire.exports["/gold"].store
    own = store.getattr(store.root)
    owner = Ownership(mode=0o644, uid=own.uid, gid=own.gid)
    for name in names:
        store.create(store.root, name, owner)
        stateid, handle = peer.opened(name, name)
        assert wire.status(*wire.at("gold"), wire.ops.remove(name)) == Status.OK
        assert peer.on(handle, wire.ops.write(0, b"x", 0, stateid))[0] == Status.OK
        assert peer.on(handle, u32(Number.CLOSE) + u32(peer.next(name)) + stateid)[0] == Status.OK
    assert descriptors() <= before + 4  # the root's, and what is cached of the directory
