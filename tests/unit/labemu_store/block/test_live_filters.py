"""Filters that limit, hold and divert, and the stack that switches them while operations run."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from labctl.testing.waiting import wait_for
from labemu_store.block import FileBlockStore, MemoryBlockStore, Operation
from labemu_store.block.filters import (
    CowFilter,
    DelayFilter,
    ErrorFilter,
    PauseFilter,
    RateFilter,
    ReadonlyFilter,
    Rule,
    Stack,
    StatsFilter,
)
from labemu_store.errors import StoreError


@pytest.fixture
def memory() -> Iterator[MemoryBlockStore]:
    store = MemoryBlockStore(1 << 20)
    yield store
    store.close()


def test_a_rate_of_bytes_is_kept_after_the_burst(memory: MemoryBlockStore) -> None:
    clock = [0.0]
    store = RateFilter(memory, bytes_per_second=1000, burst=0.5, now=lambda: clock[0])
    assert store.capabilities.delays
    assert store.latency(Operation.READ, 0, 500) == 0.0
    assert store.latency(Operation.WRITE, 0, 1000) == pytest.approx(1.0)
    assert store.latency(Operation.READ, 0, 1000) == pytest.approx(2.0)
    clock[0] = 2.0
    assert store.latency(Operation.UNMAP, 0, 1 << 20) == 0.0
    clock[0] = 60.0
    assert store.latency(Operation.READ, 0, 600) == pytest.approx(0.1)


def test_a_rate_of_operations_is_kept(memory: MemoryBlockStore) -> None:
    store = RateFilter(memory, operations_per_second=10, burst=0.1, now=lambda: 0.0)
    assert [store.latency(Operation.FLUSH, 0, 0) for _ in range(3)] == pytest.approx([0.0, 0.1, 0.2])


def test_a_rate_of_nothing_is_refused(memory: MemoryBlockStore) -> None:
    with pytest.raises(ValueError, match="above 0"):
        RateFilter(memory, bytes_per_second=0)


def test_a_pause_holds_until_it_is_resumed(memory: MemoryBlockStore) -> None:
    store = PauseFilter(memory, rule=Rule(operations=frozenset((Operation.WRITE,))))
    assert store.capabilities.blocking
    writer = threading.Thread(target=store.write, args=(0, b"held"))
    writer.start()
    wait_for(lambda: store.waiting == 1)
    assert bytes(store.read(0, 4)) == bytes(4)
    store.resume()
    writer.join(5)
    assert bytes(store.read(0, 4)) == b"held"


def test_a_pause_ends_at_its_limit(memory: MemoryBlockStore) -> None:
    store = PauseFilter(memory, limit=0.01)
    store.write(0, b"late")
    store.resume()
    assert bytes(store.read(0, 4)) == b"late"


def test_a_cow_leaves_its_base_alone_and_keeps_its_difference(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.write_bytes(b"b" * 16384)
    for expected in (b"bbbb", b"cowb"):
        store = CowFilter(FileBlockStore.open(base, read_only=True), difference=tmp_path / "diff")
        assert bytes(store.read(5000, 4)) == expected
        store.write(5000, b"cow")
        store.close()
    assert base.read_bytes() == b"b" * 16384


def test_a_cow_in_memory_takes_writes_over_a_readonly_store(memory: MemoryBlockStore) -> None:
    store = CowFilter(ReadonlyFilter(memory))
    assert not store.capabilities.read_only
    store.write(4095, b"xy")
    assert bytes(store.read(4094, 4)) == b"\0xy\0"
    assert bytes(memory.read(4095, 2)) == b"\0\0"
    assert [(extent.length, extent.is_data) for extent in store.extents(0, 16384)] == [(8192, True), (8192, False)]


def test_filters_are_inserted_changed_listed_and_removed_by_name(memory: MemoryBlockStore) -> None:
    told: list[bool] = []
    stack = Stack(memory)
    stack.changed = lambda: told.append(stack.capabilities.delays)
    stack.insert("slow", lambda store: DelayFilter(store, average=0.5))
    stack.insert("count", StatsFilter)
    stack.insert("bad", ErrorFilter, before="slow")
    assert stack.names() == ["count", "bad", "slow"]
    with pytest.raises(StoreError):
        stack.read(0, 512)
    stack.change("bad", lambda store: DelayFilter(store, average=0.25))
    assert stack.latency(Operation.READ, 0, 1) == pytest.approx(0.75)
    stack.remove("slow")
    assert stack.latency(Operation.READ, 0, 1) == pytest.approx(0.25)
    stack.remove("bad")
    counted = stack.get("count")
    assert isinstance(counted, StatsFilter)
    assert counted.counters()[Operation.READ].errors == 1
    assert told == [True, True, True, True, True, False]


def test_a_name_is_taken_once_and_must_be_there(memory: MemoryBlockStore) -> None:
    stack = Stack(memory)
    stack.insert("one", StatsFilter)
    with pytest.raises(ValueError, match="filter one already"):
        stack.insert("one", StatsFilter)
    for call in (
        lambda: stack.remove("two"),
        lambda: stack.insert("x", StatsFilter, before="two"),
        lambda: stack.get("two"),
    ):
        with pytest.raises(KeyError):
            call()


def test_operations_go_on_while_filters_come_and_go(memory: MemoryBlockStore) -> None:
    stack = Stack(memory)
    stop, failed, done = threading.Event(), [], [0]

    def work() -> None:
        while not stop.is_set():
            value = done[0].to_bytes(8, "big")
            stack.write(4096, value)
            if bytes(stack.read(4096, 8)) != value:
                failed.append(value)
            done[0] += 1

    worker = threading.Thread(target=work)
    worker.start()
    for turn in range(200):
        stack.insert("a", StatsFilter)
        stack.insert("b", lambda store: PauseFilter(store, paused=True), before="a" if turn % 2 else None)
        stack.change("a", lambda store: DelayFilter(store, average=0.0))
        stack.remove("b")
        stack.remove("a")
    wait_for(lambda: done[0] > 10)
    stop.set()
    worker.join(5)
    assert not failed
    assert not worker.is_alive()
