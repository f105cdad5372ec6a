"""Exports whose files are objects elsewhere: a tree in a local folder for each, which is carried there."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from concurrent.futures import Executor
from contextlib import suppress
from pathlib import Path
from typing import Any

from labctl.errors import LabError
from labctl_storage.arrayd.registry import DatastoreRecord, VolumeRecord
from labctl_storage.arrayd.shelves.files import FileShelf
from labctl_storage.arrayd.shelves.secret import read_secret
from labemu_store.errors import StoreConfigError
from labemu_store.file import FileStore
from labemu_store.file.bridge import BridgedFileStore, open_bridge


class TreeShelf(FileShelf):
    """A prefix for each datastore, an object for each file.

    Args:
        backing: the URL above them.
        folder: where the trees are.
        options: of the filesystem.
        secret: a TOML file with more of them; None is none.
        executor: on whose threads the filesystem is called.
    """

    def __init__(
        self, backing: str, folder: Path, *, options: Mapping[str, Any], secret: Path | None, executor: Executor | None
    ) -> None:
        super().__init__(folder)
        self._backing = backing.rstrip("/")
        self._options = options
        self._secret = secret
        self._executor = executor
        self._open: dict[str, BridgedFileStore] = {}

    def folder(self, datastore: DatastoreRecord) -> Path:
        """The tree."""
        return self._root / datastore.name / "tree"

    def export(self, datastore: DatastoreRecord) -> FileStore:
        """Its tree, made like what is there."""
        try:
            options = {**self._options, **read_secret(self._secret)}
            url = f"{self._backing}/{datastore.name}"
            folder = self._root / datastore.name
            store = open_bridge(url, folder=folder, storage=options, executor=self._executor)
        except StoreConfigError as error:
            raise LabError(f"cannot keep datastore {datastore.name}: {error}", hint=error.hint) from error
        self._open[datastore.name] = store
        return store

    def withdraw(self, datastore: DatastoreRecord) -> None:
        """Remove the tree's folder if nothing is in it, and nothing waits."""
        store = self._open.pop(datastore.name, None)
        if (store is None or not store.waiting) and not any(
            path.is_file() for path in self.folder(datastore).rglob("*")
        ):
            shutil.rmtree(self._root / datastore.name, ignore_errors=True)
            with suppress(OSError):  # others are in it
                self._root.rmdir()

    def make(self, datastore: DatastoreRecord, volume: VolumeRecord) -> None:
        """Make its file; one that is there is fetched, since it may have to grow."""
        store = self._open[datastore.name]
        path = self.path(datastore, volume.name)
        if path.exists():
            try:
                store.complete(path.name)
            except OSError as error:
                raise LabError(
                    f"cannot fetch {datastore.name}/{volume.name}: {error.strerror}",
                    hint="try again when its storage can be reached",
                ) from error
        super().make(datastore, volume)
        store.look()

    def destroy(self, datastore: DatastoreRecord, name: str) -> None:
        """Delete its file."""
        super().destroy(datastore, name)
        if datastore.name in self._open:
            self._open[datastore.name].look()

    def used(self, datastore: DatastoreRecord) -> int:
        """As large as the files are, whether their bytes are here or there."""
        return sum(file.stat().st_size for file in self.folder(datastore).rglob("*") if file.is_file())
