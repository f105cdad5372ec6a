"""A file store whose files are objects elsewhere; the far side is fsspec's in memory, where every call can be counted and failed."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labemu_store.errors import AbsentError, StoreConfigError, StoreError
from labemu_store.file import AttributeChange, FileStoreUrlError, Ownership, open_file_store
from labemu_store.file.bridge import BridgedFileStore, open_bridge
from labemu_store.file.bridge.far import MARK
from labemu_store.file.bridge.ledger import CHUNK
from labemu_store.file.types import XattrMode

OWNER = Ownership(mode=0o640, uid=os.geteuid(), gid=os.getegid())
T = TypeVar("T")


@pytest.fixture
def far(unique: str) -> Iterator[Far]:
    it = Far(unique)
    yield it
    it.clear()


class Far:
    """The far side, seen from behind."""

    def __init__(self, name: str) -> None:
        self.url = f"memory://{name}"
        self._prefix = f"/{name}"
        self._files = fsspec.filesystem("memory")

    def put(self, path: str, content: bytes) -> None:
        self._files.pipe_file(f"{self._prefix}/{path}", content)

    def remove(self, path: str) -> None:
        self._files.rm_file(f"{self._prefix}/{path}")

    def files(self) -> dict[str, bytes]:
        names = self._files.find(self._prefix)
        found = {name[len(self._prefix) + 1 :]: self._files.cat_file(name) for name in names}
        found.pop(MARK, None)
        return found

    def clear(self) -> None:
        if self._files.exists(self._prefix):
            self._files.rm(self._prefix, recursive=True)


def done(call: Callable[..., T], *arguments: Any, **options: Any) -> T:
    """What an engine does: have fetched what is absent, and ask again."""
    while True:
        try:
            return call(*arguments, **options)
        except AbsentError as absent:
            absent.fetch()


def write(store: BridgedFileStore, name: str, content: bytes, offset: int = 0) -> bytes:
    *folders, last = name.encode().split(b"/")
    at = store.root
    for each in folders:
        try:
            at = store.lookup(at, each)
        except FileNotFoundError:
            at = store.mkdir(at, each, OWNER)
    try:
        key = store.lookup(at, last)
    except FileNotFoundError:
        key = store.create(at, last, OWNER)
    done(store.write, key, offset, content)
    return key


def find(store: BridgedFileStore, name: str) -> bytes:
    at = store.root
    for each in name.encode().split(b"/"):
        at = store.lookup(at, each)
    return at


def content(store: BridgedFileStore, name: str) -> bytes:
    key = find(store, name)
    return done(store.read, key, 0, store.getattr(key).size)


def kill(store: BridgedFileStore) -> None:
    """End it as a kill would: nothing more is carried or noted."""
    store._courier.stop()
    store._ledger.close()
    super(BridgedFileStore, store).close()
    store._closed(False)


def failing(code: int, call: Callable[..., object], *arguments: Any) -> None:
    with pytest.raises(OSError) as caught:  # noqa: PT011 - its errno is checked below
        call(*arguments)
    assert caught.value.errno == code


def test_the_far_side_becomes_like_the_tree(far, tmp_path) -> None:
    with closing(open_bridge(far.url, folder=tmp_path)) as store:
        write(store, "a", b"one")
        write(store, "d/e/b", b"two")
        write(store, "d/c", b"three")
        store.carry()
        assert far.files() == {"a": b"one", "d/e/b": b"two", "d/c": b"three"}
        store.rename(store.root, b"d", store.root, b"f")
        store.unlink(store.root, b"a")
        write(store, "f/c", b"TH")
        store.carry()
        assert far.files() == {"f/e/b": b"two", "f/c": b"THree"}
        assert not store.waiting


def test_what_changed_is_carried_after_a_quiet_moment_without_being_asked(far, tmp_path, monkeypatch) -> None:
    from labctl.testing.waiting import wait_for

    monkeypatch.setattr("labemu_store.file.bridge.courier.QUIET", 0.05)
    with closing(open_bridge(far.url, folder=tmp_path)) as store:
        write(store, "a", b"one")
        wait_for(lambda: far.files() == {"a": b"one"}, 60)


def test_files_of_the_far_side_are_there_and_are_fetched_when_they_are_read(far, tmp_path) -> None:
    far.put("big", bytes(range(256)) * 4096 * 20)
    far.put("d/small", b"hello")
    with closing(open_bridge(far.url, folder=tmp_path)) as store:
        key = find(store, "big")
        attributes = store.getattr(key)
        assert (attributes.size, attributes.used) == (20 * CHUNK, 0)
        with pytest.raises(AbsentError) as caught:
            store.read(key, 5 * CHUNK + 7, 10)
        caught.value.fetch()
        assert store.read(key, 5 * CHUNK + 7, 10) == bytes(range(7, 17))
        after = store.getattr(key)
        assert (after.used, after.mtime) == (CHUNK, attributes.mtime)
        assert content(store, "d/small") == b"hello"
        store.carry()
        assert store.getattr(key).used == CHUNK, "what is as it was is not fetched to be uploaded"


def test_a_whole_chunk_that_is_written_need_not_be_fetched(far, tmp_path) -> None:
    far.put("big", b"o" * 3 * CHUNK)
    with closing(open_bridge(far.url, folder=tmp_path)) as store:
        key = find(store, "big")
        store.write(key, CHUNK, b"n" * CHUNK)
        store.write(key, 2 * CHUNK, b"n" * (CHUNK + 5))
        with pytest.raises(AbsentError):
            store.write(key, CHUNK - 1, b"n")
        store.carry()
        assert far.files() == {"big": b"o" * CHUNK + b"n" * (2 * CHUNK + 5)}


def test_what_was_cut_off_does_not_come_back(far, tmp_path) -> None:
    far.put("big", b"o" * 3 * CHUNK)
    with closing(open_bridge(far.url, folder=tmp_path)) as store:
        key = find(store, "big")
        store.setattr(key, AttributeChange(size=CHUNK + 10))
        store.setattr(key, AttributeChange(size=2 * CHUNK))
        assert content(store, "big") == b"o" * (CHUNK + 10) + bytes(CHUNK - 10)
        store.carry()
        assert far.files()["big"] == b"o" * (CHUNK + 10) + bytes(CHUNK - 10)


STEP = st.one_of(
    st.tuples(st.just("write"), st.integers(0, 3 * CHUNK), st.sampled_from([1, 100, CHUNK, CHUNK + 1, 2 * CHUNK])),
    st.tuples(st.just("cut"), st.integers(0, 4 * CHUNK), st.just(0)),
    st.tuples(st.just("read"), st.integers(0, 4 * CHUNK), st.sampled_from([1, CHUNK])),
    st.tuples(st.sampled_from(["carry", "close", "kill"]), st.just(0), st.just(0)),
)


@settings(max_examples=25, deadline=None)
@given(steps=st.lists(STEP, max_size=12))
def test_a_file_has_the_bytes_that_were_written_whatever_happens_between(tmp_path_factory, steps) -> None:
    folder = tmp_path_factory.mktemp("bridge")
    far = Far(folder.name)
    model = bytearray(os.urandom(1024) * (3 * CHUNK // 1024))
    far.put("f", bytes(model))
    store = open_bridge(far.url, folder=folder)
    try:
        for number, (step, at, size) in enumerate(steps):
            key = find(store, "f")
            if step == "write":
                data = bytes([number + 1]) * size
                done(store.write, key, at, data)
                model.extend(bytes(max(0, at - len(model))))
                model[at : at + size] = data
                store.sync(key)()
            elif step == "cut":
                store.setattr(key, AttributeChange(size=at))
                store.sync(key)()
                model[at:] = b""
                model.extend(bytes(at - len(model)))
            elif step == "read":
                assert done(store.read, key, at, size) == model[at : at + size]
            elif step == "carry":
                store.carry()
                assert far.files()["f"] == model
            else:
                kill(store) if step == "kill" else store.close()
                store = open_bridge(far.url, folder=folder)
        assert content(store, "f") == model
    finally:
        store.close()
    assert far.files()["f"] == model
    far.clear()


def test_what_was_not_uploaded_survives_a_kill_and_so_do_handles(far, tmp_path) -> None:
    far.put("old", b"o" * 2 * CHUNK)
    store = open_bridge(far.url, folder=tmp_path)
    new = write(store, "new", b"one")
    old = write(store, "old", b"n" * 5)
    store.sync(old)()
    kill(store)
    assert far.files() == {"old": b"o" * 2 * CHUNK}
    with closing(open_bridge(far.url, folder=tmp_path)) as store:
        assert store.read(new, 0, 10) == b"one"
        assert done(store.read, old, 0, 6) == b"nnnnno"
        store.carry()
        assert far.files() == {"new": b"one", "old": b"nnnnn" + b"o" * (2 * CHUNK - 5)}


def test_a_removal_and_a_rename_survive_a_kill(far, tmp_path) -> None:
    far.put("gone", b"x")
    far.put("here", b"y")
    store = open_bridge(far.url, folder=tmp_path)
    store.unlink(store.root, b"gone")
    store.rename(store.root, b"here", store.root, b"there")
    kill(store)
    with closing(open_bridge(far.url, folder=tmp_path)) as store:
        store.carry()
        assert far.files() == {"there": b"y"}
        assert content(store, "there") == b"y"


def test_names_that_are_exchanged_keep_their_bytes(far, tmp_path) -> None:
    far.put("a", b"A" * CHUNK)
    far.put("b", b"B" * 2 * CHUNK)
    with closing(open_bridge(far.url, folder=tmp_path)) as store:
        for name, to in ((b"a", b"t"), (b"b", b"a"), (b"t", b"b")):
            store.rename(store.root, name, store.root, to)
        store.carry()
        assert far.files() == {"a": b"B" * 2 * CHUNK, "b": b"A" * CHUNK}
        assert content(store, "a") == b"B" * 2 * CHUNK
        assert content(store, "b") == b"A" * CHUNK


def test_a_file_that_is_open_keeps_its_bytes_when_its_name_goes(far, tmp_path) -> None:
    far.put("a", b"A" * CHUNK)
    with closing(open_bridge(far.url, folder=tmp_path)) as store:
        key = find(store, "a")
        store.keep(key)
        done(store.unlink, store.root, b"a")
        store.carry()
        assert far.files() == {}
        assert store.read(key, 0, CHUNK) == b"A" * CHUNK
        store.drop(key)


def test_what_others_did_meanwhile_is_seen_at_the_next_opening(far, tmp_path) -> None:
    for name in ("same", "other", "gone"):
        far.put(name, name.encode())
    with closing(open_bridge(far.url, folder=tmp_path)) as store:
        assert content(store, "other") == b"other"
    far.put("other", b"another")
    far.put("new", b"new")
    far.remove("gone")
    with closing(open_bridge(far.url, folder=tmp_path)) as store:
        assert [content(store, name) for name in ("same", "other", "new")] == [b"same", b"another", b"new"]
        failing(errno.ENOENT, store.lookup, store.root, b"gone")


def test_ours_wins_where_a_file_was_changed_here_and_there(far, tmp_path, caplog) -> None:
    far.put("both", b"before")
    store = open_bridge(far.url, folder=tmp_path)
    store.sync(write(store, "both", b"ours.."))()
    write(store, "twice", b"ours")
    kill(store)
    far.put("both", b"theirs")
    far.put("twice", b"theirs")
    with closing(open_bridge(far.url, folder=tmp_path)) as store:
        store.carry()
        assert far.files() == {"both": b"ours..", "twice": b"ours"}
    assert "twice was changed here and at the far side: ours goes there" in caplog.text


def test_names_that_no_file_can_have_are_left_out_and_said(far, tmp_path, caplog) -> None:
    for name in ("a/b", "a", "n" * 300, "fine"):
        far.put(name, b"x")
    with closing(open_bridge(far.url, folder=tmp_path)) as store:
        assert content(store, "fine") == b"x"
    assert "is a file and a folder at once, and the one is left out" in caplog.text
    assert "cannot be a file's name, and is left out" in caplog.text
    assert set(far.files()) == {"a/b", "a", "n" * 300, "fine"}, "what is left out stays"


def test_what_objects_cannot_do_is_refused(far, tmp_path) -> None:
    with closing(open_bridge(far.url, folder=tmp_path)) as store:
        key = write(store, "a", b"")
        it = store.capabilities
        assert (it.hard_links, it.symlinks, it.special_files, it.xattrs) == (False, False, False, False)
        failing(errno.EOPNOTSUPP, store.link, key, store.root, b"b")
        failing(errno.EOPNOTSUPP, store.symlink, store.root, b"b", b"a", OWNER)
        failing(errno.EOPNOTSUPP, store.mknod, store.root, b"b", 7, (0, 0), OWNER)
        failing(errno.EOPNOTSUPP, store.setxattr, key, b"x", b"y", XattrMode.EITHER)
        for call in (store.getxattr, store.removexattr):
            failing(errno.EOPNOTSUPP, call, key, b"x")
        failing(errno.EOPNOTSUPP, store.listxattr, key)
        for call in (store.create, store.mkdir):
            failing(errno.EINVAL, call, store.root, b"\xff", OWNER)
        failing(errno.EINVAL, store.rename, store.root, b"a", store.root, b"\xff")


def test_holes_and_copies_are_of_whole_files(far, tmp_path) -> None:
    far.put("a", b"A" * CHUNK + bytes(CHUNK))
    with closing(open_bridge(far.url, folder=tmp_path)) as store:
        key = find(store, "a")
        to = store.create(store.root, b"b", OWNER)
        done(done(store.copy, key, 0, to, 0, CHUNK + 5))
        assert done(store.seek, key, 0, data=False) in (CHUNK, 2 * CHUNK)
        done(store.deallocate, key, 0, 10)
        done(store.allocate, key, 2 * CHUNK, 10)
        store.carry()
        assert far.files()["b"] == b"A" * CHUNK + bytes(5)
        assert far.files()["a"] == bytes(10) + b"A" * (CHUNK - 10) + bytes(CHUNK + 10)


def test_durable_is_at_the_far_side_where_that_is_asked_for(far, tmp_path) -> None:
    with closing(open_bridge(far.url, folder=tmp_path, durable_far=True)) as store:
        key = write(store, "a", b"one")
        store.sync(key)()
        assert far.files() == {"a": b"one"}
        store.rename(store.root, b"a", store.root, b"b")
        store.sync(store.root)()
        assert far.files() == {"b": b"one"}


class Broken:
    """Makes the far side fail as long as it is `on`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
        self.on = True
        for name in names:
            real = getattr(fsspec.get_filesystem_class("memory"), name)

            def fails(*arguments: Any, real: Any = real, **options: Any) -> Any:
                if self.on:
                    raise ConnectionRefusedError(errno.ECONNREFUSED, "secret words")
                return real(*arguments, **options)

            monkeypatch.setattr(fsspec.get_filesystem_class("memory"), name, fails)


