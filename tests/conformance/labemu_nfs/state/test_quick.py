"""Quick forms against handlers: two servers alike but for that get the same calls, and answer, count and remember alike.

Both worlds are made the same, down to the numbers of nodes and the clock, so that every byte of every answer must be the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from random import Random
from struct import pack, unpack_from

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as some

from labemu_nfs.nfs4.attributes import READABLE
from labemu_nfs.nfs4.constants import Number
from labemu_nfs.nfs4.state.model import Delegation
from labemu_nfs.xdr import opaque, u32
from labemu_store.file import AttributeChange, MemoryFileStore, Ownership, memory

ANONYMOUS, BYPASS, CURRENT = bytes(16), b"\xff" * 16, u32(1) + bytes(12)
NAMES = (
    b"file",
    b"dir",
    b"link",
    b"fifo",
    b"inner",
    b"new",
    b"secret",
    b"",
    b".",
    b"..",
    b"a/b",
    b"z\0",
    b"\xff",
    b"n" * 256,
)
NAMES += (b"n" * 255, "ü".encode())
MASKS = (
    (1, 3, 4, 8, 11, 19, 20, 33, 35, 36, 37, 41, 45, 47, 52, 53, 55),  # Linux's READDIR and GETATTR
    (1, 4, 20, 33, 35, 36, 37, 45, 47, 52, 53),  # libnfs's
    (0, 5, 6, 10, 13, 28, 29, 75), (3,), (42, 43, 44), (12, 33), (48,), (76, 79, 82),
)  # fmt: skip
LENGTHS = (0, 1, 7, 8, 4096, 1 << 20, 2**32 - 1)
OFFSETS = (0, 0, 0, 3, 3, 8, 4096, 9999, 2**63 - 1, 2**64 - 1)
READABLE_NUMBERS = [int(row.number) for row in READABLE]


def bits(numbers) -> bytes:
    mask = sum(1 << number for number in set(numbers))
    words = [mask >> 32 * word & 0xFFFF_FFFF for word in range(3)]
    while words and not words[-1]:
        words.pop()
    return u32(len(words)) + b"".join(map(u32, words))


@dataclass
class Twins:
    """Two worlds, the first with quick forms, and what clients were given in them."""

    worlds: tuple
    handles: list[bytes] = field(default_factory=list)
    stateids: list[bytes] = field(default_factory=list)

    def exchange(self, wires, arguments: bytes) -> bytes:
        one, other = (wire.exchange(1, arguments) for wire in wires)
        assert one == other
        return one

    def settled(self) -> None:
        """What is counted and remembered is the same."""
        one, other = (self.remembered(world) for world in self.worlds)
        assert one == other

    @staticmethod
    def remembered(world) -> object:
        context = world.wire.context
        core = context.states.core
        clients = [(each.number, each.renewed, each.revoked, sorted(each.states)) for each in core.clients.values()]
        slots = [[(slot.seqid, slot.busy, slot.reply) for slot in each.slots] for each in core.sessions.values()]
        shared = context.shared
        return clients, slots, dict(context.operations), shared.bytes_read, shared.bytes_written, sorted(core.files)


@pytest.fixture
def twins(make_world, monkeypatch):
    """Makes the worlds, each with a file that is open and one that is delegated to somebody else."""
    monkeypatch.setattr(memory, "urandom", bytes)

    def make() -> Twins:
        return Twins(tuple(furnished(make_world, quick=quick) for quick in (True, False)))

    return make


def furnished(make_world, *, quick):
    clock = count(1_700_000_000_000_000_000, 1_000_000_001)
    gold = MemoryFileStore(clock=lambda: next(clock))
    world = make_world(gold, quick=quick)
    world.wire.tree()
    gold.setattr(gold.lookup(gold.root, b"file"), AttributeChange(mode=0o666))
    owner = Ownership(mode=0o600, uid=7, gid=8)
    inner = gold.mkdir(gold.root, b"inner", Ownership(mode=0o711, uid=7, gid=8))
    gold.write(gold.create(inner, b"file", owner), 0, b"x" * 5000)
    gold.create(gold.mkdir(gold.root, b"closed", Ownership(mode=0o700, uid=7, gid=8)), b"file", owner)
    gold.create(gold.root, b"secret", Ownership(mode=0o4755, uid=100_000, gid=8))
    gold.create(gold.root, b"other", Ownership(mode=0o666, uid=0, gid=0))
    return world


def connected(twins: Twins, uid: int):
    """A 4.0 and a 4.1 client in each world, which have /gold/file open; and one that has /gold/other delegated."""
    peers40 = [world.peer40(b"forty", uid) for world in twins.worlds]
    peers41 = [world.peer41(b"one", uid) for world in twins.worlds]
    for world in twins.worlds:
        world.peer41(b"holder").open(b"other", 3)
    found = [peer.opened(b"owner", b"file", 3) for peer in peers40]
    assert found[0] == found[1]
    twins.stateids.append(found[0][0])
    opened = [peer.open(b"file", 1)[1].stateid for peer in peers41]
    assert opened[0] == opened[1]
    twins.stateids.append(opened[0])
    paths = (
        "",
        "gold",
        *(f"gold/{name}" for name in ("file", "inner", "dir", "link", "secret", "other", "inner/file", "closed")),
    )
    wire = peers40[0].wire
    wire.uid = peers40[1].wire.uid = 0
    twins.handles += [wire.handle(path) for path in paths]
    assert twins.handles == [peers40[1].wire.handle(path) for path in paths]
    wire.uid = peers40[1].wire.uid = uid
    return peers40, peers41


def told(world) -> None:
    """The holder of a delegation has answered what it was asked, if it was."""
    for state in world.wire.context.states.core.states.values():
        if isinstance(state, Delegation) and state.asked is not None:
            state.answer = 77, 4097


class Caller:
    """Makes COMPOUNDs by lot: most of them sensible, some spoiled."""

    def __init__(self, seed: int, twins: Twins) -> None:
        self.lot = Random(seed)
        self.twins = twins

    def handle(self) -> bytes:
        lot, handles = self.lot, self.twins.handles
        if lot.random() < 0.04:
            return opaque(lot.choice([handles[1][:-1] + b"?", b"", b"h" * 129]))
        files = [*3 * [handles[2]], handles[7], handles[8]]
        return opaque(lot.choice(files if lot.random() < 0.5 else handles))

    def stateid(self, minor: int) -> bytes:
        lot = self.lot
        mine, others = self.twins.stateids[:: -1 if minor else 1]
        stateid = lot.choice([*3 * [ANONYMOUS], BYPASS, CURRENT, *5 * [mine], others])
        seqid = lot.choice([*8 * [0], -1, 1, -unpack_from(">I", stateid)[0]])
        return u32(unpack_from(">I", stateid)[0] + seqid & 0xFFFF_FFFF) + stateid[4:]

    def bitmap(self) -> bytes:
        if self.lot.random() < 0.7:
            return bits(self.lot.choice(MASKS))
        return bits(self.lot.sample(READABLE_NUMBERS, self.lot.randrange(9)))

    def span(self) -> bytes:
        return pack(">QI", self.lot.choice(OFFSETS), self.lot.choice(LENGTHS))

    def operation(self, minor: int) -> bytes:
        lot = self.lot
        name = opaque(lot.choice(NAMES[:6] if lot.random() < 0.7 else NAMES))
        return lot.choice(
            [
                *2 * [u32(Number.PUTFH) + self.handle(), u32(Number.GETATTR) + self.bitmap()],
                *2 * [u32(Number.READ) + self.stateid(minor) + self.span(), u32(Number.LOOKUP) + name],
                *2 * [u32(Number.WRITE) + self.stateid(minor) + self.span()[:8] + self.data()],
                *(u32(number) for number in (Number.GETFH, Number.SAVEFH, Number.RESTOREFH, Number.PUTROOTFH)),
                u32(Number.ACCESS) + u32(lot.randrange(0x200)),
                u32(Number.REMOVE) + opaque(lot.choice([b"new", b"dir", b"none"])),
                u32(Number.CREATE) + u32(2) + opaque(b"new") + bytes(8),
                u32(Number.READDIR) + pack(">Q8sII", 0, bytes(8), 9999, lot.choice([64, 400, 9999])) + self.bitmap(),
                lot.randbytes(lot.randrange(0, 16, 4)),
            ]
        )

    def data(self) -> bytes:
        return u32(self.lot.choice([0, 0, 0, 1, 3])) + opaque(self.lot.choice([b"data!", b"", b"four" * 300]))

    def usual(self, minor: int) -> list[bytes]:
        """What clients really send: a way to a file, and bytes of it or its attributes."""
        lot, stateid = self.lot, self.twins.stateids[minor > 0]
        at = pack(">Q", lot.choice((0, 3, 5000)))
        return [
            u32(Number.PUTFH) + opaque(lot.choice([*2 * [self.twins.handles[2]], *self.twins.handles[6:9]])),
            lot.choice(
                [
                    u32(Number.READ) + lot.choice([stateid, ANONYMOUS]) + at + u32(4096),
                    u32(Number.WRITE) + lot.choice([stateid, ANONYMOUS]) + at + self.data(),
                    u32(Number.ACCESS) + u32(0x1F),
                ]
            ),
            u32(Number.GETATTR) + self.bitmap(),
        ]

    def compound(self, minor: int, sequence: bytes) -> bytes:
        lot = self.lot
        chosen = [u32(Number.PUTFH) + self.handle()] if lot.random() < 0.9 else []
        chosen += [self.operation(minor) for _ in range(lot.choice([0, 1, 1, 2, 2, 3, 3, 5, 8]))]
        if lot.random() < 0.4:
            chosen = self.usual(minor)
        if minor:
            chosen.insert(0, sequence)
        tag = lot.choice([b"", b"", b"", b"tag"])
        whole = opaque(tag) + pack(">II", minor, len(chosen)) + b"".join(chosen)
        return whole if lot.random() < 0.9 else whole[: -4 * lot.randrange(1, 6)]


@settings(max_examples=50, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(seed=some.integers(0, 2**32), uid=some.sampled_from([0, 7, 9]))
def test_any_compound_is_answered_alike(twins, seed, uid) -> None:
    both = twins()
    peers40, peers41 = connected(both, uid)
    caller = Caller(seed, both)
    for _ in range(120):
        minor = caller.lot.choice([0, 0, 1, 2])
        peers = peers41 if minor else peers40
        keep = caller.lot.random() < 0.2
        sequence = [peer.sequence(keep=keep) for peer in peers41][0] if minor else b""  # noqa: RUF015 # each counts
        for world in both.worlds:
            world.now += 1.0
            told(world)
        both.exchange([peer.wire for peer in peers], caller.compound(minor, sequence))
        both.settled()
