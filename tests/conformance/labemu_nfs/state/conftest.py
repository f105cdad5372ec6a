"""The operations on state as bytes, and clients of 4.0 and 4.1 that keep what they were given."""

from __future__ import annotations

from dataclasses import dataclass, field
from struct import pack

import pytest

from labemu_nfs.nfs4.constants import Number
from labemu_nfs.nfs4.state.service import NfsState
from labemu_nfs.nfs4.status import Status
from labemu_nfs.xdr import Decoder, opaque, u32, u64

READ, WRITE, BOTH = 1, 2, 3
NO_ATTRIBUTES = u32(0) + u32(0)
CHANNEL = pack(">7I", 0, 1 << 20, 1 << 20, 8192, 64, 8, 0)


def unchecked(size: int | None = None) -> bytes:
    return u32(1) + u32(0) + (NO_ATTRIBUTES if size is None else pack(">IIIQ", 1, 1 << 4, 8, size))


GUARDED = u32(1) + u32(1) + NO_ATTRIBUTES
NOCREATE = u32(0)


def exclusive(verifier: bytes) -> bytes:
    return u32(1) + u32(2) + verifier


def lock_range(kind: int, offset: int, length: int, *, reclaim: bool = False) -> bytes:
    return pack(">IIQQ", kind, reclaim, offset, length)


@dataclass
class Opened:
    stateid: bytes
    flags: int
    mask: int
    delegation: int
    rest: Decoder


def parse_open(decoder: Decoder) -> Opened:
    stateid = bytes(decoder.fixed(16))
    decoder.fixed(20)
    flags = decoder.u32()
    mask = sum(decoder.u32() << 32 * word for word in range(decoder.u32()))
    return Opened(stateid, flags, mask, decoder.u32(), decoder)