def test_a_far_side_that_cannot_be_reached_loses_nothing(far, tmp_path, monkeypatch, caplog) -> None:
    far.put("there", b"x" * 10)
    store = open_bridge(far.url, folder=tmp_path)
    write(store, "new", b"one")
    broken = Broken(monkeypatch, "put_file", "cat_file")
    with pytest.raises(AbsentError) as caught:
        store.read(find(store, "there"), 0, 10)
    with pytest.raises(StoreError) as failed:
        caught.value.fetch()
    assert failed.value.errno == errno.ETIMEDOUT, "the client is told to try again"
    store.close()
    assert f"what was not uploaded is kept in {tmp_path}" in caplog.text
    assert "secret" not in caplog.text
    broken.on = False
    with closing(open_bridge(far.url, folder=tmp_path)) as store:
        store.carry()
        assert content(store, "there") == b"x" * 10
        assert far.files()["new"] == b"one"


def test_a_tree_that_is_known_is_served_while_the_far_side_is_away(far, tmp_path, monkeypatch, caplog) -> None:
    far.put("a", b"A")
    with closing(open_bridge(far.url, folder=tmp_path / "known")) as store:
        assert content(store, "a") == b"A"
    broken = Broken(monkeypatch, "find", "cat_file", "pipe_file")
    with pytest.raises(StoreConfigError, match="Connection refused"):
        open_bridge(far.url, folder=tmp_path / "new")
    with closing(open_bridge(far.url, folder=tmp_path / "known")) as store:
        assert content(store, "a") == b"A"
        write(store, "b", b"B")
        broken.on = False
        store.carry()
        assert far.files() == {"a": b"A", "b": b"B"}
    assert "serving what was known" in caplog.text


