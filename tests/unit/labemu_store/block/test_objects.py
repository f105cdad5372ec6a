"""Disks on filesystems that are not this machine's: chunks, objects, and changes that wait."""

from __future__ import annotations

import errno
import random
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from labemu_store.block import open_block_store
from labemu_store.block.objects import ObjectStore, open_objects
from labemu_store.block.writeback import WriteBackStore
from labemu_store.errors import StoreConfigError, StoreError
from labemu_store.remote.opening import redacted

KIB = 1 << 10
SIZE = 64 * KIB
CHUNK = 16 * KIB


@pytest.fixture(params=["memory", "local"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Any, str]]:
    if request.param == "local":
        yield LocalFileSystem(), str(tmp_path / "remote")
        return
    filesystem = MemoryFileSystem()
    yield filesystem, "/test-objects/disk"
    filesystem.rm("/test-objects", recursive=True)


def opened(place: tuple[Any, str], size: int | None = None) -> ObjectStore:
    return open_objects(place[0], place[1], size=size, chunk=CHUNK)


def test_a_model_agrees_through_any_operations(place: tuple[Any, str], tmp_path: Path) -> None:
    chance = random.Random(11)
    model = bytearray(SIZE)
    store = WriteBackStore(opened(place, SIZE), folder=tmp_path / "waiting", limit=40 * KIB)
    for _ in range(300):
        offset = chance.randrange(SIZE)
        length = chance.randrange(min(20000, SIZE - offset) + 1)
        action = chance.choice(("write", "write", "unmap", "flush", "again"))
        if action == "write":
            data = chance.randbytes(length)
            store.write(offset, data)
            model[offset : offset + length] = data
        elif action == "unmap":
            store.unmap(offset, length)
            model[offset : offset + length] = bytes(length)
        elif action == "flush":
            store.flush()
            assert bytes(opened(place).read(0, SIZE)) == model
        else:
            store.close()
            store = WriteBackStore(opened(place), folder=tmp_path / "waiting", limit=40 * KIB)
        assert bytes(store.read(0, SIZE)) == model
        assert sum(extent.length for extent in store.extents(0, SIZE)) == SIZE
    store.close()


def test_only_a_flush_brings_changes_to_the_filesystem(place: tuple[Any, str]) -> None:
    store = WriteBackStore(opened(place, SIZE))
    store.write(100, b"waits")
    assert not place[0].exists(f"{place[1]}/chunks/000000000000")
    store.flush()
    assert place[0].cat_file(f"{place[1]}/chunks/000000000000") == bytes(100) + b"waits"
    store.close()


def test_unmap_removes_chunks(place: tuple[Any, str]) -> None:
    store = WriteBackStore(opened(place, SIZE))
    store.write(0, b"x" * SIZE)
    store.flush()
    assert opened(place).allocated() == SIZE
    store.unmap(0, 2 * CHUNK)
    store.flush()
    assert opened(place).allocated() == SIZE - 2 * CHUNK
    assert [extent.is_data for extent in opened(place).extents(0, SIZE)] == [False, True]
    store.close()


def test_a_disk_is_resized(place: tuple[Any, str]) -> None:
    store = WriteBackStore(opened(place, SIZE))
    store.write(SIZE - 4, b"tail")
    store.resize(2 * SIZE)
    store.write(2 * SIZE - 3, b"end")
    store.resize(SIZE - 2)
    store.resize(SIZE)
    store.close()
    assert bytes(opened(place).read(SIZE - 4, 4)) == b"ta\0\0"