@dataclass
class Peer40:
    """A 4.0 client: `wire` is a Client4; seqids are counted by owner."""

    wire: object
    name: bytes = b"peer"
    verifier: bytes = b"verifier"
    number: int = 0
    seqids: dict[bytes, int] = field(default_factory=dict)

    def setclientid(self, verifier: bytes | None = None) -> tuple[Status, Decoder]:
        body = (verifier or self.verifier) + opaque(self.name) + u32(0x40000000) + opaque(b"tcp")
        reply = self.wire.send(u32(Number.SETCLIENTID) + body + opaque(b"10.0.0.2.8.1") + u32(1))
        return Status(reply.status), reply.skip()

    def confirm(self, number: int, confirmation: bytes) -> Status:
        return self.wire.status(u32(Number.SETCLIENTID_CONFIRM) + u64(number) + confirmation)

    def connect(self) -> Peer40:
        status, decoder = self.setclientid()
        assert status == Status.OK, status
        self.number, confirmation = decoder.u64(), bytes(decoder.fixed(8))
        assert self.confirm(self.number, confirmation) == Status.OK
        return self

    def next(self, owner: bytes) -> int:
        self.seqids[owner] = self.seqids.get(owner, 0) + 1
        return self.seqids[owner]

    def open_op(self, owner: bytes, name: bytes, access: int, deny: int, how: bytes, seqid: int) -> bytes:
        head = u32(Number.OPEN) + pack(">IIIQ", seqid, access, deny, self.number) + opaque(owner)
        return head + how + u32(0) + opaque(name)

    def open(
        self, owner: bytes, name: bytes, access: int = BOTH, deny: int = 0, how: bytes = NOCREATE, seqid: int = 0
    ) -> tuple[Status, Opened | None, bytes]:
        seqid = seqid or self.next(owner)
        operation = self.open_op(owner, name, access, deny, how, seqid)
        reply = self.wire.send(*self.wire.at("gold"), operation, self.wire.ops.GETFH)
        if reply.status:
            return Status(reply.status), None, b""
        opened = parse_open(reply.skip(0, 0))
        opened.rest.fixed(8)
        return Status.OK, opened, opened.rest.string(128)

    def opened(
        self, owner: bytes, name: bytes, access: int = BOTH, deny: int = 0, how: bytes = NOCREATE
    ) -> tuple[bytes, bytes]:
        """Open, and confirm where that is asked for: stateid and handle."""
        status, opened, handle = self.open(owner, name, access, deny, how)
        assert status == Status.OK, status
        if opened.flags & 2:
            return self.confirmed(owner, handle, opened.stateid), handle
        return opened.stateid, handle

    def confirmed(self, owner: bytes, handle: bytes, stateid: bytes) -> bytes:
        status, decoder = self.on(handle, u32(Number.OPEN_CONFIRM) + stateid + u32(self.next(owner)))
        assert status == Status.OK, status
        return bytes(decoder.fixed(16))

    def on(self, handle: bytes, operation: bytes) -> tuple[Status, Decoder]:
        reply = self.wire.send(self.wire.ops.putfh(handle), operation)
        return Status(reply.status), reply.skip(0)

    def close(self, owner: bytes, handle: bytes, stateid: bytes, seqid: int = 0) -> tuple[Status, Decoder]:
        return self.on(handle, u32(Number.CLOSE) + u32(seqid or self.next(owner)) + stateid)

    def downgrade(self, owner: bytes, handle: bytes, stateid: bytes, access: int, deny: int) -> tuple[Status, Decoder]:
        return self.on(handle, u32(Number.OPEN_DOWNGRADE) + stateid + pack(">III", self.next(owner), access, deny))

    def lock(
        self,
        owner: bytes,
        handle: bytes,
        stateid: bytes,
        locker: bytes,
        span: bytes,
        seqid: int = 0,
        lock_seqid: int = 0,
    ) -> tuple[Status, Decoder]:
        """LOCK by a lock-owner's first lock of this open."""
        new = u32(1) + u32(seqid or self.next(owner)) + stateid + u32(lock_seqid) + u64(self.number) + opaque(locker)
        return self.on(handle, u32(Number.LOCK) + span + new)

    def relock(self, handle: bytes, lockid: bytes, seqid: int, span: bytes) -> tuple[Status, Decoder]:
        return self.on(handle, u32(Number.LOCK) + span + u32(0) + lockid + u32(seqid))

    def unlock(self, handle: bytes, lockid: bytes, seqid: int, offset: int, length: int) -> tuple[Status, Decoder]:
        return self.on(handle, u32(Number.LOCKU) + u32(1) + u32(seqid) + lockid + u64(offset) + u64(length))

    def test(self, handle: bytes, locker: bytes, kind: int, offset: int, length: int) -> tuple[Status, Decoder]:
        return self.on(handle, u32(Number.LOCKT) + pack(">IQQQ", kind, offset, length, self.number) + opaque(locker))


