"""Runs of buffers through layers hold the same bytes as one call after the other, and end at whatever must see each operation."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labemu_store.block import BlockStore, MemoryBlockStore, VectoredStore, overlay
from labemu_store.block.filters import DelayFilter, ErrorFilter, ReadonlyFilter, Stack, StatsFilter
from labemu_store.block.filters.stack import MakeFilter
from labemu_store.block.gate import Switch
from labemu_store.block.overlay import OverlayStore
from labemu_store.block.snapshots import SnapshotTree
from labemu_store.errors import StoreError

SIZE = 8 * 4096


def layered(base: BlockStore | None, size: int = SIZE) -> OverlayStore:
    data, table = MemoryBlockStore(0), MemoryBlockStore(0)
    overlay.create(data, table, size)
    return OverlayStore(base, data, table)


def pieces(data: bytearray, cuts: list[int]) -> list[memoryview]:
    edges = sorted({0, len(data), *(cut % len(data) for cut in cuts)})
    return [memoryview(data)[start:end] for start, end in pairwise(edges)]


RANGES = st.tuples(st.integers(0, SIZE - 1), st.integers(1, SIZE)).map(
    lambda pair: (pair[0], min(pair[1], SIZE - pair[0]))
)
STEPS = st.tuples(
    st.sampled_from(["writev", "write", "unmap", "write_zeroes", "readv"]),
    RANGES,
    st.lists(st.integers(0, SIZE), max_size=5),
)


@settings(max_examples=80, deadline=None)
@given(steps=st.lists(STEPS, min_size=1, max_size=12), base_size=st.sampled_from([None, 3 * 4096 + 512, SIZE]))
def test_runs_over_a_difference_hold_what_single_calls_hold(
    steps: list[tuple[str, tuple[int, int], list[int]]], base_size: int | None
) -> None:
    base = None if base_size is None else MemoryBlockStore(base_size)
    known = bytearray(SIZE)
    if base is not None:
        base.write(0, b"b" * base.size)
        known[: base.size] = b"b" * base.size
    store = layered(base)
    assert store.vectored
    for number, (name, (offset, length), cuts) in enumerate(steps, 1):
        data = bytearray(bytes((number,)) * length)
        end = offset + length
        if name == "readv":
            store.readv(pieces(data, cuts), offset, length)
            assert data == known[offset:end]
        elif name == "writev":
            store.writev(pieces(data, cuts), offset, length)
            known[offset:end] = data
        elif name == "write":
            store.write(offset, data)
            known[offset:end] = data
        else:
            getattr(store, name)(offset, length)
            known[offset:end] = bytes(length)
    assert store.read(0, SIZE) == known
    assert base is None or bytes(base.read(0, base.size)) == b"b" * base.size
    store.close()
    if base is not None:
        base.close()


@pytest.fixture
def bottom() -> Iterator[MemoryBlockStore]:
    store = MemoryBlockStore(SIZE)
    yield store
    store.close()


def test_runs_beyond_the_end_of_a_difference_fail(bottom: MemoryBlockStore) -> None:
    store = layered(bottom)
    with pytest.raises(StoreError, match="beyond the end"):
        store.readv([memoryview(bytearray(1024))], SIZE - 512, 1024)
    with pytest.raises(StoreError, match="beyond the end"):
        store.writev([memoryview(bytes(1024))], SIZE - 512, 1024)
    store.close()


def test_runs_that_are_written_while_layers_merge_are_tracked(bottom: MemoryBlockStore) -> None:
    store = layered(bottom)
    store.write(0, bytes(4096))
    store.track()
    store.writev([memoryview(b"x" * 2048)] * 2, 0, 4096)
    assert [(run.offset, run.length) for run in store.changed()] == [(0, 4096)]
    store.close()


def test_a_head_takes_runs_before_and_after_it_has_layers(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(SIZE))
    tree = SnapshotTree(disk)
    live = tree.live
    assert isinstance(live, VectoredStore)
    live.writev([memoryview(b"a" * 512), memoryview(b"b" * 512)], 512, 1024)
    tree.snapshot("one")
    live.writev([memoryview(b"c" * 512)], 1024, 512)
    for store, third in ((live, b"c"), (tree.open("one"), b"b")):
        assert isinstance(store, VectoredStore)
        assert store.vectored
        into = bytearray(1536)
        store.readv(pieces(into, [512]), 0, 1536)
        assert into == bytes(512) + b"a" * 512 + third * 512
    tree.close()


def test_a_read_only_store_refuses_runs_that_write(bottom: MemoryBlockStore) -> None:
    with pytest.raises(StoreError) as caught:
        ReadonlyFilter(bottom).writev([memoryview(bytes(512))], 0, 512)
    assert caught.value.errno == errno.EROFS
    assert bottom.allocated() == 0


@pytest.mark.parametrize("watcher", [ErrorFilter, partial(DelayFilter, average=0.0), StatsFilter])
def test_runs_end_at_a_filter_that_must_see_each_operation(bottom: MemoryBlockStore, watcher: MakeFilter) -> None:
    stack = Stack(bottom)
    assert stack.vectored
    stack.insert("watcher", watcher)
    for store in (stack, Switch(watcher(bottom)), ReadonlyFilter(watcher(bottom))):
        assert not store.vectored
        with pytest.raises(StoreError) as caught:
            store.readv([memoryview(bytearray(512))], 0, 512)
        assert caught.value.errno == errno.EOPNOTSUPP
    for store in (stack, Switch(watcher(bottom))):
        with pytest.raises(StoreError) as caught:
            store.writev([memoryview(b"x" * 512)], 0, 512)
        assert caught.value.errno == errno.EOPNOTSUPP
    assert bottom.allocated() == 0
    stack.remove("watcher")
    stack.writev([memoryview(b"x" * 512)], 0, 512)
    assert bytes(bottom.read(0, 512)) == b"x" * 512