def test_files_that_come_otherwise_are_carried_too(far, tmp_path) -> None:
    far.put("a", b"A" * 2 * CHUNK)
    with closing(open_bridge(far.url, folder=tmp_path)) as store:
        (tmp_path / "tree/b").write_bytes(b"B")
        store.look()
        assert store.waiting
        store.complete("a")
        store.complete("b")
        assert store.read(find(store, "a"), 0, 1) == b"A"
        store.carry()
        assert far.files() == {"a": b"A" * 2 * CHUNK, "b": b"B"}


def test_an_object_that_became_shorter_behind_our_back_is_an_error_and_not_zeroes(far, tmp_path) -> None:
    far.put("a", b"A" * 100)
    with closing(open_bridge(far.url, folder=tmp_path)) as store:
        far.put("a", b"A" * 50)
        failing(errno.EIO, content, store, "a")


def test_a_temporary_folder_goes_when_all_is_uploaded(far) -> None:
    store = open_bridge(far.url)
    folder = Path(store._path).parent
    write(store, "a", b"one")
    assert folder.is_dir()
    store.close()
    assert not folder.exists()
    assert far.files() == {"a": b"one"}


def test_a_tree_and_a_folder_are_one_servers_at_a_time(far, tmp_path) -> None:
    with closing(open_bridge(far.url, folder=tmp_path / "a")):
        with pytest.raises(StoreConfigError, match="is used by another server") as caught:
            open_bridge(far.url, folder=tmp_path / "a")
        assert caught.value.hint == "give each export a folder of its own"
        with pytest.raises(StoreConfigError, match="it is used by another target") as caught:
            open_bridge(far.url, folder=tmp_path / "b")
        assert MARK in caught.value.hint
    with pytest.raises(StoreConfigError, match=f"holds files of {far.url}"):
        open_bridge(f"{far.url}-other", folder=tmp_path / "a")
    with closing(open_bridge(far.url, folder=tmp_path / "b")):
        pass


@pytest.mark.parametrize(
    ("url", "message", "hint"),
    [
        ("nosuch://b/p", "nosuch://b/p: nosuch:// is no filesystem that fsspec knows", "such as s3://"),
        ("s3://b/p?size=1", "s3://b/p: unknown option 'size'", "There are: durable, folder."),
        ("s3://b/p?durable=yes", "s3://b/p: durable=yes", "Write durable=folder or durable=far."),
        ("s3://b/p?folder=x", "s3://b/p: folder=x", "Write the folder as an absolute path."),
    ],
)
def test_bad_urls_say_what_to_write(url, message, hint) -> None:
    with pytest.raises(FileStoreUrlError) as caught:
        open_file_store(url)
    assert message in caught.value.message
    assert hint in caught.value.hint