@dataclass
class Peer41:
    """A 4.1 client with one session and one slot in use."""

    wire: object
    name: bytes = b"peer"
    verifier: bytes = b"verifier"
    number: int = 0
    creation: int = 0
    session: bytes = b""
    seqid: int = 0

    def exchange_id(self, flags: int = 0, verifier: bytes | None = None) -> tuple[Status, Decoder]:
        body = (verifier or self.verifier) + opaque(self.name) + u32(flags) + u32(0) + u32(0)
        reply = self.wire.send(u32(Number.EXCHANGE_ID) + body, minor=1)
        return Status(reply.status), reply.skip()

    def create_session(self, seqid: int | None = None, flags: int = 2, fore: bytes = CHANNEL) -> tuple[Status, Decoder]:
        head = u32(Number.CREATE_SESSION) + pack(">QII", self.number, seqid or self.creation, flags)
        reply = self.wire.send(head + fore + CHANNEL + u32(0x40000001) + u32(1) + u32(0), minor=1)
        return Status(reply.status), reply.skip()

    def connect(self, *, complete: bool = True) -> Peer41:
        status, decoder = self.exchange_id()
        assert status == Status.OK, status
        self.number, self.creation = decoder.u64(), decoder.u32()
        return self.begin(complete=complete)

    def begin(self, *, complete: bool = True, fore: bytes = CHANNEL) -> Peer41:
        status, decoder = self.create_session(fore=fore)
        assert status == Status.OK, status
        self.session, self.seqid = bytes(decoder.fixed(16)), 0
        self.creation += 1
        if complete:
            assert self.status(u32(Number.RECLAIM_COMPLETE) + u32(0)) == Status.OK
        return self

    def sequence(self, seqid: int | None = None, slot: int = 0, *, keep: bool = False) -> bytes:
        if seqid is None:
            self.seqid += 1
            seqid = self.seqid
        return u32(Number.SEQUENCE) + self.session + pack(">4I", seqid, slot, max(slot, 7), keep)

    def send(self, *operations: bytes, keep: bool = False):
        return self.wire.send(self.sequence(keep=keep), *operations, minor=1)

    def status(self, *operations: bytes) -> Status:
        return Status(self.send(*operations).status)

    def flags(self) -> int:
        decoder = self.send().skip()
        decoder.fixed(32)
        return decoder.u32()

    def open_op(
        self, name: bytes, access: int = BOTH, deny: int = 0, how: bytes = NOCREATE, owner: bytes = b"o"
    ) -> bytes:
        head = u32(Number.OPEN) + pack(">IIIQ", 0, access, deny, 0) + opaque(owner)
        return head + how + u32(0) + opaque(name)

    def open(self, name: bytes, access: int = BOTH, deny: int = 0, how: bytes = NOCREATE, owner: bytes = b"o"):
        reply = self.send(*self.wire.at("gold"), self.open_op(name, access, deny, how, owner), self.wire.ops.GETFH)
        if reply.status:
            return Status(reply.status), None, b""
        opened = parse_open(reply.skip(36, 0, 0))
        if opened.delegation in (1, 2):
            delegated = bytes(opened.rest.fixed(16))
            opened.rest.u32()
            if opened.delegation == 2:
                opened.rest.fixed(12)
            opened.rest.fixed(12)
            opened.rest.string(99)
        elif opened.delegation == 3:
            delegated = opened.rest.u32()
            if delegated in (1, 2):
                opened.rest.u32()
        else:
            delegated = b""
        opened.rest.fixed(8)
        handle = opened.rest.string(128)
        opened.rest = delegated
        return Status.OK, opened, handle

    def on(self, handle: bytes, *operations: bytes) -> Status:
        return self.status(self.wire.ops.putfh(handle), *operations)


class World:
    """A server with /gold, a clock that tests move, and as many clients as they want."""

    def __init__(self, wire) -> None:
        self.now = 1000.0
        self.wire = wire
        wire.context.clock = lambda: self.now

    def restart(self, records=None) -> NfsState:
        """The server forgets all but its files and what is in `records`."""
        self.wire.context.states = NfsState(8, self.now, records)
        return self.wire.context.states

    def connection(self, uid: int = 0):
        return type(self.wire)(self.wire.server, self.wire.context, self.wire.exports, uid=uid)

    def peer40(self, name: bytes = b"peer", uid: int = 0, *, connect: bool = True) -> Peer40:
        peer = Peer40(self.connection(uid), name)
        return peer.connect() if connect else peer

    def peer41(self, name: bytes = b"peer", uid: int = 0, *, connect: bool = True) -> Peer41:
        peer = Peer41(self.connection(uid), name)
        return peer.connect() if connect else peer


@pytest.fixture
def world(client4) -> World:
    return World(client4)


@pytest.fixture
def make_world(make4):
    """Makes a world over a store of its own, with or without the quick forms of operations."""

    def making(store, *, quick: bool) -> World:
        return World(make4({"/gold": store}, quick=quick))

    return making
