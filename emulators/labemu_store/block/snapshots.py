"""Snapshots and clones of a disk in a file, while it is in use: a tree of layers.

The file itself is the first layer; each further one is a difference (overlay.py) over its parent. A *head* is a name for a
layer: the disk's own head, which is written; snapshots, which never are; linked clones, which are written.

`DISK.layers/tree.json` says what there is. It is replaced as a whole and is the only thing that decides: each operation makes
its files durable first, then replaces the tree, then removes what the tree no longer names. A kill or a power loss at any
point leaves the state before or after, and files that nobody names, which the next opening removes.

A layer without a head and with one child takes the child's blocks in (the child hides what they cover, so that a repetition
does no harm), and the child goes. That is done while the disk is written; only the last blocks wait for the gate.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from labemu_store.block import overlay
from labemu_store.block.api import BlockStore
from labemu_store.block.file import FileBlockStore
from labemu_store.block.filters.readonly import ReadonlyFilter
from labemu_store.block.gate import Switch
from labemu_store.block.overlay import OverlayStore
from labemu_store.errors import StoreConfigError

LIVE: Final = ""  # the disk's own head
_FICLONE: Final = 0x40049409  # ioctl_ficlone(2)
_COPY: Final = 1 << 20


def folder_of(path: Path) -> Path:
    """Where a disk's layers are kept; missing as long as it has no snapshot."""
    return path.with_name(path.name + ".layers")


@dataclass(frozen=True, kw_only=True)
class Head:
    """A snapshot or a linked clone, for lists.

    Args:
        name: its name.
        parent: the snapshot that it was made upon, or "" for none: what came before all that are kept.
        created: when, in seconds since 1970, as its maker said.
        writable: whether it is a clone.
        current: whether the disk itself goes on from here.
        allocated: bytes that its own layer takes: what was written from its parent up to it.
    """

    name: str
    parent: str
    created: float
    writable: bool
    current: bool
    allocated: int


