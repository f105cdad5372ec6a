"""The stores of iSCSI volumes: the plain file until a volume has layers; then its tree of them. Both keep the target's fast lane."""

from __future__ import annotations

import json
from pathlib import Path

from labemu_store.block.api import BlockStore
from labemu_store.block.filters.base import Clear
from labemu_store.block.open import open_block_store
from labemu_store.block.snapshots import SnapshotTree, folder_of


class TreeDisk(Clear):
    """The written head of a tree. It owns the tree: closing the LUN closes every layer."""

    def __init__(self, tree: SnapshotTree) -> None:
        super().__init__(tree.live)
        self.tree = tree

    def allocated(self) -> int:
        """Bytes that the disk takes with all its layers."""
        return self.tree.allocated()

    def close(self) -> None:
        """Flush and close the tree."""
        self.tree.close()


def open_disk(path: Path, size: int) -> BlockStore:
    """Open a volume's file, through its tree where it has layers: the file alone is then the oldest of them.

    Args:
        path: the file.
        size: bytes; a smaller disk grows.

    Raises:
        StoreConfigError: the file or a layer is missing, damaged or in use.
    """
    if not folder_of(path).is_dir():
        return open_block_store(path.as_uri(), size=size)
    disk = TreeDisk(SnapshotTree(path))
    if disk.size < size:
        disk.resize(size)
    return disk


def allocated(path: Path) -> int:
    """Bytes that a volume takes with all its layers; 0 where it is gone."""
    return sum(_blocks(file) for file in (path, *folder_of(path).glob("*")))


def count_snapshots(path: Path) -> int:
    """How many snapshots a volume has."""
    try:
        tree = json.loads((folder_of(path) / "tree.json").read_bytes())
    except FileNotFoundError:
        return 0
    return len([name for name in tree["heads"] if name[:1].isalnum()])


def _blocks(file: Path) -> int:
    try:
        return file.stat().st_blocks * 512
    except FileNotFoundError:
        return 0
