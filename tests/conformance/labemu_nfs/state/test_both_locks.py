"""Locks of NFSv3 and of NFSv4 exclude one another: one table, both engines (RFC 7530 9.1, RFC 1813 appendix II)."""

from __future__ import annotations

from struct import pack

import pytest

from labemu_nfs.nfs4.status import Status
from labemu_nfs.nlm.manager import LockManager, Waiting
from labemu_nfs.nlm.monitor import Kept, Monitor
from labemu_nfs.nlm.nlm import Nlm
from labemu_nfs.nlm.types import Stat
from labemu_nfs.rpc.program import Caller
from labemu_nfs.rpc.server import RpcConnection
from labemu_nfs.xdr import Decoder, opaque

from .test_grace import Kept as Names
from .test_locks import READ_LT, TO_EOF, WRITE_LT, denied, span

TEST, LOCK, CANCEL, UNLOCK = 1, 2, 3, 4
CLIENT_NAME, HANDLE = b"host", b"7@host"


class Stable:
    def load(self) -> Kept:
        return Kept()

    def save(self, kept: Kept) -> None: ...


class Host:
    """A host of NFSv3, and the manager of its locks."""

    def __init__(self, world) -> None:
        self.world = world
        self.state = world.wire.context.states
        self.xid = 0
        self.told: list[Waiting] = []
        self.manager = LockManager(self.state, self.told.append, foreign_grace=self.state.grace.active)
        self.state.freed = self.manager.released
        nlm = Nlm(world.wire.context.shared, self.manager, Monitor(Stable()), lambda: world.now)
        world.wire.server.programs[100021] = nlm.program()
        self.engine = RpcConnection(world.wire.server, Caller("10.0.0.3"))

    def call(self, procedure: int, arguments: bytes) -> Stat:
        body = pack(">I", 1) + opaque(b"tester") + pack(">III", 0, 0, 0)
        self.xid += 1
        message = (
            pack(">8I", self.xid, 0, 2, 100021, 4, procedure, 1, len(body)) + body + bytes(8) + opaque(b"c") + arguments
        )
        for pending in self.engine.receive_data(pack(">I", 0x80000000 | len(message)) + message, 0.0):
            pending.job.run()
            self.engine.complete(pending, None, 0.0)
        reply = Decoder(memoryview(b"".join(self.engine.data_to_send())), 28)
        assert reply.string(64) == b"c"
        self.rest = reply
        return Stat(reply.u32())

    def lock(self, file: bytes, start: int, length: int, *, block: bool = False, exclusive: bool = True) -> Stat:
        return self.call(LOCK, pack(">II", block, exclusive) + self.range(file, start, length) + pack(">II", 0, 1))

    def test(self, file: bytes, start: int, length: int) -> Stat:
        return self.call(TEST, pack(">I", 1) + self.range(file, start, length))

    def unlock(self, file: bytes, start: int = 0, length: int = 0) -> Stat:
        return self.call(UNLOCK, self.range(file, start, length))

    @staticmethod
    def range(file: bytes, start: int, length: int) -> bytes:
        return opaque(CLIENT_NAME) + opaque(file) + opaque(HANDLE) + pack(">IQQ", 7, start, length)


@pytest.fixture
def host(world) -> Host:
    return Host(world)


@pytest.fixture
def opened(world):
    """A client of NFSv4 with the file open: the client, its open and the file's handle."""
    peer = world.peer40()
    return peer, *peer.opened(b"o", b"file")


def test_a_lock_of_nfsv3_is_in_the_way_of_nfsv4(host, opened):
    peer, stateid, handle = opened
    assert host.lock(handle, 10, 5) is Stat.GRANTED
    status, decoder = peer.lock(b"o", handle, stateid, b"l", span(READ_LT, 0, TO_EOF))
    assert status == Status.DENIED
    assert denied(decoder) == (10, 5, WRITE_LT, 0, b"")
    assert peer.test(handle, b"l", READ_LT, 15, TO_EOF)[0] == Status.OK
    assert host.unlock(handle) is Stat.GRANTED
    assert peer.lock(b"o", handle, stateid, b"l", span(READ_LT, 0, TO_EOF))[0] == Status.OK


