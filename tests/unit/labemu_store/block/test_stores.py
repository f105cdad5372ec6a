"""Every block store keeps the same promises."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from labemu_store.block import BlockStore, Extent, FileBlockStore, MemoryBlockStore, open_block_store
from labemu_store.errors import StoreConfigError, StoreError

MIB = 1 << 20


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BlockStore]:
    made: BlockStore = MemoryBlockStore(4 * MIB)
    if request.param == "file":
        made.close()
        made = FileBlockStore.open(tmp_path / "disk", size=4 * MIB)
    yield made
    made.close()


def test_what_was_written_is_read(store: BlockStore) -> None:
    store.write(1000, b"hello")
    assert bytes(store.read(998, 9)) == b"\0\0hello\0\0"


def test_a_new_store_is_one_hole(store: BlockStore) -> None:
    assert list(store.extents(0, store.size)) == [Extent(0, 4 * MIB, is_data=False)]
    assert store.allocated() == 0


def test_extents_cover_the_range_in_order(store: BlockStore) -> None:
    store.write(MIB, bytes(b"x" * MIB))
    extents = list(store.extents(0, store.size))
    assert [(extent.offset, extent.length, extent.is_data) for extent in extents] == [
        (0, MIB, False),
        (MIB, MIB, True),
        (2 * MIB, 2 * MIB, False),
    ]


def test_unmap_gives_space_back_and_reads_zeroes(store: BlockStore) -> None:
    store.write(0, b"x" * MIB)
    before = store.allocated()
    store.unmap(0, MIB)
    assert before >= MIB
    assert store.allocated() == 0
    assert bytes(store.read(0, MIB)) == bytes(MIB)


def test_an_unmap_within_a_page_clears_just_its_bytes(store: BlockStore) -> None:
    store.write(0, b"x" * 4096)
    store.unmap(512, 1024)
    assert bytes(store.read(0, 4096)) == b"x" * 512 + bytes(1024) + b"x" * 2560


def test_write_zeroes_reads_zeroes(store: BlockStore) -> None:
    store.write(0, b"x" * MIB)
    store.write_zeroes(4096, 8192)
    assert bytes(store.read(0, 16384)) == b"x" * 4096 + bytes(8192) + b"x" * 4096


@pytest.mark.parametrize("call", ["write", "unmap", "write_zeroes"])
def test_nothing_grows_a_store_but_resize(store: BlockStore, call: str) -> None:
    with pytest.raises(StoreError) as caught:
        getattr(store, call)(4 * MIB - 2, b"xyz" if call == "write" else 3)
    assert caught.value.errno == errno.EINVAL
    assert store.size == 4 * MIB


def test_resize_grows_with_a_hole_and_shrinks(store: BlockStore) -> None:
    store.write(4 * MIB - 1, b"x")
    store.resize(8 * MIB)
    assert store.size == 8 * MIB
    assert bytes(store.read(4 * MIB - 1, 3)) == b"x\0\0"
    store.resize(MIB)
    assert store.size == MIB


def test_close_may_be_called_twice(store: BlockStore) -> None:
    store.close()
    store.close()


def test_a_file_keeps_what_was_written_after_it_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    first = FileBlockStore.open(path, size=MIB)
    first.write(5, b"kept")
    first.close()
    again = FileBlockStore.open(path)
    assert bytes(again.read(5, 4)) == b"kept"
    again.close()


def test_a_file_is_served_only_once(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    first = FileBlockStore.open(path, size=MIB)
    with pytest.raises(StoreConfigError, match="in use"):
        FileBlockStore.open(path)
    first.close()


def test_a_file_that_was_cut_short_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    store = FileBlockStore.open(path, size=MIB)
    with path.open("r+b") as other:
        other.truncate(512)
    with pytest.raises(StoreError) as caught:
        store.read(0, 1024)
    assert caught.value.errno == errno.EIO
    store.close()


def test_a_read_only_file_refuses_writes(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(bytes(4096))
    store = open_block_store(f"file://{path}?readonly=1")
    with pytest.raises(StoreError) as caught:
        store.write(0, b"x")
    assert caught.value.errno == errno.EROFS
    store.close()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("memory://disk", "no size"),
        ("memory://disk?size=many", "not a size"),
        ("memory://disk?size=1MiB&colour=red", "unknown option"),
        ("nosuch://host/disk", "no filesystem that fsspec knows"),
        ("file:///nowhere/at/all", "does not exist"),
        ("file://host/disk?size=1MiB", "names a host"),
    ],
)
def test_a_url_that_cannot_be_opened_says_why(url: str, words: str) -> None:
    with pytest.raises(StoreConfigError, match=words):
        open_block_store(url)


def test_runs_of_buffers_are_written_and_read_in_their_order(store: FileBlockStore) -> None:
    parts = [memoryview(bytes((number,)) * 512) for number in range(5)]
    store.writev(parts, 1000, 5 * 512)
    assert store.read(1000, 5 * 512) == b"".join(parts)
    into = bytearray(5 * 512)
    views = [memoryview(into)[at : at + 512] for at in range(0, len(into), 512)]
    store.readv(views, 1000, len(into))
    assert into == b"".join(parts)


def test_runs_that_go_beyond_the_end_fail(store: FileBlockStore) -> None:
    with pytest.raises(StoreError):
        store.writev([memoryview(bytes(512))] * 2, store.size - 512, 1024)
    assert store.size == 4 * MIB
    with pytest.raises(StoreError, match="ends before"):
        store.readv([memoryview(bytearray(512))] * 2, store.size - 512, 1024)


def test_a_run_of_data_that_was_found_before_is_not_believed_after_a_hole_was_made(store: BlockStore) -> None:
    store.write(0, b"x" * MIB)
    assert next(iter(store.extents(0, store.size))).length == MIB
    store.unmap(0, MIB)
    assert not any(extent.is_data for extent in store.extents(0, store.size))
    store.write(0, b"x" * MIB)
    assert next(iter(store.extents(4096, 8192))) == Extent(4096, 8192, is_data=True)
    store.resize(MIB // 2)
    assert [extent.length for extent in store.extents(0, store.size)] == [MIB // 2]
