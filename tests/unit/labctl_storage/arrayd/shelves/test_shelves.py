"""Each place for volumes keeps what it promises: they are made once, as a whole, kept, and removed with everything of them."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from labctl.errors import LabError
from labctl_storage.arrayd.registry import DatastoreRecord, VolumeRecord
from labctl_storage.arrayd.shelves.build import ShelfConfig, build_shelf
from labctl_storage.arrayd.shelves.memory import MemoryShelf
from labctl_storage.arrayd.shelves.objects import ObjectShelf, read_secret
from labctl_storage.arrayd.shelves.shelf import Shelf
from labemu_store.block.awaited import AwaitedStore
from labemu_store.errors import StoreConfigError

MIB = 1 << 20
GOLD = DatastoreRecord(name="gold", protocol="iscsi", size=64 * MIB, where="iqn.2026-11.lab:gold")


@pytest.fixture(params=["file", "memory", "elsewhere"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Shelf]:
    url = {
        "file": (tmp_path / "remote").as_uri(),
        "memory": "memory://",
        "elsewhere": f"local://{tmp_path}/remote",
    }[request.param]
    config = ShelfConfig(backing=url, folder=tmp_path / "data", cache=4 * MIB)
    made = build_shelf(config, tmp_path / "agent", None)

    def again() -> Shelf:
        return made if isinstance(made, MemoryShelf) else build_shelf(config, tmp_path / "agent", None)

    return again


def volume(size: int = 4 * MIB, source: Path | None = None) -> VolumeRecord:
    return VolumeRecord(datastore="gold", name="a", size=size, lun=0, source=source)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image"
    path.write_bytes(random.Random(9).randbytes(2 * MIB + 5) + bytes(MIB))
    return path


def test_a_volume_begins_with_its_image_keeps_what_is_written_and_grows(make: Callable[[], Shelf], image: Path) -> None:
    shelf = make()
    shelf.prepare(GOLD)
    shelf.make(GOLD, volume(source=image))
    store = shelf.open(GOLD, volume(), later=False)
    content = image.read_bytes()
    assert bytes(store.read(0, len(content))) == content
    store.write(3 * MIB, b"mine")
    store.close()
    assert shelf.used(GOLD) >= 0  # a disk that is not offered does not keep the others from being told of
    shelf = make()
    shelf.make(GOLD, volume(source=image))
    store = shelf.open(GOLD, volume(8 * MIB), later=True)
    assert bytes(store.read(3 * MIB, 4)) == b"mine"
    assert bytes(store.read(7 * MIB, 4)) == bytes(4)
    assert store.size == 8 * MIB
    assert 2 * MIB <= shelf.used(GOLD) <= 4 * MIB
    assert shelf.properties(GOLD, volume())["used"] == shelf.used(GOLD)
    store.close()


def test_nothing_is_left_of_a_volume_that_was_removed(make: Callable[[], Shelf], tmp_path: Path, image: Path) -> None:
    shelf = make()
    shelf.prepare(GOLD)
    shelf.make(GOLD, volume(source=image))
    store = shelf.open(GOLD, volume(), later=False)
    store.write(0, b"x" * MIB)
    shelf.state(GOLD, "a").save(b"reserved")
    store.close()
    for _ in range(2):
        shelf.destroy(GOLD, "a")
    shelf.withdraw(GOLD)
    shelf.make(GOLD, volume())
    store = shelf.open(GOLD, volume(), later=False)
    assert bytes(store.read(0, MIB)) == bytes(MIB)
    assert shelf.state(GOLD, "a").load() is None
    store.close()
    shelf.destroy(GOLD, "a")
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path != image]


def test_an_image_that_does_not_fit_is_refused(make: Callable[[], Shelf], image: Path) -> None:
    shelf = make()
    shelf.prepare(GOLD)
    with pytest.raises(LabError, match="too small for its image"):
        shelf.make(GOLD, volume(MIB, image))
    with pytest.raises(LabError, match="is gone"):
        shelf.make(GOLD, volume(MIB, image.with_name("none")))


def test_only_volumes_in_files_have_paths_and_only_those_in_memory_end_with_the_agent(tmp_path: Path) -> None:
    paths, kept = {}, {}
    for url in ("file:///srv", "memory://", "s3://bucket/x"):
        shelf = build_shelf(ShelfConfig(backing=url), tmp_path, None)
        paths[url], kept[url] = shelf.path(GOLD, "a") is not None, shelf.outlives_agent
    assert paths == {"file:///srv": True, "memory://": False, "s3://bucket/x": False}
    assert kept == {"file:///srv": True, "memory://": False, "s3://bucket/x": True}


def elsewhere(tmp_path: Path, secret: Path | None = None) -> ObjectShelf:
    return ObjectShelf(
        "local://" + str(tmp_path / "remote"), tmp_path / "data", cache=MIB, options={}, secret=secret, executor=None
    )


def test_what_waits_is_told_kept_for_the_next_agent_and_forgotten_with_the_volume(tmp_path: Path) -> None:
    shelf = elsewhere(tmp_path)
    shelf.prepare(GOLD)
    shelf.make(GOLD, volume())
    store = shelf.open(GOLD, volume(), later=False)
    store.write(0, b"x" * 8192)
    assert shelf.properties(GOLD, volume())["waiting"] == 8192
    assert (tmp_path / "data" / "gold" / "a.waiting").is_dir()
    assert isinstance(store, AwaitedStore)
    store.discard()
    store.close()
    again = elsewhere(tmp_path)
    assert bytes(again.open(GOLD, volume(), later=True).read(0, 4)) == b"xxxx"
    again.destroy(GOLD, "a")
    again.withdraw(GOLD)
    assert not (tmp_path / "data").exists()


def test_an_interrupted_copy_is_made_anew(tmp_path: Path, image: Path) -> None:
    shelf = elsewhere(tmp_path)
    shelf.prepare(GOLD)
    shelf.make(GOLD, volume(source=image))
    (tmp_path / "remote" / "gold" / "a" / "manifest.json").unlink()
    other = image.with_name("other")
    other.write_bytes(b"other")
    shelf.make(GOLD, volume(source=other))
    store = shelf.open(GOLD, volume(), later=False)
    assert bytes(store.read(0, 4 * MIB)) == b"other".ljust(4 * MIB, b"\0")
    store.close()


def test_a_volume_that_somebody_else_removed_is_told_of(tmp_path: Path) -> None:
    shelf = elsewhere(tmp_path)
    shelf.prepare(GOLD)
    with pytest.raises(StoreConfigError, match="there is no disk any more"):
        shelf.open(GOLD, volume(), later=False)
    shelf.open(GOLD, volume(), later=True)
    assert shelf.properties(GOLD, volume())["problem"] == ""


def test_a_secret_gives_options_and_never_its_content(tmp_path: Path) -> None:
    secret = tmp_path / "minio.toml"
    assert read_secret(None) == {}
    with pytest.raises(StoreConfigError, match="cannot be read: No such file"):
        read_secret(secret)
    secret.write_text("key: hidden-word")
    with pytest.raises(StoreConfigError) as caught:
        read_secret(secret)
    assert "hidden-word" not in str(caught.value)
    secret.write_text('key = "lab"')
    assert read_secret(secret) == {"key": "lab"}
    secret.write_text("auto_mkdir = true")
    assert elsewhere(tmp_path, secret)
    elsewhere(tmp_path, secret).prepare(GOLD)
