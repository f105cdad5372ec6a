from __future__ import annotations

import os
from contextlib import closing
from errno import ENOENT, ENOTDIR, ESTALE
from pathlib import Path

import pytest

from labemu_store.file import (
    AttributeChange,
    FileStoreUrlError,
    LocalFileStore,
    MemoryFileStore,
    Ownership,
    open_file_store,
)
from labemu_store.file.local import store as local_store
from labemu_store.file.local.keys import IndexedKeys, KernelKeys
from labemu_store.file.types import NOW

OWNER = Ownership(mode=0o640, uid=0, gid=0)


@pytest.fixture(params=["kernel", "indexed"])
def folder(request, tmp_path, monkeypatch):
    """A folder, with each way to make keys."""
    if request.param == "indexed":
        monkeypatch.setattr(local_store, "choose_keys", IndexedKeys)
    else:
        try:
            KernelKeys(tmp_path).close()
        except OSError:
            pytest.skip("the kernel's file handles cannot be had here")
    return tmp_path


@pytest.fixture(params=["memory", "local"])
def store(request, tmp_path):
    it = MemoryFileStore() if request.param == "memory" else LocalFileStore(tmp_path)
    with closing(it):
        yield it


def open_descriptors():
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def failing(code, function, *arguments):
    with pytest.raises(OSError) as caught:  # noqa: PT011 - its errno is checked below
        function(*arguments)
    assert caught.value.errno == code


def test_holes_read_as_zeros_and_take_no_space(store):
    key = store.create(store.root, b"f", OWNER)
    store.write(key, 10 << 20, b"end")
    assert store.read(key, 0, 100) == bytes(100)
    assert store.read(key, 10 << 20, 100) == b"end"
    assert store.getattr(key).used <= 65536
    store.setattr(key, AttributeChange(size=5))
    store.setattr(key, AttributeChange(size=(10 << 20) + 3))
    assert store.read(key, 10 << 20, 3) == bytes(3)


def test_times_keep_their_nanoseconds(store):
    key = store.create(store.root, b"f", OWNER)
    store.setattr(key, AttributeChange(atime=1_000_000_001, mtime=2_000_000_003))
    assert store.getattr(key)[9:11] == (1_000_000_001, 2_000_000_003)
    store.setattr(key, AttributeChange(mtime=NOW))
    assert store.getattr(key).atime == 1_000_000_001
    assert store.getattr(key).mtime > 10**18


def test_renaming_onto_a_file_makes_the_replaced_one_stale(store):
    one, two = store.create(store.root, b"1", OWNER), store.create(store.root, b"2", OWNER)
    store.getattr(two)
    store.rename(store.root, b"1", store.root, b"2")
    assert store.lookup(store.root, b"2") == one
    failing(ESTALE, store.getattr, two)
    failing(ENOENT, store.lookup, store.root, b"1")


def test_a_directory_cannot_be_moved_into_itself(store):
    above = store.mkdir(store.root, b"above", OWNER)
    below = store.mkdir(above, b"below", OWNER)
    failing(22, store.rename, store.root, b"above", below, b"x")
    assert store.parent(below) == above


def test_a_hole_is_kept_when_memory_is_full():
    with closing(MemoryFileStore(capacity=65536)) as store:
        key = store.create(store.root, b"f", OWNER)
        store.write(key, 0, b"x")
        failing(28, store.write, key, 1 << 20, b"x")
        assert store.getattr(key).size == 1


def test_keys_outlive_a_restart_and_a_rename_meanwhile(folder):
    with closing(LocalFileStore(folder)) as store:
        directory = store.mkdir(store.root, b"d", OWNER)
        key = store.create(directory, b"f", OWNER)
        store.write(key, 0, b"content")
        root = store.root
    (folder / "d").rename(folder / "moved")
    (folder / "moved" / "f").rename(folder / "moved" / "g")
    with closing(LocalFileStore(folder)) as store:
        assert store.root == root
        assert store.read(key, 0, 100) == b"content"
        assert store.lookup(store.lookup(root, b"moved"), b"g") == key


def test_a_new_file_never_has_a_dead_ones_key(folder):
    with closing(LocalFileStore(folder)) as store:
        key = store.create(store.root, b"f", OWNER)
        store.unlink(store.root, b"f")
        for number in range(50):
            assert store.create(store.root, b"%d" % number, OWNER) != key
        failing(ESTALE, store.getattr, key)


def test_a_file_removed_by_others_is_stale(folder):
    with closing(LocalFileStore(folder)) as store:
        key = store.create(store.root, b"f", OWNER)
        (folder / "f").unlink()
        failing(ESTALE, store.getattr, key)


def test_more_files_than_descriptors_are_served_and_all_are_given_back(folder):
    before = open_descriptors()
    with closing(LocalFileStore(folder, descriptors=4)) as store:
        keys = [store.create(store.root, b"%d" % number, OWNER) for number in range(40)]
        for number, key in enumerate(keys):
            store.write(key, 0, b"%d" % number)
        for number, key in enumerate(keys):
            assert store.read(key, 0, 10) == b"%d" % number
        assert len(open_descriptors() - before) <= 2 + 2 * 5
    assert open_descriptors() == before


def test_a_symlink_is_never_followed(folder):
    (folder / "link").symlink_to("/etc")
    with closing(LocalFileStore(folder)) as store:
        link = store.lookup(store.root, b"link")
        assert store.readlink(link) == b"/etc"
        failing(20, store.lookup, link, b"passwd")
        failing(22, store.read, link, 0, 10)


