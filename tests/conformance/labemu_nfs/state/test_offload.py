"""Copies that go on after COPY was answered: RFC 7862 4.8, 15.2, 15.8, 15.9, 16.1."""

from __future__ import annotations

from dataclasses import dataclass, field
from errno import EIO
from struct import pack

import pytest

from labemu_nfs.limits import MAX_CLIENT_OFFLOADS, MAX_DONE_OFFLOADS
from labemu_nfs.nfs4 import offload
from labemu_nfs.nfs4.constants import Number
from labemu_nfs.nfs4.ops import copy as copy_operation
from labemu_nfs.nfs4.status import Status
from labemu_nfs.rpc.program import Job
from labemu_nfs.xdr import Decoder, u32
from labemu_store.file.types import AttributeChange, Ownership

from .test_delegations import answer, calls, in_sequence

OFFLOAD = 15
PIECE = 1000
DATA = bytes(range(250)) * 14  # three and a half pieces
SEQUENCE_RESULT = 36


@dataclass
class Copier:
    """A client of 4.2 that has /gold/file copied to /gold/copied, and a server whose background the test goes through step by step."""

    world: object
    peer: object
    jobs: list[Job] = field(default_factory=list)
    called: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.world.wire.context.background = self.jobs.append
        self.store = self.world.wire.exports["/gold"].store
        self.source = self.store.lookup(self.store.root, b"file")
        self.store.write(self.source, 0, DATA)
        self.target = self.store.create(self.store.root, b"copied", Ownership(mode=0o600, uid=0, gid=0))

    def send(self, *operations: bytes, peer=None):
        peer = peer or self.peer
        return peer.wire.send(peer.sequence(), *operations, minor=2)

    def copy(self, count: int = 0, *, synchronous: bool = False) -> Decoder:
        """Ask for a copy to the other file; the results from the callback ids on."""
        wire = self.peer.wire
        ways = (*wire.at("gold/file"), wire.ops.SAVEFH, *wire.at("gold/copied"))
        asked = bytes(32) + pack(">QQQIII", 0, 0, count, 1, synchronous, 0)
        reply = self.send(*ways, u32(Number.COPY) + asked)
        assert reply.status == Status.OK
        return reply.skip(SEQUENCE_RESULT, *(0 for _ in ways))

    def begun(self) -> bytes:
        """The stateid of a copy that goes on."""
        decoder = self.copy()
        assert decoder.u32() == 1
        stateid = bytes(decoder.fixed(16))
        assert (decoder.u64(), decoder.u32(), bytes(decoder.fixed(8))) == (0, 0, b"verifier")
        assert (decoder.boolean(), decoder.boolean()) == (True, False)
        return stateid

    def step(self, error: OSError | None = None) -> None:
        """One piece, and what follows on it."""
        job = self.jobs.pop(0)
        if error is None:
            job.run()
        following = job.finish(error)
        if isinstance(following, Job):
            self.jobs.append(following)

    def finish(self) -> None:
        while self.jobs:
            self.step()
        self.called += calls(self.peer.wire.engine)

    def answered(self, status: Status = Status.OK) -> None:
        """The client answers what it was asked, one after the other."""
        while self.called:
            answer(self.peer.wire.engine, self.called.pop(0), in_sequence(OFFLOAD, status))
            self.called += calls(self.peer.wire.engine)

    def ask(self, number: Number, stateid: bytes, *, peer=None, path: str = "gold/copied"):
        ways = (*self.peer.wire.at(path), u32(number) + stateid)
        reply = self.send(*ways, peer=peer)
        return Status(reply.status), reply.skip(SEQUENCE_RESULT, *(0 for _ in ways[:-1]))

    def progress(self, stateid: bytes) -> tuple[int, list[int]]:
        """OFFLOAD_STATUS: bytes, and the status if it has ended."""
        status, decoder = self.ask(Number.OFFLOAD_STATUS, stateid)
        assert status == Status.OK
        return decoder.u64(), [decoder.u32() for _ in range(decoder.u32())]

    def told(self) -> Decoder:
        """The arguments of the one CB_OFFLOAD that was sent."""
        (call,) = self.called
        decoder = Decoder(memoryview(call), 40)
        decoder.opaque(99)
        assert (decoder.u32(), decoder.u32(), decoder.u32(), decoder.u32()) == (1, 0, 2, 11)
        decoder.fixed(16 + 16 + 4)
        assert decoder.u32() == OFFLOAD
        return decoder

    @property
    def remembered(self) -> int:
        return len(self.world.wire.context.states.offloads)


@pytest.fixture
def copier(world, monkeypatch) -> Copier:
    for module in (offload, copy_operation):
        monkeypatch.setattr(module, "MAX_COPY", PIECE)
    return Copier(world, world.peer41())


def test_a_long_copy_goes_on_and_the_client_is_told_of_its_end(copier):
    stateid = copier.begun()
    assert copier.progress(stateid) == (0, [])
    copier.step()
    assert copier.progress(stateid) == (PIECE, [])
    assert not calls(copier.peer.wire.engine)
    copier.finish()
    assert copier.store.read(copier.target, 0, 9999) == DATA
    assert copier.progress(stateid) == (len(DATA), [Status.OK])
    arguments = copier.told()
    assert arguments.string(128) == copier.peer.wire.handle("gold/copied")
    assert bytes(arguments.fixed(16)) == stateid
    assert (arguments.u32(), arguments.u32(), arguments.u64(), arguments.u32()) == (Status.OK, 0, len(DATA), 0)
    assert bytes(arguments.fixed(8)) == b"verifier"
    assert arguments.at == len(arguments.view)
    copier.answered()
    assert copier.ask(Number.OFFLOAD_STATUS, stateid)[0] == Status.BAD_STATEID
    assert not copier.remembered