class SnapshotTree:
    """A disk with its snapshots and clones. Thread-safe; `delete` and `copy` take as long as there is data to move.

    Args:
        path: the disk's file, which is there.
        root: the file's store where it is open already; the tree closes it.

    Raises:
        StoreConfigError: the file or a layer cannot be opened.
    """

    def __init__(self, path: Path, root: BlockStore | None = None) -> None:
        self._path = path
        self._folder = folder_of(path)
        self._lock = threading.RLock()
        self._layers: dict[str, BlockStore] = {}
        self._heads: dict[str, Switch] = {}
        self._tree: dict[str, Any] = {
            "version": 1,
            "next": 1,
            "layers": {"0": None},
            "heads": {LIVE: "0"},
            "clones": [],
        }
        with suppress(FileNotFoundError):
            self._tree = json.loads((self._folder / "tree.json").read_text())
        if self._tree.get("version") != 1:
            raise StoreConfigError(f"{self._folder} was written by a later version", hint="use that version")
        self._sweep()
        self._layers["0"] = root if root is not None else FileBlockStore.open(path)
        try:
            for layer in sorted(self._tree["layers"], key=int):
                self._open(layer)
        except BaseException:
            self.close()
            raise
        self.live = self._head(LIVE)

    def _open(self, layer: str) -> BlockStore:
        if layer not in self._layers:
            base = self._open(self._tree["layers"][layer])
            data = FileBlockStore.open(self._folder / f"{layer}.data")
            try:
                table = FileBlockStore.open(self._folder / f"{layer}.table")
            except BaseException:
                data.close()
                raise
            self._layers[layer] = OverlayStore(base, data, table)
        return self._layers[layer]

    def _head(self, name: str) -> Switch:
        if name not in self._heads:
            store = self._layers[self._layer(name)]
            self._heads[name] = Switch(store if self._writable(name) else ReadonlyFilter(store))
        return self._heads[name]

    def _layer(self, name: str) -> str:
        try:
            return str(self._tree["heads"][name])
        except KeyError:
            raise StoreConfigError(f"{self._path.name} has no snapshot {name}", hint="list them first") from None

    def _writable(self, name: str) -> bool:
        return name == LIVE or name in self._tree["clones"]

    def names(self) -> dict[str, bool]:
        """Snapshots and clones by name, and whether they are written (clones are)."""
        with self._lock:
            return {name: self._writable(name) for name in self._tree["heads"] if name != LIVE}

    def listing(self) -> list[Head]:
        """Snapshots and clones, parents first."""
        with self._lock:
            layers, heads = self._tree["layers"], self._tree["heads"]
            shown = {layer: name for name, layer in heads.items() if name != LIVE and not self._writable(name)}

            def parent(layer: str) -> str:
                above = layers[layer]
                while above is not None and above not in shown:
                    above = layers[above]
                return "" if above is None else shown[above]

            current = parent(heads[LIVE])
            return [
                Head(
                    name=name,
                    parent=parent(layer),
                    created=float(self._tree.get("created", {}).get(name, 0.0)),
                    writable=self._writable(name),
                    current=name == current,
                    allocated=self._layers[layer].allocated(),
                )
                for name, layer in sorted(heads.items(), key=lambda item: int(item[1]))
                if name != LIVE
            ]

    def open(self, name: str) -> BlockStore:
        """The store of a snapshot (read-only) or clone. The tree closes it.

        Raises:
            StoreConfigError: there is none of that name.
        """
        with self._lock:
            return self._head(name)

    def snapshot(self, name: str, *, of: str = LIVE, created: float = 0.0) -> None:
        """Keep what the disk (or a clone) holds now; it takes as long as a flush.

        Args:
            name: what to call it.
            of: the disk, or a clone.
            created: seconds since 1970, for lists.

        Raises:
            StoreConfigError: the name is taken, or `of` is none that is written.
        """
        with self._lock:
            self._check_new(name)
            head, frozen = self._head(of), self._layer(of)
            if not self._writable(of):
                raise StoreConfigError(f"{of} is a snapshot already", hint="make a clone of it")
            self._layers[frozen].flush()  # most of it, while operations go on
            with head.held():
                self._layers[frozen].flush()
                layer = self._make(frozen)
                self._tree.setdefault("created", {})[name] = created
                self._commit(heads={of: layer, name: frozen})
                head.next = self._layers[layer]

    def clone(self, snapshot: str, name: str) -> BlockStore:
        """A disk that begins as the snapshot, at once, and shares its blocks (linked).

        Raises:
            StoreConfigError: the name is taken, or there is no such snapshot.
        """
        with self._lock:
            self._check_new(name)
            parent = self._snapshot(snapshot)
            self._tree["clones"].append(name)
            try:
                self._commit(heads={name: self._make(parent)})
            except BaseException:
                self._tree["clones"].remove(name)
                raise
            return self._head(name)

    def copy(self, snapshot: str, path: Path) -> None:
        """A full clone: a file by itself, which appears when it is complete; by reflink where nothing lies between."""
        with self._lock:
            layer = self._snapshot(snapshot)
            source = self._head(snapshot)
        draft = path.with_name(f".{path.name}.draft")
        draft.unlink(missing_ok=True)
        try:
            if layer == "0" and reflink(self._path, draft):
                with draft.open("rb") as file:
                    os.fsync(file.fileno())
            else:
                target = FileBlockStore.open(draft, size=source.size)
                try:
                    copy_data(source, target)
                finally:
                    target.close()
            draft.replace(path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        overlay.sync_folder(path.parent)

    def revert(self, snapshot: str, *, of: str = LIVE) -> None:
        """The disk holds again what it held then; what it held until now goes. Whoever has it open must be told."""
        with self._lock:
            parent, head = self._snapshot(snapshot), self._head(of)
            if not self._writable(of):
                raise StoreConfigError(f"{of} is a snapshot, which never changes", hint="make a clone of it")
            with head.held():
                layer = self._make(parent)
                self._commit(heads={of: layer})
                head.next = self._layers[layer]
            self._collect()

    def delete(self, name: str) -> None:
        """Forget a snapshot or clone, and merge what only it told apart; the disk goes on being written meanwhile."""
        with self._lock:
            self._layer(name)
            if name == LIVE:
                raise StoreConfigError("the disk itself is no snapshot", hint="name one")
            self._tree["clones"] = [clone for clone in self._tree["clones"] if clone != name]
            self._commit(heads={name: None})
            self._heads.pop(name, None)
            self._collect()

    def tidy(self) -> None:
        """Merge what a deletion that was interrupted left apart; the disk goes on being written meanwhile."""
        with self._lock:
            self._collect()

    @property
    def flat(self) -> bool:
        """Whether the file alone holds everything: no snapshot is left, and no layer."""
        with self._lock:
            return len(self._layers) == 1 and list(self._tree["heads"]) == [LIVE]

    def dissolve(self) -> BlockStore:
        """Remove the folder of a flat tree and hand its file's store back; the tree is closed.

        Raises:
            StoreConfigError: it has snapshots.
        """
        with self._lock:
            if not self.flat:
                raise StoreConfigError(f"{self._path.name} has snapshots", hint="delete them first")
            with suppress(FileNotFoundError):
                (self._folder / "tree.json").unlink()
                self._folder.rmdir()
                overlay.sync_folder(self._folder.parent)
            return self._layers.pop("0")

    def allocated(self) -> int:
        """Bytes that the disk takes with all its snapshots and clones; does not wait for what is under way."""
        total = 0
        for store in list(self._layers.values()):
            with suppress(OSError):  # merged and closed at this moment
                total += store.allocated()
        return total

    def close(self) -> None:
        """Flush and close every layer, children first."""
        with self._lock:
            layers = sorted(self._layers, key=int, reverse=True)
            with ExitStack() as stack:
                for layer in reversed(layers):
                    stack.callback(self._layers[layer].close)
            self._layers.clear()

    def _check_new(self, name: str) -> None:
        if not name or name in self._tree["heads"]:
            raise StoreConfigError(f"{self._path.name} has a snapshot {name!r} already", hint="take another name")

    def _snapshot(self, name: str) -> str:
        layer = self._layer(name)
        if self._writable(name):
            raise StoreConfigError(f"{name or 'the disk'} is no snapshot", hint="make a snapshot of it first")
        return layer

    def _make(self, parent: str) -> str:
        """A new, empty, durable layer that the tree does not name yet."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        layer = str(self._tree["next"])
        overlay.remove(self._folder, layer)  # of an attempt that failed
        base = self._layers[parent]
        with ExitStack() as stack:
            data = FileBlockStore.open(self._folder / f"{layer}.data", size=0)
            stack.callback(data.close)
            table = FileBlockStore.open(self._folder / f"{layer}.table", size=0)
            stack.callback(table.close)
            overlay.create(data, table, base.size)
            self._layers[layer] = OverlayStore(base, data, table)
            stack.pop_all()
        self._tree["layers"][layer] = parent
        self._tree["next"] = int(layer) + 1
        return layer

    def _commit(self, *, heads: dict[str, str | None] | None = None) -> None:
        for name, layer in (heads or {}).items():
            if layer is None:
                self._tree["heads"].pop(name)
                self._tree.get("created", {}).pop(name, None)
            else:
                self._tree["heads"][name] = layer
        self._folder.mkdir(mode=0o700, exist_ok=True)
        draft = self._folder / "tree.json.new"
        with draft.open("w") as file:
            json.dump(self._tree, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._folder / "tree.json")
        overlay.sync_folder(self._folder)
        overlay.sync_folder(self._folder.parent)

    def _collect(self) -> None:
        """Until every layer has a head or tells several children what they share."""
        while True:
            named = set(self._tree["heads"].values())
            children: dict[str, list[str]] = {layer: [] for layer in self._tree["layers"]}
            for layer, parent in self._tree["layers"].items():
                if parent is not None:
                    children[parent].append(layer)
            unnamed = [layer for layer in children if layer not in named]
            leaf = next((layer for layer in unnamed if not children[layer] and layer != "0"), None)
            if leaf is not None:
                del self._tree["layers"][leaf]
                self._commit()
                self._drop(leaf)
                continue
            single = next((layer for layer in unnamed if len(children[layer]) == 1), None)
            if single is None:
                return
            self._merge(single, children[single][0])

    def _merge(self, parent: str, child: str) -> None:
        below, above = self._layers[parent], self._layers[child]
        assert isinstance(above, OverlayStore)
        with self._all_held():
            above.track()  # no write is on its way that would be missed
        if below.size < above.size:
            below.resize(above.size)
        above.push(above.runs(0, above.size), below)
        with self._all_held():
            above.push(above.changed(), below)
            if below.size != above.size:
                below.resize(above.size)
            below.flush()
            self._tree["layers"] = {
                layer: parent if base == child else base
                for layer, base in self._tree["layers"].items()
                if layer != child
            }
            moved = [name for name, layer in self._tree["heads"].items() if layer == child]
            self._commit(heads=dict.fromkeys(moved, parent))
            for layer, base in self._tree["layers"].items():
                store = self._layers[layer]
                if base == parent and isinstance(store, OverlayStore):
                    store.base = below
            for name in moved:
                if name in self._heads:
                    self._heads[name].next = below if self._writable(name) else ReadonlyFilter(below)
        self._drop(child)

    @contextmanager
    def _all_held(self) -> Iterator[None]:
        with ExitStack() as stack:
            for head in self._heads.values():
                stack.enter_context(head.held())
            yield

    def _drop(self, layer: str) -> None:
        self._layers.pop(layer).close()
        overlay.remove(self._folder, layer)

    def _sweep(self) -> None:
        """Remove what an interrupted operation left and the tree does not name."""
        for file in self._folder.glob("*.*") if self._folder.is_dir() else ():
            if file.name != "tree.json" and file.stem not in self._tree["layers"]:
                file.unlink()


def reflink(source: Path, target: Path) -> bool:
    """A copy that shares all blocks, where the filesystem can (FICLONE); else nothing is left behind."""
    with source.open("rb") as old, target.open("xb") as new:
        try:
            fcntl.ioctl(new.fileno(), _FICLONE, old.fileno())
        except OSError:
            target.unlink()
            return False
    target.chmod(0o600)
    return True


def copy_data(source: BlockStore, target: BlockStore) -> None:
    """Copy what is data, and leave the holes."""
    for extent in source.extents(0, source.size):
        if extent.is_data:
            end = extent.offset + extent.length
            for start in range(extent.offset, end, _COPY):
                target.write(start, source.read(start, min(_COPY, end - start)))