@pytest.mark.parametrize("name", [b"..", b".", b"", b"a/b", b"a\0b"])
def test_only_single_names_reach_the_disk(folder, name):
    with closing(LocalFileStore(folder)) as store:
        failing(22, store.lookup, store.root, name)
        failing(22, store.glance, store.root, name)
        failing(22, store.create, store.root, name, OWNER)
        failing(22, store.unlink, store.root, name)


def test_dotdot_of_a_directory_moved_out_of_the_tree_is_stale(folder):
    root = folder / "root"
    root.mkdir()
    with closing(LocalFileStore(root)) as store:
        key = store.mkdir(store.root, b"d", OWNER)
        (root / "d").rename(folder / "outside")
        failing(ESTALE, store.parent, key)


def test_urls_open_what_they_name_and_others_say_what_to_write(tmp_path):
    with closing(open_file_store(f"file://{tmp_path}")) as store:
        assert store.url == f"file://{tmp_path}"
    open_file_store("memory://").close()
    for url in ("s3://bucket", "file://host/path", "relative", f"file://{tmp_path}/none"):
        with pytest.raises(FileStoreUrlError) as caught:
            open_file_store(url)
        assert caught.value.hint


def test_a_kept_file_outlives_its_last_name_until_it_is_dropped_as_often(store):
    file = store.create(store.root, b"f", OWNER)
    store.write(file, 0, b"kept")
    store.keep(file)
    store.keep(file)
    store.create(store.root, b"g", OWNER)
    store.rename(store.root, b"g", store.root, b"f")
    store.drop(file)
    assert store.read(file, 0, 9) == b"kept"
    store.write(file, 4, b" on")
    before = store.getattr(file)
    store.setattr(file, AttributeChange(size=6))
    assert (store.getattr(file).size, store.getattr(file).links) == (6, 0)
    assert store.getattr(file).change > before.change
    store.sync(file)()
    store.drop(file)
    failing(ESTALE, store.getattr, file)


def test_a_kept_file_with_a_name_stays_when_it_is_dropped(store):
    file = store.create(store.root, b"f", OWNER)
    store.keep(file)
    store.drop(file)
    assert store.getattr(file).links == 1
    store.unlink(store.root, b"f")
    failing(ESTALE, store.keep, file)


def test_a_kept_file_is_there_though_many_others_were_used_meanwhile(folder):
    files = LocalFileStore(folder, descriptors=4)
    try:
        before = open_descriptors()
        file = files.create(files.root, b"f", OWNER)
        files.write(file, 0, b"kept")
        files.keep(file)
        others = [files.create(files.root, b"%d" % number, OWNER) for number in range(9)]
        files.unlink(files.root, b"f")
        for other in others:
            files.write(other, 0, b"x")
        assert files.read(file, 0, 9) == b"kept"
        files.drop(file)
        assert len(open_descriptors()) <= len(before) + 8
    finally:
        files.close()


def test_a_glance_sees_what_peek_sees_but_for_the_change_number(store):
    key = store.create(store.root, b"f", OWNER)
    store.symlink(store.root, b"l", b"nowhere", OWNER)
    store.write(key, 0, b"data")
    for name in (b"f", b"l"):
        assert store.glance(store.root, name)._replace(change=0) == store.peek(store.root, name)[1]._replace(change=0)
    failing(ENOENT, store.glance, store.root, b"none")


def test_names_in_a_directory_that_others_removed_are_stale_and_in_a_file_refused(folder):
    with closing(LocalFileStore(folder)) as store:
        gone = store.mkdir(store.root, b"gone", OWNER)
        file = store.create(store.root, b"file", OWNER)
        assert store.lookup(store.root, b"gone") == gone
        (folder / "gone").rmdir()
        for directory, code in ((gone, ESTALE), (file, ENOTDIR)):
            failing(code, store.lookup, directory, b"a")
            failing(code, store.create, directory, b"a", OWNER)
            failing(code, store.unlink, directory, b"a")
        failing(ENOENT, store.lookup, store.root, b"gone")
        failing(ENOENT, store.unlink, store.root, b"gone")


def test_a_peek_tells_key_and_attributes_of_one_node_though_the_name_changes_hands_between_them(folder, monkeypatch):
    with closing(LocalFileStore(folder)) as store:
        for name, data in ((b"a", b"a"), (b"b", b"longer"), (b"warm", b"")):
            store.write(store.create(store.root, name, OWNER), 0, data)
        store.peek(store.root, b"warm")
        keys, swaps = local_store.choose_keys(folder), [b"b", b"c"]
        key_at = type(keys).key_at

        def swapping(self, directory, name):
            key = key_at(self, directory, name)
            if name == b"a" and swaps:
                (folder / os.fsdecode(swaps.pop(0))).rename(folder / "a")
            return key

        with closing(keys), monkeypatch.context() as patch:
            patch.setattr(type(keys), "key_at", swapping)
            key, attributes = store.peek(store.root, b"a")
        assert swaps == [b"c"]
        assert (attributes.size, store.getattr(key).fileid) == (6, attributes.fileid)


def test_after_two_names_no_descriptor_is_opened_to_peek_at_another(folder, monkeypatch):
    with closing(LocalFileStore(folder)) as store:
        for number in range(4):
            store.create(store.root, b"%d" % number, OWNER)
        found = [store.peek(store.root, b"%d" % number) for number in range(3)]
        monkeypatch.setattr(store, "_peek_surely", None)
        found.append(store.peek(store.root, b"3"))
        assert [store.lookup(store.root, b"%d" % number) for number in range(4)] == [key for key, _ in found]
        assert [attributes.fileid for _, attributes in found] == [(folder / str(n)).stat().st_ino for n in range(4)]
