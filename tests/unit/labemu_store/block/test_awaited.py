"""A disk that cannot be reached is not ready, and is itself as soon as it can."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from labemu_store.block import BlockStore, Capabilities, Extent, MemoryBlockStore
from labemu_store.block.awaited import PAUSE, AwaitedStore
from labemu_store.block.filters.base import Rule
from labemu_store.block.filters.error import ErrorFilter
from labemu_store.block.objects import open_objects
from labemu_store.block.writeback import WriteBackStore
from labemu_store.errors import UNREACHABLE, StoreConfigError, StoreError

SIZE = 1 << 16
PROMISES = Capabilities(blocking=True)


class Way:
    """To a store in memory; closed at first."""

    def __init__(self) -> None:
        self.closed: StoreConfigError | None = StoreConfigError("no way there", errno=errno.ETIMEDOUT)
        self.attempts = 0
        self.now = 0.0

    def __call__(self) -> BlockStore:
        self.attempts += 1
        if self.closed is not None:
            raise self.closed
        return MemoryBlockStore(SIZE)

    def store(self) -> AwaitedStore:
        return AwaitedStore(self, size=SIZE, capabilities=PROMISES, clock=lambda: self.now)


OPERATIONS: list[Callable[[AwaitedStore], object]] = [
    lambda store: store.read(0, 512),
    lambda store: store.write(0, bytes(512)),
    lambda store: store.unmap(0, 512),
    lambda store: store.write_zeroes(0, 512),
    lambda store: store.flush(),
    lambda store: list(store.extents(0, 512)),
    lambda store: store.resize(2 * SIZE),
]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_says_that_it_is_not_ready_and_works_later(operation: Callable[[AwaitedStore], object]) -> None:
    way = Way()
    store = way.store()
    with pytest.raises(StoreError) as caught:
        operation(store)
    assert caught.value.errno == errno.ETIMEDOUT
    assert store.problem == "no way there"
    assert (store.size, store.allocated(), store.waiting, store.is_open) == (SIZE, 0, 0, False)
    way.closed, way.now = None, PAUSE
    operation(store)
    assert store.is_open
    assert store.problem == ""
    assert store.capabilities is PROMISES
    store.close()


def test_it_is_tried_no_more_often_than_the_pause_says() -> None:
    way = Way()
    store = way.store()
    for _ in range(10):
        with pytest.raises(StoreError):
            store.read(0, 1)
    assert way.attempts == 1
    way.now = PAUSE
    with pytest.raises(StoreError):
        store.read(0, 1)
    assert way.attempts == 2


def test_whoever_comes_during_an_attempt_shares_its_outcome() -> None:
    entered, go = threading.Event(), threading.Event()

    def slowly() -> BlockStore:
        entered.set()
        assert go.wait(60)
        return MemoryBlockStore(SIZE)

    store = AwaitedStore(slowly, size=SIZE, capabilities=PROMISES)
    read: list[bytes] = []
    threads = [threading.Thread(target=lambda: read.append(bytes(store.read(0, 4)))) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert entered.wait(60)
    go.set()
    for thread in threads:
        thread.join(60)
    assert read == [bytes(4)] * 4
    store.close()


def test_a_reason_without_errno_counts_as_unreachable() -> None:
    way = Way()
    way.closed = StoreConfigError("in use")
    with pytest.raises(StoreError) as caught:
        way.store().read(0, 1)
    assert caught.value.errno in UNREACHABLE


def test_one_that_was_closed_is_opened_no_more() -> None:
    way = Way()
    store = way.store()
    store.close()
    way.closed = None
    with pytest.raises(StoreError):
        store.read(0, 1)
    assert way.attempts == 0


def test_a_failure_of_an_open_one_is_told_until_something_works_again() -> None:
    inside = ErrorFilter(MemoryBlockStore(SIZE), code=errno.EBUSY, rule=Rule(count=1))
    store = AwaitedStore(lambda: inside, size=SIZE, capabilities=PROMISES)
    with pytest.raises(StoreError):
        store.flush()
    assert store.problem == "Device or resource busy (ordered by a fault rule)"
    store.flush()
    assert store.problem == ""
    store.close()


@pytest.mark.parametrize("discard", [True, False])
def test_what_waits_is_told_and_can_be_discarded(discard: bool, tmp_path: Path) -> None:
    filesystem = MemoryFileSystem()
    slow = open_objects(filesystem, "/test-awaited/disk", size=SIZE, chunk=4096)
    store = AwaitedStore(lambda: WriteBackStore(slow, folder=tmp_path), size=SIZE, capabilities=PROMISES)
    store.write(0, b"x" * 8192)
    assert store.waiting == 8192
    assert next(iter(store.extents(0, SIZE))) == Extent(0, 8192, is_data=True)
    assert store.allocated() >= 8192
    if discard:
        store.discard()
    store.close()
    assert filesystem.exists("/test-awaited/disk/chunks/000000000000") != discard
    filesystem.rm("/test-awaited", recursive=True)
