"""A volume with layers is served through them, grows through them, counts them and goes with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from labctl_storage.arrayd import content, disks
from labemu_store.block.file import FileBlockStore
from labemu_store.block.snapshots import SnapshotTree, folder_of

MIB = 1 << 20


@pytest.fixture
def layered(tmp_path: Path) -> Path:
    """A disk that held `before` when its snapshot was made, and `after!` now."""
    path = tmp_path / "web1.img"
    content.make_raw(path, MIB, None)
    tree = SnapshotTree(path)
    tree.live.write(0, b"before")
    tree.snapshot("one")
    tree.live.write(0, b"after!")
    tree.close()
    return path


def test_a_disk_without_layers_is_its_plain_file(tmp_path: Path) -> None:
    path = tmp_path / "web1.img"
    content.make_raw(path, MIB, None)
    store = disks.open_disk(path, MIB)
    assert isinstance(store, FileBlockStore)
    store.close()
    assert not folder_of(path).exists()


def test_a_disk_with_layers_shows_the_newest_and_can_be_opened_again(layered: Path) -> None:
    for _ in range(2):
        store = disks.open_disk(layered, MIB)
        assert bytes(store.read(0, 6)) == b"after!"
        store.close()


def test_a_disk_with_layers_grows_and_its_snapshot_does_not(layered: Path) -> None:
    content.make_raw(layered, 2 * MIB, None)
    assert layered.stat().st_size == MIB
    store = disks.open_disk(layered, 2 * MIB)
    assert isinstance(store, disks.TreeDisk)
    assert store.vectored
    assert (store.size, store.tree.open("one").size) == (2 * MIB, MIB)
    assert bytes(store.read(0, 6)) == b"after!"
    store.close()


def test_what_a_disk_takes_includes_its_layers(layered: Path) -> None:
    assert disks.allocated(layered) > layered.stat().st_blocks * 512
    assert disks.allocated(layered.with_name("gone.img")) == 0


def test_a_removed_disk_leaves_nothing(layered: Path) -> None:
    content.remove(layered)
    assert list(layered.parent.iterdir()) == []


def test_layers_that_an_interrupted_removal_left_do_not_show_in_a_new_disk(layered: Path) -> None:
    layered.unlink()
    content.make_raw(layered, MIB, None)
    store = disks.open_disk(layered, MIB)
    assert bytes(store.read(0, 6)) == bytes(6)
    store.close()
