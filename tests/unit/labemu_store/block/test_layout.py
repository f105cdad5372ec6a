"""A disk is made as a whole and removed as a whole, whatever interrupts that."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from labemu_store.block import layout
from labemu_store.block.layout import Manifest
from labemu_store.block.objects import open_objects
from labemu_store.errors import StoreConfigError, StoreError

CHUNK = 4096


@pytest.fixture(params=["memory", "local"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Any, str]]:
    if request.param == "local":
        yield LocalFileSystem(), str(tmp_path / "remote" / "disk")
        return
    filesystem = MemoryFileSystem()
    yield filesystem, "/test-layout/disk"
    if filesystem.exists("/test-layout"):
        filesystem.rm("/test-layout", recursive=True)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image"
    path.write_bytes(random.Random(3).randbytes(3 * CHUNK) + bytes(5 * CHUNK) + b"end")
    return path


def test_a_disk_begins_with_its_image_and_keeps_no_zeroes(place: tuple[Any, str], image: Path) -> None:
    filesystem, path = place
    layout.create(filesystem, path, Manifest(64 * CHUNK, CHUNK), source=image)
    store = open_objects(filesystem, path)
    assert store.size == 64 * CHUNK
    content = image.read_bytes()
    assert bytes(store.read(0, 64 * CHUNK)) == content.ljust(64 * CHUNK, b"\0")
    assert store.allocated() == 3 * CHUNK + 3


def test_a_disk_that_was_interrupted_is_none_and_is_made_anew(
    place: tuple[Any, str], image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filesystem, path = place
    with monkeypatch.context() as patch:
        patch.setattr(layout, "put_manifest", lambda *_: (_ for _ in ()).throw(StoreError(5, "cut")))
        with pytest.raises(StoreError):
            layout.create(filesystem, path, Manifest(64 * CHUNK, CHUNK), source=image)
    assert layout.read_manifest(filesystem, path) is None
    with pytest.raises(StoreConfigError, match="without its manifest"):
        open_objects(filesystem, path, size=64 * CHUNK)
    layout.create(filesystem, path, Manifest(16 * CHUNK, CHUNK), over=True)
    assert open_objects(filesystem, path).allocated() == 0


def test_a_disk_is_removed_with_what_an_interruption_left(place: tuple[Any, str], image: Path) -> None:
    filesystem, path = place
    layout.create(filesystem, path, Manifest(64 * CHUNK, CHUNK), source=image)
    filesystem.pipe_file(f"{path}/chunks/000000000001.new", b"a draft")
    layout.remove(filesystem, path)
    assert not filesystem.find(path.rpartition("/")[0])
    layout.remove(filesystem, path)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"no json", "damaged"),
        (b"[]", "damaged"),
        (b'{"size": 5}', "damaged"),
        (b'{"version": 1, "size": 5}', "later version"),
        (b'{"version": 2, "size": 5, "chunk": 4096}', "later version"),
    ],
)
def test_a_manifest_that_cannot_be_read_is_never_written_over(place: tuple[Any, str], body: bytes, words: str) -> None:
    filesystem, path = place
    filesystem.makedirs(path, exist_ok=True)
    filesystem.pipe_file(f"{path}/manifest.json", body)
    with pytest.raises(StoreConfigError, match=words):
        open_objects(filesystem, path, size=CHUNK)
    assert filesystem.cat_file(f"{path}/manifest.json") == body


def test_a_chunk_that_was_cut_short_behind_our_back_is_an_error(place: tuple[Any, str], image: Path) -> None:
    filesystem, path = place
    layout.create(filesystem, path, Manifest(64 * CHUNK, CHUNK), source=image)
    store = open_objects(filesystem, path)
    filesystem.pipe_file(layout.chunk_name(path, 1), b"short")
    with pytest.raises(StoreError, match="size is not what it was"):
        store.read(0, 64 * CHUNK)
