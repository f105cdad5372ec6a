"""Filters change what they are for, and pass on the rest."""

from __future__ import annotations

import errno
import random
from collections.abc import Iterator

import pytest

from labemu_store.block import MemoryBlockStore, Operation
from labemu_store.block.filters import DelayFilter, ErrorFilter, ReadonlyFilter, Rule, StatsFilter
from labemu_store.errors import StoreError


@pytest.fixture
def memory() -> Iterator[MemoryBlockStore]:
    store = MemoryBlockStore(1 << 20)
    yield store
    store.close()


def test_an_error_strikes_its_range_and_operation_alone(memory: MemoryBlockStore) -> None:
    store = ErrorFilter(memory, rule=Rule(operations=frozenset((Operation.READ,)), start=4096, end=8192))
    store.write(4096, b"x")
    store.read(0, 4096)
    store.read(8192, 512)
    with pytest.raises(StoreError) as caught:
        store.read(4095, 2)
    assert caught.value.errno == errno.EIO


def test_an_error_with_a_count_ends(memory: MemoryBlockStore) -> None:
    store = ErrorFilter(memory, rule=Rule(count=2), code=errno.ENOSPC)
    for _ in range(2):
        with pytest.raises(StoreError):
            store.write(0, b"x")
    store.write(0, b"x")


def test_a_probability_is_kept(memory: MemoryBlockStore) -> None:
    rule = Rule(probability=0.25, random=random.Random(7))
    strikes = sum(rule.strikes(Operation.READ, 0, 512) for _ in range(4000))
    assert 900 < strikes < 1100


def test_a_readonly_store_refuses_every_change(memory: MemoryBlockStore) -> None:
    store = ReadonlyFilter(memory)
    assert store.capabilities.read_only
    for change in (
        lambda: store.write(0, b"x"),
        lambda: store.unmap(0, 512),
        lambda: store.write_zeroes(0, 512),
        lambda: store.resize(512),
    ):
        with pytest.raises(StoreError) as caught:
            change()
        assert caught.value.errno == errno.EROFS
    assert bytes(store.read(0, 1)) == b"\0"


def test_delays_have_the_average_and_the_tail_that_were_asked_for(memory: MemoryBlockStore) -> None:
    store = DelayFilter(memory, average=0.010, p99=0.050, rule=Rule(random=random.Random(3)))
    samples = sorted(store.latency(Operation.READ, 0, 512) for _ in range(20000))
    assert store.capabilities.delays
    assert sum(samples) / len(samples) == pytest.approx(0.010, rel=0.05)
    assert samples[int(len(samples) * 0.99)] == pytest.approx(0.050, rel=0.10)


def test_delays_of_stacked_filters_add_up(memory: MemoryBlockStore) -> None:
    store = DelayFilter(DelayFilter(memory, average=0.001), average=0.002)
    assert store.latency(Operation.FLUSH, 0, 0) == pytest.approx(0.003)


def test_stats_count_operations_bytes_and_errors(memory: MemoryBlockStore) -> None:
    store = StatsFilter(ErrorFilter(memory, rule=Rule(operations=frozenset((Operation.WRITE,)), count=1)))
    with pytest.raises(StoreError):
        store.write(0, b"x")
    store.write(0, b"xyz")
    store.read(0, 512)
    store.flush()
    counters = store.counters()
    write = counters[Operation.WRITE]
    assert (write.operations, write.bytes, write.errors) == (2, 3, 1)
    assert (counters[Operation.READ].bytes, counters[Operation.FLUSH].operations) == (512, 1)
