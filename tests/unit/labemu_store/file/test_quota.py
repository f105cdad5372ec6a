from __future__ import annotations

import errno
import os
from contextlib import closing, suppress
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labemu_store.file import AttributeChange, FileKind, FileStore, LocalFileStore, MemoryFileStore, Ownership
from labemu_store.file.protocol import KeepingStore, PathStore
from labemu_store.file.quota import QuotaStore

OWNER = Ownership(mode=0o640, uid=os.geteuid(), gid=os.getegid())
KIB, MIB = 1 << 10, 1 << 20


@pytest.fixture(params=["memory", "local"])
def inner(request, tmp_path):
    return MemoryFileStore() if request.param == "memory" else LocalFileStore(tmp_path)


def full(call, *arguments, **options) -> None:
    with pytest.raises(OSError) as caught:  # noqa: PT011 - its errno is checked below
        call(*arguments, **options)
    assert caught.value.errno == errno.EDQUOT


def test_no_more_bytes_are_taken_than_there_are_and_a_file_may_be_written_over(inner) -> None:
    with closing(QuotaStore(inner, size=4 * MIB)) as store:
        key = store.create(store.root, b"f", OWNER)
        for number in range(4):
            store.write(key, number * MIB - 64 * KIB * number, b"x" * MIB)
        full(store.write, key, 4 * MIB, b"x" * MIB)
        store.write(key, 0, b"y" * MIB)
        store.setattr(key, AttributeChange(size=MIB))
        store.write(key, MIB, b"z" * MIB)
        assert inner.read(key, MIB, 1) == b"z"


def test_holes_are_free_and_filling_them_is_not(inner) -> None:
    with closing(QuotaStore(inner, size=2 * MIB)) as store:
        key = store.create(store.root, b"f", OWNER)
        store.setattr(key, AttributeChange(size=100 * MIB))
        store.write(key, 50 * MIB, b"x" * MIB)
        full(store.write, key, 10 * MIB, b"x" * 2 * MIB)
        store.deallocate(key, 50 * MIB, MIB)
        store.write(key, 10 * MIB, b"x" * MIB)


def test_room_comes_back_with_what_is_removed_or_replaced(inner) -> None:
    with closing(QuotaStore(inner, size=2 * MIB)) as store:
        for _ in range(5):
            for name in (b"a", b"b"):
                store.write(store.create(store.root, name, OWNER), 0, b"x" * (MIB * 3 // 4))
            full(store.write, store.lookup(store.root, b"a"), MIB, b"x" * MIB)
            store.rename(store.root, b"a", store.root, b"b")
            store.rename(store.root, b"b", store.root, b"b")
            store.unlink(store.root, b"b")
        assert store.space().available >= 2 * MIB - 64 * KIB


def test_files_are_counted(inner) -> None:
    with closing(QuotaStore(inner, files=3)) as store:
        store.mkdir(store.root, b"d", OWNER)
        key = store.create(store.root, b"f", OWNER)
        store.symlink(store.root, b"s", b"f", OWNER)
        full(store.mknod, store.root, b"p", FileKind.FIFO, (0, 0), OWNER)
        store.link(key, store.root, b"g")
        store.unlink(store.root, b"g")
        full(store.create, store.root, b"g", OWNER)
        store.rmdir(store.root, b"d")
        assert store.space().files_available == 1
        store.create(store.root, b"g", OWNER)
        assert (store.space().files_total, store.space().files_free) == (3, 0)


def test_limits_change_while_it_is_used(inner) -> None:
    with closing(QuotaStore(inner)) as store:
        key = store.create(store.root, b"f", OWNER)
        store.write(key, 0, b"x" * MIB)
        assert store.space() == inner.space()
        store.limit(size=MIB // 2, files=1)
        assert store.space().available == 0
        full(store.write, key, MIB, b"x")
        full(store.create, store.root, b"g", OWNER)
        store.write(key, 0, b"y")
        store.limit(size=2 * MIB, files=2)
        store.write(key, MIB, b"x" * (MIB // 2))
        store.create(store.root, b"g", OWNER)


def test_what_was_there_before_counts_and_hard_links_once(tmp_path) -> None:
    (tmp_path / "d/e").mkdir(parents=True)
    (tmp_path / "d/e/f").write_bytes(b"x" * MIB)
    (tmp_path / "g").hardlink_to(tmp_path / "d/e/f")
    with closing(QuotaStore(LocalFileStore(tmp_path), size=2 * MIB, files=4)) as store:
        assert store.space().files_free == 1
        assert 0 < store.space().free <= MIB
        (tmp_path / "h").write_bytes(b"x" * MIB)
        store.recount()
        assert (store.space().free, store.space().files_free) == (0, 0)


def test_copies_and_room_that_is_set_aside_count(inner) -> None:
    with closing(QuotaStore(inner, size=2 * MIB)) as store:
        key = store.create(store.root, b"f", OWNER)
        to = store.create(store.root, b"g", OWNER)
        store.write(key, 0, b"x" * MIB)
        full(store.allocate, to, 0, 2 * MIB)
        store.allocate(to, 0, MIB // 2)
        full(store.copy, key, 0, to, MIB, MIB)
        assert store.copy(key, 0, to, 0, MIB // 4)() == MIB // 4


def test_it_can_what_its_store_can(tmp_path) -> None:
    local, memory = QuotaStore(LocalFileStore(tmp_path)), QuotaStore(MemoryFileStore())
    for store in (local, memory):
        typed = cast(FileStore, store)
        assert isinstance(typed, PathStore)
        assert isinstance(typed, KeepingStore)
        assert typed.url == store.inner.url
        typed.close()


STEP = st.tuples(
    st.sampled_from(["write", "cut", "create", "unlink", "rename", "punch"]),
    st.integers(0, 3),
    st.integers(0, 20),
    st.integers(1, 6),
)


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(STEP, max_size=40))
def test_the_reckoning_is_what_a_count_finds(tmp_path_factory, steps) -> None:
    folder: Path = tmp_path_factory.mktemp("quota")
    with closing(QuotaStore(LocalFileStore(folder), size=1 * MIB, files=3)) as store:
        for step, number, at, size in steps:
            name = b"%d" % number
            with suppress(OSError):  # EDQUOT, ENOENT, EEXIST
                if step == "create":
                    store.create(store.root, name, OWNER)
                elif step == "unlink":
                    store.unlink(store.root, name)
                elif step == "rename":
                    store.rename(store.root, name, store.root, b"%d" % (at % 4))
                else:
                    key = store.lookup(store.root, name)
                    if step == "write":
                        store.write(key, at * 64 * KIB, b"x" * size * 64 * KIB)
                    elif step == "punch":
                        store.deallocate(key, at * 64 * KIB, size * 64 * KIB)
                    else:
                        store.setattr(key, AttributeChange(size=at * 64 * KIB))
            assert sum(path.stat().st_blocks * 512 for path in folder.iterdir()) <= 1 * MIB + 64 * KIB
            assert len(list(folder.iterdir())) <= 3
        store._measure()
        reckoned = store._used, store._count
        store.recount()
        assert (store._used, store._count) == reckoned
