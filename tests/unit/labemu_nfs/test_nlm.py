"""NFSv3's locks, engines back to back: who gets one, who waits, who is told, and what a restart leaves."""

from __future__ import annotations

from struct import pack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labemu_nfs.nlm.files import LockTable
from labemu_nfs.nlm.manager import LockManager, Waiting
from labemu_nfs.nlm.monitor import Kept, Monitor
from labemu_nfs.nlm.nlm import Nlm, granted_arguments
from labemu_nfs.nlm.nsm import StatusMonitor, notify_arguments
from labemu_nfs.nlm.types import TO_EOF, LockArguments, Locker, Stat
from labemu_nfs.rpc.program import Caller
from labemu_nfs.rpc.server import RpcConnection
from labemu_nfs.xdr import opaque

NLM, NSM = 100021, 100024
TEST, LOCK, CANCEL, UNLOCK, NM_LOCK, FREE_ALL = 1, 2, 3, 4, 22, 23


class Memory:
    """Stable storage that remembers how often it was written, and can fail."""

    def __init__(self, kept: Kept | None = None) -> None:
        self.kept = kept or Kept()
        self.broken = False

    def load(self) -> Kept:
        return self.kept

    def save(self, kept: Kept) -> None:
        if self.broken:
            raise OSError(5, "the disk is gone")
        self.kept = kept


class Locks:
    """A client of NFS, with locks."""

    def __init__(self, client, stable: Memory) -> None:
        self.client = client
        self.stable = stable
        self.now = 100.0
        self.told: list[Waiting] = []
        self.monitor = Monitor(stable)
        grace = self.now + 20 if self.monitor.before else 0.0
        self.manager = LockManager(LockTable(), self.told.append, grace_until=grace)
        nlm = Nlm(client.context, self.manager, self.monitor, lambda: self.now)
        nsm = StatusMonitor(self.monitor, self.manager.free)
        for program in (nlm.program(), nsm.program()):
            client.server.programs[program.number] = program
        self.file = client.create(b"f", mode=0o666)

    def at(self, address: str) -> None:
        """Calls come from there from now on."""
        self.client.address = address
        self.client.engine = RpcConnection(self.client.server, Caller(address))

    def ask(self, procedure: int, arguments: bytes) -> Stat:
        reply = self.client.send(self.client.message(procedure, arguments, program=NLM, version=4))
        assert reply.accept == 0
        reply.rest.at -= 4
        assert reply.rest.string(64) == b"cookie"
        self.rest = reply.rest
        return Stat(reply.rest.u32())

    def body(self, who: int, start: int, length: int, handle: bytes | None = None) -> bytes:
        owner = opaque(b"host") + opaque(handle or self.file) + opaque(b"pid@host")
        return owner + pack(">IQQ", who, start, length)

    def lock(
        self, who=1, start=0, length=0, *, exclusive=True, block=False, reclaim=False, handle=None, procedure=LOCK
    ) -> Stat:
        flags = pack(">II", block, exclusive)
        tail = pack(">II", reclaim, 1)
        return self.ask(procedure, opaque(b"cookie") + flags + self.body(who, start, length, handle) + tail)

    def test(self, who=1, start=0, length=0, *, exclusive=True) -> Stat:
        return self.ask(TEST, opaque(b"cookie") + pack(">I", exclusive) + self.body(who, start, length))

    def unlock(self, who=1, start=0, length=0) -> Stat:
        return self.ask(UNLOCK, opaque(b"cookie") + self.body(who, start, length))

    def cancel(self, who=1, start=0, length=0) -> Stat:
        return self.ask(CANCEL, opaque(b"cookie") + pack(">II", 1, 1) + self.body(who, start, length))

    def notify(self, name: str) -> None:
        assert self.client.send(self.client.message(6, notify_arguments(name, 3), program=NSM, version=1)).accept == 0


@pytest.fixture
def locks(make) -> Locks:
    return Locks(make(), Memory())


def test_a_lock_excludes_others_and_a_test_names_the_holder(locks: Locks) -> None:
    assert locks.lock(1, 10, 5) is Stat.GRANTED
    assert locks.lock(2, 12, 1) is Stat.DENIED
    assert locks.test(2, 0, 0) is Stat.DENIED
    assert (locks.rest.u32(), locks.rest.u32(), locks.rest.string(64)) == (1, 1, b"pid@host")
    assert (locks.rest.u64(), locks.rest.u64()) == (10, 5)
    assert locks.test(2, 15, 5) is Stat.GRANTED
    assert locks.test(1, 0, 0) is Stat.GRANTED  # one's own never stand in the way


def test_shared_locks_are_shared_and_an_upgrade_waits_for_the_others(locks: Locks) -> None:
    assert locks.lock(1, exclusive=False) is Stat.GRANTED
    assert locks.lock(2, exclusive=False) is Stat.GRANTED
    assert locks.lock(1, exclusive=True) is Stat.DENIED
    assert locks.unlock(2) is Stat.GRANTED
    assert locks.lock(1, exclusive=True) is Stat.GRANTED


