"""How the tree and the far side differ; kept in the folder, in a database that survives a kill and a power loss.

A file is known by its inode number and time of birth, so that another with the same number later is not taken for it. Whether its
bytes are those of its object is told by its size and time as they were when it was uploaded; a file without a row was never uploaded.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple

from labemu_store.errors import StoreConfigError
from labemu_store.file.local.syscalls import inode_and_birth

CHUNK: Final = 1 << 20
"""Bytes that are fetched together."""

_SCHEMA: Final = """
create table if not exists source (url text);
create table if not exists object (path text primary key, tag text not null);
create table if not exists file (
    inode integer, birth integer, object text not null, reach integer not null, here blob, size integer, mtime integer,
    primary key (inode, birth)
);
"""

Stamp = tuple[int, int]
"""A file's size and time of its last change (nanoseconds)."""

NEVER: Final = (-1, -1)


class Identity(NamedTuple):
    """A file of the tree: its inode number, and its time of birth in nanoseconds (0 where none is kept)."""

    inode: int
    birth: int


def identity_of(descriptor: int) -> Identity:
    """Of an open file."""
    return Identity(*inode_and_birth(descriptor, b""))


def stamp_of(result: os.stat_result) -> Stamp:
    """Of a file's stat."""
    return result.st_size, result.st_mtime_ns


class File:
    """What is known of a file of the tree.

    Attributes:
        identity: which.
        object: the path of the object that has its bytes, or had them; empty where there is none.
        reach: how many bytes of that object are still the file's; what is beyond is the file's own.
        here: for each chunk of `reach`, 1 where its bytes are here; None where all are.
        stamp: as it was when it and its object were alike; NEVER where they were not yet.
        changes: counts what was done to it in this process.
        carried: `changes` when it was last uploaded, or -1.
        noted: whether its row says that bytes are absent.
        lock: held while bytes are put in place that come from the far side, and while `here` is changed.
        fetching: held while some are fetched.
    """

    __slots__ = ("carried", "changes", "fetching", "here", "identity", "lock", "noted", "object", "reach", "stamp")

    def __init__(
        self, identity: Identity, path: str = "", reach: int = 0, here: bytearray | None = None, stamp: Stamp = NEVER
    ) -> None:
        self.identity = identity
        self.object = path
        self.reach = reach
        self.here = here
        self.stamp = stamp
        self.changes = 0
        self.carried = -1
        self.noted = here is not None
        self.lock = threading.Lock()
        self.fetching = threading.Lock()

    @classmethod
    def absent(cls, identity: Identity, path: str, size: int, stamp: Stamp) -> File:
        """One whose bytes are all at the far side."""
        it = cls(identity, path, size, bytearray(-(-size // CHUNK)) if size else None, stamp)
        it.carried = 0
        return it

    @property
    def clean(self) -> bool:
        """Whether its object has its bytes."""
        return bool(self.object) and self.carried == self.changes

    def missing(self, offset: int, size: int) -> range | None:
        """The chunks from the first to the last of these bytes' that is absent; None where none is."""
        here = self.here
        if here is None or offset >= self.reach:
            return None
        first, last = offset // CHUNK, (min(offset + size, self.reach) - 1) // CHUNK
        start = here.find(0, first, last + 1)
        return None if start < 0 else range(start, here.rfind(0, first, last + 1) + 1)

    def cut(self, size: int) -> None:
        """What is beyond `size` bytes is no longer the object's."""
        with self.lock:
            if self.here is not None and size < self.reach:
                self.reach = size
                del self.here[-(-size // CHUNK) :]
                self.settle()

    def settle(self) -> None:
        """See whether all is here; with the lock held."""
        if self.here is not None and 0 not in self.here:
            self.here = None


class Ledger:
    """The rows, in memory and on disk.

    Args:
        path: of the database.
        url: of the far side, without secrets: a folder serves one only.

    Raises:
        StoreConfigError: the folder is another's.
    """

    def __init__(self, path: Path, url: str) -> None:
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._lock = threading.Lock()
        self._database.executescript(f"pragma journal_mode=wal; pragma synchronous=full; {_SCHEMA}")
        found = self._database.execute("select url from source").fetchone()
        if found is None:
            self._database.execute("insert into source values (?)", (url,))
        elif found[0] != url:
            self._database.close()
            raise StoreConfigError(
                f"the folder {path.parent} holds files of {found[0]}", hint="give each export a folder of its own"
            )
        self.objects: dict[str, str] = dict(self._database.execute("select path, tag from object"))
        self.files: dict[Identity, File] = {}
        with closing(self._database.execute("select * from file")) as rows:
            for inode, birth, path_, reach, here, size, mtime in rows:
                identity = Identity(inode, birth)
                self.files[identity] = File(
                    identity, path_, reach, None if here is None else bytearray(here), (size, mtime)
                )

    def keep(self, files: Iterable[File]) -> None:
        """Write rows, durably."""
        rows = []
        kept = []
        for file in files:
            with file.lock:
                here = None if file.here is None else bytes(file.here)
                kept.append((file, here is not None))
                rows.append((*file.identity, file.object, file.reach, here, *file.stamp))
        with self._lock, self._database:
            self._database.execute("begin")
            self._database.executemany("insert or replace into file values (?, ?, ?, ?, ?, ?, ?)", rows)
        for file, noted in kept:
            file.noted = noted

    def forget(self, files: Iterable[File]) -> None:
        """Drop rows of files that are gone."""
        gone = [file.identity for file in files]
        for identity in gone:
            self.files.pop(identity, None)
        with self._lock, self._database:
            self._database.execute("begin")
            self._database.executemany("delete from file where inode = ? and birth = ?", gone)

    def note(self, path: str, tag: str | None) -> None:
        """An object is there with this tag, or is gone."""
        with self._lock:
            if tag is None:
                self.objects.pop(path, None)
                self._database.execute("delete from object where path = ?", (path,))
            else:
                self.objects[path] = tag
                self._database.execute("insert or replace into object values (?, ?)", (path, tag))

    def close(self) -> None:
        """Close the database."""
        self._database.close()
