"""Snapshots hold what was there, clones go their own way, and no interruption leaves anything between two states."""

from __future__ import annotations

import random
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from labemu_store.block import BlockStore, FileBlockStore
from labemu_store.block import overlay as overlay_module
from labemu_store.block.snapshots import SnapshotTree, folder_of, reflink
from labemu_store.errors import StoreConfigError, StoreError

SIZE = 64 << 10


def content(store: BlockStore) -> bytes:
    return bytes(store.read(0, store.size))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(SIZE))
    return disk


@pytest.fixture
def tree(path: Path) -> Iterator[SnapshotTree]:
    made = SnapshotTree(path)
    yield made
    made.close()


def test_a_snapshot_keeps_what_was_there_and_refuses_writes(tree: SnapshotTree) -> None:
    tree.live.write(1000, b"before")
    tree.snapshot("one")
    tree.live.write(1003, b"after")
    one = tree.open("one")
    assert bytes(one.read(1000, 8)) == b"before\0\0"
    assert bytes(tree.live.read(1000, 8)) == b"befafter"
    with pytest.raises(StoreError, match="Read-only"):
        one.write(0, b"x")


def test_a_revert_brings_it_back(tree: SnapshotTree) -> None:
    tree.live.write(0, b"before")
    tree.snapshot("one")
    tree.live.unmap(0, SIZE)
    assert content(tree.live) == bytes(SIZE)
    tree.revert("one")
    assert bytes(tree.live.read(0, 6)) == b"before"


def test_a_linked_clone_is_written_by_itself(tree: SnapshotTree) -> None:
    tree.live.write(0, b"shared")
    tree.snapshot("one")
    clone = tree.clone("one", "copy")
    clone.write(0, b"mine")
    assert [bytes(store.read(0, 6)) for store in (tree.live, tree.open("one"), clone)] == [
        b"shared",
        b"shared",
        b"mineed",
    ]
    assert tree.names() == {"one": False, "copy": True}


def test_a_full_clone_is_a_file_by_itself(tree: SnapshotTree, tmp_path: Path) -> None:
    tree.live.write(5000, b"full")
    tree.snapshot("one")
    tree.copy("one", tmp_path / "full")
    assert (tmp_path / "full").read_bytes() == content(tree.live)


def test_after_the_last_snapshot_is_deleted_the_file_alone_is_left(tree: SnapshotTree, path: Path) -> None:
    tree.snapshot("one")
    tree.live.write(9000, b"x" * 9000)
    tree.snapshot("two")
    tree.live.unmap(12288, 4096)
    tree.live.resize(2 * SIZE)
    wanted = content(tree.live)
    tree.delete("one")
    assert bytes(tree.open("two").read(12288, 1)) == b"x"
    tree.delete("two")
    tree.close()
    assert path.read_bytes() == wanted
    assert [file.name for file in folder_of(path).iterdir()] == ["tree.json"]


def test_all_is_there_when_it_is_opened_again(path: Path) -> None:
    first = SnapshotTree(path)
    first.live.write(0, b"one")
    first.snapshot("one")
    first.live.write(0, b"two")
    first.close()
    again = SnapshotTree(path)
    assert (bytes(again.open("one").read(0, 3)), bytes(again.live.read(0, 3))) == (b"one", b"two")
    again.close()


def test_the_disk_is_written_while_a_snapshot_is_merged(tree: SnapshotTree) -> None:
    stop, counts = threading.Event(), [0]

    def write() -> None:
        while not stop.is_set():
            counts[0] += 1
            tree.live.write(512 * (counts[0] % 128), counts[0].to_bytes(8, "big") * 64)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for turn in range(30):
            tree.snapshot(f"s{turn}")
            tree.delete(f"s{turn}")
    finally:
        stop.set()
        writer.join()
    for number in range(counts[0] - 127, counts[0] + 1):
        assert bytes(tree.live.read(512 * (number % 128), 512)) == number.to_bytes(8, "big") * 64


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda tree: tree.open("none"), "no snapshot none"),
        (lambda tree: tree.snapshot("one"), "already"),
        (lambda tree: tree.clone("", "x"), "is no snapshot"),
        (lambda tree: tree.revert("one", of="one"), "never changes"),
        (lambda tree: tree.delete(""), "no snapshot"),
    ],
)
def test_what_cannot_be_done_says_why(tree: SnapshotTree, call: object, words: str) -> None:
    tree.snapshot("one")
    with pytest.raises(StoreConfigError, match=words):
        call(tree)  # type: ignore[operator]


def test_where_blocks_cannot_be_shared_nothing_is_left(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x" * 8192)
    if reflink(source, tmp_path / "target"):
        assert (tmp_path / "target").read_bytes() == source.read_bytes()
    else:
        assert not (tmp_path / "target").exists()


class Cuts:
    """Copies the folder before each change on it, with what must be found there after a kill."""

    def __init__(self, source: Path, target: Path) -> None:
        self.source, self.target = source, target
        self.allowed: list[dict[str, set[bytes]]] = []
        self.now: dict[str, set[bytes]] = {}

    def cut(self) -> None:
        shutil.copytree(self.source, self.target / str(len(self.allowed)))
        self.allowed.append({name: set(values) for name, values in self.now.items()})


def test_a_kill_at_any_point_leaves_every_disk_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "live"
    folder.mkdir()
    (folder / "disk").write_bytes(bytes(SIZE))
    tree = SnapshotTree(folder / "disk")
    cuts = Cuts(folder, tmp_path)
    for owner, name in (
        (FileBlockStore, "write"),
        (FileBlockStore, "unmap"),
        (FileBlockStore, "resize"),
        (Path, "replace"),
    ):
        _cut_before(monkeypatch, owner, name, cuts)
    _cut_before(monkeypatch, overlay_module, "remove", cuts)
    _work(tree, cuts)
    monkeypatch.undo()
    tree.close()
    assert len(cuts.allowed) > 60
    for number, allowed in enumerate(cuts.allowed):
        _check(SnapshotTree(tmp_path / str(number) / "disk"), allowed)


def _cut_before(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, cuts: Cuts) -> None:
    original = getattr(owner, name)

    def changed(*args: object, **kwargs: object) -> object:
        cuts.cut()
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, changed)


def _work(tree: SnapshotTree, cuts: Cuts) -> None:
    chance = random.Random(5)
    image = bytearray(SIZE)
    cuts.now = {"": {bytes(image)}}
    for turn in range(8):
        for _ in range(2):
            before = bytes(image)
            offset = 512 * chance.randrange(120)
            image[offset : offset + 4096] = chance.randbytes(4096)
            cuts.now[""] = {before, bytes(image)}
            tree.live.write(offset, bytes(image[offset : offset + 4096]))
            cuts.now[""] = {bytes(image)}
        name = f"s{turn}"
        tree.snapshot(name)
        cuts.now[name] = {bytes(image)}
        if turn % 3 == 2:
            gone = f"s{turn - 1}"
            del cuts.now[gone]
            tree.delete(gone)
        if turn == 5:
            old = next(iter(cuts.now["s3"]))
            cuts.now[""] = {bytes(image), old}
            tree.revert("s3")
            image[:] = old


def _check(tree: SnapshotTree, allowed: dict[str, set[bytes]]) -> None:
    try:
        for name, values in allowed.items():
            found = content(tree.live if not name else tree.open(name))
            if len(values) == 1:
                assert found in values
            else:  # one change was on its way: every sector is of either
                old, new = values
                for start in range(0, SIZE, 512):
                    assert found[start : start + 512] in (old[start : start + 512], new[start : start + 512])
    finally:
        tree.close()