def test_who_waits_gets_the_lock_in_turn_and_is_told(locks: Locks) -> None:
    assert locks.lock(1) is Stat.GRANTED
    assert locks.lock(2, block=True) is Stat.BLOCKED
    assert locks.lock(2, block=True) is Stat.BLOCKED  # asked again: still one waiter
    assert locks.lock(3, block=True) is Stat.BLOCKED
    locks.unlock(1)
    assert [waiting.lock.locker.process for waiting in locks.told] == [2]
    assert granted_arguments(locks.told[0]).startswith(opaque(b"cookie") + pack(">I", 1))
    assert locks.test(1) is Stat.DENIED
    locks.manager.refused(locks.told[0])
    assert [waiting.lock.locker.process for waiting in locks.told] == [2, 3]


def test_who_waits_no_more_is_passed_over(locks: Locks) -> None:
    locks.lock(1)
    locks.lock(2, block=True)
    assert locks.cancel(2) is Stat.GRANTED
    assert locks.cancel(2) is Stat.DENIED
    locks.unlock(1)
    assert locks.told == []


def test_a_host_that_was_restarted_holds_and_awaits_nothing(locks: Locks) -> None:
    locks.lock(1)
    locks.at("10.0.0.3")
    locks.lock(1, block=True)
    locks.at("10.0.0.2")
    locks.notify("host")
    assert [waiting.lock.locker.address for waiting in locks.told] == ["10.0.0.3"]
    assert locks.manager.holders == {"10.0.0.3"}


def test_nobody_speaks_for_another_host(locks: Locks) -> None:
    locks.lock(1)
    locks.at("10.0.0.66")
    locks.notify("host")
    locks.notify("10.0.0.2")
    assert locks.manager.holders == {"10.0.0.2"}


def test_a_host_is_on_stable_storage_before_its_first_lock_is_granted(locks: Locks) -> None:
    locks.stable.broken = True
    assert locks.lock(1) is Stat.DENIED_NOLOCKS
    assert locks.manager.holders == set()
    locks.stable.broken = False
    locks.monitor.retain(set())
    assert locks.lock(1) is Stat.GRANTED
    assert locks.stable.kept.hosts == {"10.0.0.2": b"host"}


def test_after_a_restart_locks_are_only_reclaimed_until_grace_is_over(make) -> None:
    locks = Locks(make(), Memory(Kept(5, {"10.0.0.2": b"host"})))
    assert locks.monitor.state == 7
    assert locks.lock(1) is Stat.DENIED_GRACE_PERIOD
    assert locks.test(1) is Stat.DENIED_GRACE_PERIOD
    assert locks.lock(1, 0, 10, reclaim=True) is Stat.GRANTED
    locks.now += 21
    assert locks.lock(2, 20, 1, reclaim=True) is Stat.DENIED_GRACE_PERIOD
    assert locks.lock(2, 5, 1) is Stat.DENIED
    assert locks.lock(2, 20, 1) is Stat.GRANTED


def test_handles_and_permissions_are_checked(locks: Locks) -> None:
    assert locks.lock(handle=bytes(40)) is Stat.STALE_FH
    assert locks.lock(handle=locks.client.root) is Stat.FAILED
    private = locks.client.create(b"private", mode=0o600)
    locks.client.uid = 1000
    assert locks.lock(handle=private) is Stat.DENIED
    assert locks.lock(exclusive=True) is Stat.GRANTED


def test_ranges_beyond_64_bits_are_too_big(locks: Locks) -> None:
    assert locks.lock(1, 2**64 - 1, 2) is Stat.FBIG
    assert locks.lock(1, 2**64 - 1, 1) is Stat.GRANTED


def test_an_unmonitored_lock_never_waits_and_free_all_gives_everything_back(locks: Locks) -> None:
    assert locks.lock(1) is Stat.GRANTED
    assert locks.lock(2, block=True, procedure=NM_LOCK) is Stat.DENIED
    locks.client.send(locks.client.message(FREE_ALL, opaque(b"host") + pack(">I", 1), program=NLM, version=4))
    assert locks.manager.holders == set()


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["lock", "wait", "unlock", "cancel", "free"]),
            st.integers(0, 3),
            st.integers(0, 6),
            st.integers(1, 7),
            st.booleans(),
        ),
        max_size=40,
    )
)
def test_two_lockers_never_hold_what_excludes_one_another(steps) -> None:
    """Against a model of single bytes."""
    told: list[Waiting] = []
    table = LockTable()
    manager = LockManager(table, told.append)
    file = (1, b"f")
    for verb, who, start, length, exclusive in steps:
        lock = LockArguments(Locker(f"10.0.0.{who}", b"h", b"o", who), b"", start, start + length)
        if verb in ("lock", "wait"):
            manager.lock(file, lock, exclusive=exclusive, block=verb == "wait", reclaim=False, cookie=b"", now=1.0)
        elif verb == "unlock":
            manager.unlock(file, lock)
        elif verb == "cancel":
            manager.cancel(file, lock)
        else:
            manager.free(f"10.0.0.{who}")
        held = list(table.ranges(file))
        for byte in range(14):
            over = [each for each in held if each.start <= byte < each.end]
            assert len(over) <= 1 or not any(each.write for each in over)
    for who in range(4):
        manager.free(f"10.0.0.{who}")
    assert not list(table.ranges(file))
    assert manager.holders == set()


def test_the_end_of_a_file_is_told_as_length_nought() -> None:
    lock = LockArguments(Locker("a", b"h", b"o", 1), b"f", 5, TO_EOF)
    assert granted_arguments(Waiting((1, b"f"), lock, exclusive=False, cookie=b"")).endswith(pack(">IQQ", 1, 5, 0))