def test_what_is_copied_counts_as_written(copier):
    before = copier.world.wire.context.shared.bytes_written
    copier.begun()
    copier.finish()
    assert copier.world.wire.context.shared.bytes_written - before == len(DATA)


def test_a_cancelled_copy_stops_and_nobody_is_told(copier):
    stateid = copier.begun()
    copier.step()
    assert copier.ask(Number.OFFLOAD_CANCEL, stateid)[0] == Status.OK
    copier.step()
    assert not copier.jobs
    assert copier.store.getattr(copier.target).size == 2 * PIECE
    assert not calls(copier.peer.wire.engine)
    assert copier.ask(Number.OFFLOAD_CANCEL, stateid)[0] == Status.BAD_STATEID


def test_a_copy_that_is_done_cannot_be_cancelled_but_is_given_back(copier):
    stateid = copier.begun()
    copier.finish()
    copier.told()
    assert copier.ask(Number.OFFLOAD_CANCEL, stateid)[0] == Status.COMPLETE_ALREADY
    assert copier.ask(Number.OFFLOAD_STATUS, stateid)[0] == Status.BAD_STATEID


def test_a_copy_that_fails_tells_how_far_it_came(copier):
    stateid = copier.begun()
    copier.step()
    copier.step(OSError(EIO, "broken"))
    copier.finish()
    assert copier.progress(stateid) == (PIECE, [Status.IO])
    arguments = copier.told()
    arguments.string(128)
    assert bytes(arguments.fixed(16)) == stateid
    assert (arguments.u32(), arguments.u64()) == (Status.IO, PIECE)


def test_a_target_that_is_removed_ends_the_copy(copier):
    stateid = copier.begun()
    copier.step()
    copier.store.unlink(copier.store.root, b"copied")
    copier.finish()
    arguments = copier.told()
    arguments.string(128)
    assert bytes(arguments.fixed(16)) == stateid
    assert arguments.u32() == Status.STALE


def test_a_source_that_is_cut_meanwhile_makes_the_copy_shorter(copier):
    stateid = copier.begun()
    copier.step()
    copier.store.setattr(copier.source, AttributeChange(size=PIECE + 10))
    copier.finish()
    copied, ended = copier.progress(stateid)
    assert (copied, ended) == (copier.store.getattr(copier.target).size, [Status.OK])
    assert copied in (PIECE + 10, 2 * PIECE)  # the second where the piece under way has its bytes already


def test_a_short_copy_and_one_that_must_be_done_first_are_done_before_the_answer(copier):
    for results, size in ((copier.copy(10), 10), (copier.copy(synchronous=True), PIECE)):
        assert (results.u32(), results.u64(), results.u32()) == (0, size, 0)
        results.fixed(8)
        assert (results.boolean(), results.boolean()) == (True, True)
    assert not copier.jobs


def test_who_cannot_be_called_back_has_it_done_before_the_answer(copier, world):
    deaf = world.peer41(b"deaf", connect=False)
    deaf.number, deaf.creation = (decoder := deaf.exchange_id()[1]).u64(), decoder.u32()
    deaf.session = bytes(deaf.create_session(flags=0)[1].fixed(16))
    deaf.status(u32(Number.RECLAIM_COMPLETE) + u32(0))
    copier.peer = deaf
    assert (copier.copy().u32(), copier.jobs) == (0, [])


def test_only_some_copies_of_a_client_go_on_at_once(copier):
    for _ in range(MAX_CLIENT_OFFLOADS):
        copier.begun()
    assert copier.copy().u32() == 0
    copier.finish()
    assert copier.copy().u32() == 0  # the client has not answered yet
    copier.answered()
    assert not copier.remembered
    copier.begun()


def test_no_more_than_some_that_are_done_are_remembered(copier):
    stateids = []
    for _ in range(MAX_DONE_OFFLOADS + 5):
        stateids.append(copier.begun())
        copier.finish()
        copier.answered(Status.BADHANDLE)
    assert copier.remembered <= MAX_DONE_OFFLOADS + 1
    assert copier.ask(Number.OFFLOAD_STATUS, stateids[0])[0] == Status.BAD_STATEID
    assert copier.ask(Number.OFFLOAD_STATUS, stateids[-1])[0] == Status.OK


def test_a_copy_is_its_clients_and_its_files_and_has_a_seqid(copier, world):
    stateid = copier.begun()
    assert copier.ask(Number.OFFLOAD_STATUS, stateid, peer=world.peer41(b"other"))[0] == Status.BAD_STATEID
    assert copier.ask(Number.OFFLOAD_STATUS, stateid, path="gold/file")[0] == Status.BAD_STATEID
    for seqid in (0, 2):
        assert copier.ask(Number.OFFLOAD_CANCEL, u32(seqid) + stateid[4:])[0] == Status.BAD_STATEID
    assert copier.progress(stateid) == (0, [])


def test_the_copy_of_a_client_that_is_gone_stops(copier):
    copier.begun()
    core = copier.world.wire.context.states.core
    core.drop_client(core.clients[copier.peer.number])
    copier.step()
    assert not copier.jobs
    assert not copier.remembered


def test_a_server_that_ends_begins_no_further_piece(copier):
    copier.begun()
    copier.world.wire.context.background = None
    copier.step()
    assert not copier.jobs