def test_a_lock_of_nfsv4_is_in_the_way_of_nfsv3(host, opened):
    peer, stateid, handle = opened
    assert peer.lock(b"o", handle, stateid, b"l", span(WRITE_LT, 10, 5))[0] == Status.OK
    assert host.lock(handle, 0, 0) is Stat.DENIED
    assert host.test(handle, 12, 1) is Stat.DENIED
    assert (host.rest.u32(), host.rest.u32(), host.rest.string(64)) == (1, 0, b"")
    assert (host.rest.u64(), host.rest.u64()) == (10, 5)
    assert host.test(handle, 15, 0) is Stat.GRANTED


@pytest.mark.parametrize("how", ["unlock", "close", "downgrade", "restart"])
def test_whoever_waits_over_nfsv3_gets_what_nfsv4_gives_back(world, host, opened, how):
    peer, stateid, handle = opened
    _, decoder = peer.lock(b"o", handle, stateid, b"l", span(WRITE_LT, 0, TO_EOF))
    lockid = bytes(decoder.fixed(16))
    assert host.lock(handle, 0, 9, block=True, exclusive=False) is Stat.BLOCKED
    assert host.told == []
    if how == "unlock":
        peer.unlock(handle, lockid, 1, 0, TO_EOF)
    elif how == "close":
        peer.close(b"o", handle, stateid)
    elif how == "downgrade":
        peer.relock(handle, lockid, 1, span(READ_LT, 0, TO_EOF))
    else:
        peer.verifier = b"restarts"
        peer.connect()
    assert [waiting.lock.end for waiting in host.told] == [9]
    assert world.peer40(b"other").test(handle, b"l", WRITE_LT, 0, 1)[0] == Status.DENIED


def test_a_client_of_nfsv4_that_is_gone_gives_way_to_nfsv3(world, host, opened):
    peer, stateid, handle = opened
    peer.lock(b"o", handle, stateid, b"l", span(WRITE_LT, 0, TO_EOF))
    world.now += 91
    assert host.lock(handle, 0, 0) is Stat.GRANTED
    assert peer.on(handle, peer.wire.ops.read(0, 1, stateid))[0] == Status.EXPIRED


def test_a_lock_of_nfsv3_outlives_the_opens_of_nfsv4_and_is_forgotten_with_its_end(host, opened):
    peer, stateid, handle = opened
    assert host.lock(handle, 0, 1) is Stat.GRANTED
    assert peer.close(b"o", handle, stateid)[0] == Status.OK
    assert peer.test(handle, b"l", READ_LT, 0, 1)[0] == Status.DENIED
    host.unlock(handle)
    assert peer.test(handle, b"l", READ_LT, 0, 1)[0] == Status.OK
    assert host.test(handle, 0, 0) is Stat.GRANTED
    assert host.state.core.files == {}


def test_nobody_takes_over_one_protocol_what_may_be_reclaimed_over_the_other(world, opened):
    peer, _, handle = opened
    names = Names((0, b"before"))
    world.restart(names)
    host = Host(world)
    assert host.lock(handle, 0, 0) is Stat.DENIED_GRACE_PERIOD
    world.now += 91
    assert host.lock(handle, 0, 0) is Stat.GRANTED
    host.state.foreign_grace = lambda now: now < 2000
    peer.connect()
    stateid, _ = peer.opened(b"p", b"file")
    assert peer.lock(b"p", handle, stateid, b"l", span(READ_LT, 0, 1))[0] == Status.GRACE
    assert peer.test(handle, b"l", READ_LT, 0, 1)[0] == Status.GRACE