_KILLED = """
import os, signal, sys
from fsspec.implementations.local import LocalFileSystem
from pathlib import Path
from labemu_store.block.objects import open_objects
from labemu_store.block.writeback import WriteBackStore
store = WriteBackStore(open_objects(LocalFileSystem(), sys.argv[1], size=65536), folder=Path(sys.argv[2]))
store.write(1000, b"acknowledged")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_waits_in_a_folder_outlives_a_kill(tmp_path: Path) -> None:
    remote, folder = tmp_path / "remote", tmp_path / "waiting"
    subprocess.run([sys.executable, "-c", _KILLED, str(remote), str(folder)], check=False, timeout=60)
    assert bytes(open_objects(LocalFileSystem(), str(remote)).read(1000, 4)) == bytes(4)
    store = WriteBackStore(open_objects(LocalFileSystem(), str(remote)), folder=folder)
    assert store.capabilities.survives_kill
    assert bytes(store.read(1000, 12)) == b"acknowledged"
    store.close()
    assert bytes(open_objects(LocalFileSystem(), str(remote)).read(1000, 12)) == b"acknowledged"


def test_without_a_folder_nothing_is_promised(place: tuple[Any, str]) -> None:
    store = WriteBackStore(opened(place, SIZE))
    assert not store.capabilities.survives_kill
    assert store.capabilities.blocking
    store.close()


def test_writes_go_on_while_a_flush_uploads(place: tuple[Any, str]) -> None:
    store = WriteBackStore(opened(place, SIZE))
    stop, count = threading.Event(), [0]

    def work() -> None:
        while not stop.is_set():
            count[0] += 1
            store.write(512 * (count[0] % 64), count[0].to_bytes(8, "big") * 64)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        for _ in range(20):
            store.flush()
    finally:
        stop.set()
        worker.join()
    store.close()
    again = opened(place)
    for number in range(max(1, count[0] - 63), count[0] + 1):
        assert bytes(again.read(512 * (number % 64), 8)) == number.to_bytes(8, "big")


def test_a_flush_that_fails_halfway_keeps_what_it_has_brought(monkeypatch: pytest.MonkeyPatch) -> None:
    filesystem = MemoryFileSystem()
    chunks = 50
    store = WriteBackStore(open_objects(filesystem, "/test-halfway/disk", size=chunks * CHUNK, chunk=CHUNK))
    store.write(0, b"x" * chunks * CHUNK)
    put, left = filesystem.pipe_file, [20]

    def fail(path: str, value: bytes, **options: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise ConnectionResetError(errno.ECONNRESET, "cut")
        put(path, value, **options)

    with monkeypatch.context() as patch:
        patch.setattr(filesystem, "pipe_file", fail)
        with pytest.raises(StoreError):
            store.flush()
    assert store.waiting == (chunks - 16) * CHUNK  # one batch has arrived
    with monkeypatch.context() as patch:
        left[0] = chunks - 16  # and is not brought again
        patch.setattr(filesystem, "pipe_file", fail)
        store.flush()
    assert store.waiting == 0
    assert len(filesystem.ls("/test-halfway/disk/chunks")) == chunks
    store.close()
    filesystem.rm("/test-halfway", recursive=True)


def test_chunks_that_are_written_in_part_are_fetched_several_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    filesystem = MemoryFileSystem()
    first = open_objects(filesystem, "/test-fetch/disk", size=8 * CHUNK, chunk=CHUNK)
    first.write(0, b"o" * 8 * CHUNK)
    first.flush()
    store = WriteBackStore(open_objects(filesystem, "/test-fetch/disk"))
    for index in range(8):
        store.write(index * CHUNK + 4096, b"n" * 4096)
    together, cat = threading.Barrier(8), filesystem.cat_file

    def slowly(path: str, **options: Any) -> bytes:
        together.wait(60)  # all eight are asked for before any is answered
        content: bytes = cat(path, **options)
        return content

    with monkeypatch.context() as patch:
        patch.setattr(filesystem, "cat_file", slowly)
        store.flush()
    store.close()
    expected = (b"o" * 4096 + b"n" * 4096 + b"o" * (CHUNK - 8192)) * 8
    assert bytes(open_objects(filesystem, "/test-fetch/disk").read(0, 8 * CHUNK)) == expected
    filesystem.rm("/test-fetch", recursive=True)


def test_an_upload_that_finds_the_way_closed_spares_the_others_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    filesystem = MemoryFileSystem()
    store = open_objects(filesystem, "/test-spare/disk", size=16 * CHUNK, chunk=CHUNK)
    store.write(0, b"x" * 16 * CHUNK)
    attempts = []

    def fail(path: str, value: bytes) -> None:
        attempts.append(path)
        raise TimeoutError

    with monkeypatch.context() as patch:
        patch.setattr(filesystem, "pipe_file", fail)
        with pytest.raises(StoreError):
            store.flush()
    assert len(attempts) <= 9  # those that were under way
    store.close()
    assert filesystem.exists("/test-spare/disk/chunks/00000000000f")
    filesystem.rm("/test-spare", recursive=True)


def test_a_failed_flush_says_no_secret_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    filesystem = MemoryFileSystem()
    store = WriteBackStore(open_objects(filesystem, "/test-fail/disk", size=SIZE, chunk=CHUNK))
    store.write(0, b"kept")

    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError("403 for key SECRET")

    with monkeypatch.context() as patch:
        patch.setattr(filesystem, "pipe_file", fail)
        with pytest.raises(StoreError) as caught:
            store.flush()
    assert caught.value.errno == errno.EIO
    assert "SECRET" not in str(caught.value)
    store.flush()
    assert filesystem.cat_file("/test-fail/disk/chunks/000000000000") == b"kept"
    store.close()
    filesystem.rm("/test-fail", recursive=True)


def test_a_member_of_a_zip_is_a_read_only_disk(tmp_path: Path) -> None:
    content = random.Random(1).randbytes(3 << 20)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("disk.img", content)
    store = open_block_store(f"zip://disk.img::file://{tmp_path}/a.zip")
    assert store.capabilities.read_only
    assert not store.capabilities.thin
    assert bytes(store.read((1 << 20) - 5, 10)) == content[(1 << 20) - 5 : (1 << 20) + 5]
    with pytest.raises(StoreError, match="Read-only"):
        store.write(0, b"x")
    store.close()


def test_a_url_opens_chunks_and_keeps_them(tmp_path: Path) -> None:
    url = f"local://{tmp_path}/disk"
    with pytest.raises(StoreConfigError, match="no disk at this URL"):
        open_block_store(url)
    first = open_block_store(f"{url}?size=1MiB&chunk=64KiB&folder={tmp_path}/waiting")
    first.write(70000, b"kept")
    first.close()
    again = open_block_store(f"{url}?readonly=1")
    assert bytes(again.read(70000, 4)) == b"kept"
    assert again.capabilities.read_only
    again.close()


def test_messages_carry_no_credentials() -> None:
    assert redacted("ftp://me:secret@host/disk?key=hidden") == "ftp://host/disk"
    with pytest.raises(StoreConfigError) as caught:
        open_block_store("ftp://me:secret@127.0.0.1:1/disk?size=1MiB")
    assert "secret" not in str(caught.value) + caught.value.hint
