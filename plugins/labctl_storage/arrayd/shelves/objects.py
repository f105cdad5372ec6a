"""Volumes on any filesystem that fsspec opens: each in chunks below BACKING/DATASTORE/VOLUME.

What was written and not yet flushed waits in a folder of the lab's data, so it outlives the agent, and `down` where the volume does. A
volume whose storage cannot be reached is offered all the same: its initiators are told that it is not ready, until it is.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Mapping
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import Any

from fsspec.core import strip_protocol

from labctl.errors import LabError
from labctl.model.json import JsonObject
from labctl_storage.arrayd.content import check_source
from labctl_storage.arrayd.registry import DatastoreRecord, VolumeRecord
from labctl_storage.arrayd.shelves.secret import read_secret
from labemu_iscsi.io.state import FileStateStore
from labemu_store.block import layout
from labemu_store.block.api import BlockStore, Capabilities
from labemu_store.block.awaited import AwaitedStore
from labemu_store.block.objects import ObjectStore
from labemu_store.block.open import written_back
from labemu_store.errors import StoreConfigError, StoreError
from labemu_store.remote.calls import OBJECTS, FileSystem, protocols, translated
from labemu_store.remote.opening import explained, open_filesystem

_PROMISES = Capabilities(blocking=True, survives_kill=True, granularity=layout.CHUNK)


class ObjectShelf:
    """A prefix for each volume.

    Args:
        backing: the URL above them.
        folder: where changes wait, and reservations are kept.
        cache: bytes that may wait for each volume.
        options: of the filesystem.
        secret: a TOML file with more of them, read whenever the filesystem is opened; None is none.
        executor: on whose threads the filesystem is called.
    """

    outlives_agent = True

    def __init__(
        self,
        backing: str,
        folder: Path,
        *,
        cache: int,
        options: Mapping[str, Any],
        secret: Path | None,
        executor: Executor | None,
    ) -> None:
        self._backing = backing.rstrip("/")
        self._folder = folder
        self._cache = cache
        self._options = options
        self._secret = secret
        self._executor = executor
        self._filesystem: FileSystem | None = None
        self._open: dict[tuple[str, str], AwaitedStore] = {}

    def prepare(self, datastore: DatastoreRecord) -> None:
        """Look whether the storage lets us in; make the local folder."""
        url = f"{self._backing}/{datastore.name}"
        try:
            with explained(url):
                filesystem, path = self._reach(url)
                layout.read_manifest(filesystem, path)  # there is none: what counts is that we may look
                self._see_bucket(filesystem, path)
        except StoreConfigError as error:
            raise LabError(f"cannot keep datastore {datastore.name}: {error}", hint=error.hint) from error
        (self._folder / datastore.name).mkdir(mode=0o700, parents=True, exist_ok=True)

    def withdraw(self, datastore: DatastoreRecord) -> None:
        """Remove the local folders if nothing waits in them."""
        for path in (self._folder / datastore.name, self._folder):
            try:
                path.rmdir()
            except OSError:
                return

    def make(self, datastore: DatastoreRecord, volume: VolumeRecord) -> None:
        """Upload its image, then its manifest, which makes it."""
        url = self._url(datastore, volume.name)
        if (datastore.name, volume.name) in self._open:
            return
        if volume.source is not None:
            check_source(volume.source, volume.size)
        try:
            with explained(url):
                filesystem, path = self._reach(url)
                if layout.read_manifest(filesystem, path) is None:
                    self._forget_waiting(datastore, volume.name)  # of a removal that was interrupted
                    manifest = layout.Manifest(volume.size, layout.CHUNK)
                    layout.create(filesystem, path, manifest, source=volume.source, over=True)
        except (StoreConfigError, OSError) as error:
            hint = getattr(error, "hint", "") or "look at the array's log"
            raise LabError(f"cannot make {datastore.name}/{volume.name}: {error}", hint=hint) from error

    def open(self, datastore: DatastoreRecord, volume: VolumeRecord, *, later: bool) -> BlockStore:
        """A store over the chunks that writes changes back; it opens when it can."""
        store = AwaitedStore(partial(self._open_now, datastore, volume), size=volume.size, capabilities=_PROMISES)
        if not later:
            try:
                store.reach()
            except StoreError as error:
                raise StoreConfigError(store.problem, hint="`labctl up` tries again", errno=error.errno) from error
        self._open[datastore.name, volume.name] = store
        return store

    def _open_now(self, datastore: DatastoreRecord, volume: VolumeRecord) -> BlockStore:
        url = self._url(datastore, volume.name)
        with explained(url):
            filesystem, path = self._reach(url)
            found = layout.read_manifest(filesystem, path)
            if found is None:
                raise StoreConfigError(
                    "there is no disk any more", hint="somebody else has removed it", errno=errno.ENOENT
                )
            chunks = ObjectStore(filesystem, path, size=found.size, chunk=found.chunk)
            store = written_back(chunks, filesystem, path, self._waiting(datastore, volume.name), self._cache)
            if store.size < volume.size:
                store.resize(volume.size)
            return store

    def state(self, datastore: DatastoreRecord, name: str) -> FileStateStore:
        """In the local folder: reservations are this array's own."""
        return FileStateStore(self._folder / datastore.name / f"{name}.reservations")

    def destroy(self, datastore: DatastoreRecord, name: str) -> None:
        """Remove its manifest, its chunks and what waits."""
        url = self._url(datastore, name)
        self._open.pop((datastore.name, name), None)
        try:
            with explained(url):
                filesystem, path = self._reach(url)
                layout.remove(filesystem, path)
        except StoreConfigError as error:
            raise LabError(
                f"cannot delete {datastore.name}/{name}: {error}", hint="try again when its storage can be reached"
            ) from error
        self._forget_waiting(datastore, name)
        self.state(datastore, name).path.unlink(missing_ok=True)

    def remove_drafts(self, datastore: DatastoreRecord) -> None:
        """A volume without its manifest is none, and is cleared when it is made again."""

    def used(self, datastore: DatastoreRecord) -> int:
        """At the storage, and what waits here."""
        return sum(store.allocated() for (name, _), store in self._open.items() if name == datastore.name)

    def properties(self, datastore: DatastoreRecord, volume: VolumeRecord) -> JsonObject:
        """What is used, what of it waits here, and whether it can be reached."""
        store = self._open.get((datastore.name, volume.name))
        return {
            "used": 0 if store is None else store.allocated(),
            "waiting": 0 if store is None else store.waiting,
            "problem": "" if store is None else store.problem,
            "snapshots": 0,
        }

    def path(self, datastore: DatastoreRecord, name: str) -> Path | None:
        """It is no file."""
        return None

    def _url(self, datastore: DatastoreRecord, name: str) -> str:
        return f"{self._backing}/{datastore.name}/{name}"

    def _waiting(self, datastore: DatastoreRecord, name: str) -> Path:
        return self._folder / datastore.name / f"{name}.waiting"

    def _forget_waiting(self, datastore: DatastoreRecord, name: str) -> None:
        shutil.rmtree(self._waiting(datastore, name), ignore_errors=True)

    def _reach(self, url: str) -> tuple[FileSystem, str]:
        """The filesystem, one for all volumes, and a volume's path there."""
        if self._filesystem is None:
            options = {**self._options, **read_secret(self._secret)}
            self._filesystem, path = open_filesystem(url, options, self._executor)
            return self._filesystem, path
        return self._filesystem, strip_protocol(url)

    def _see_bucket(self, filesystem: FileSystem, path: str) -> None:
        """Where a bucket is missing, reading an object says no more than that the object is."""
        if OBJECTS & protocols(filesystem):
            with translated("looking for the bucket"):
                filesystem.info(path.partition("/")[0])
