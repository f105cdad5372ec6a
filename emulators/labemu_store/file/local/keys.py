"""How a local node gets a key that survives renames and restarts.

Two ways, chosen by trial at the root:

- KernelKeys: the kernel's own file handles (name_to_handle_at(2)); exact, but opening one wants CAP_DAC_READ_SEARCH.
- IndexedKeys: inode number and time of birth, found again through remembered places, and through a walk of the tree where
  those fail. For ordinary users; a walk costs time in proportion to the tree, so it is done at most once in WALK_INTERVAL.

Neither can be talked into naming something that was not given out before only because the keys are signed by whoever hands them to
strangers (labemu_nfs.handles). A file that the machine's owner moves out of the tree stays reachable by its key, as in knfsd
without subtree_check.
"""

from __future__ import annotations

import os
import sys
import time
from collections import OrderedDict
from errno import ELOOP, ENOENT, ENOTDIR, EOVERFLOW, ESTALE
from pathlib import Path
from struct import Struct
from typing import Protocol

from labemu_store.file.local import syscalls
from labemu_store.file.types import MAX_KEY, Key

OPEN_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC

WALK_INTERVAL = 1.0
"""Seconds between two walks of the tree: a client that repeats a dead handle must not keep the disk busy."""

MAX_PLACES = 200_000
"""Remembered places (some 40 MB at most); beyond that the eldest is forgotten and costs a walk when asked for again."""

_INODE_BIRTH = Struct(">QQ")


class Keys(Protocol):
    """Turns nodes into keys and keys into descriptors."""

    persistent: bool

    def key_at(self, directory: int, name: bytes) -> Key:
        """The key of `name` in a directory; of the descriptor's own node where `name` is empty."""

    def is_of(self, key: Key, inode: int) -> bool:
        """Whether a key is certainly of this inode number; False, too, where that cannot be seen in it."""

    def learn(self, key: Key, inode: int) -> None:
        """This key is of this inode number."""

    def remember(self, key: Key, directory: Key, name: bytes) -> None:
        """A node was seen under `name` in a directory."""

    def open(self, key: Key) -> int:
        """An O_PATH descriptor. Raises ESTALE where the node is gone or the key is not one of ours."""

    def close(self) -> None:
        """Give back what is held."""


def stale() -> OSError:
    """The error of a key whose node is gone."""
    return OSError(ESTALE, "the file is gone")


class KernelKeys:
    """Keys that are the kernel's file handles.

    Args:
        root: the export's root.

    Raises:
        OSError: the file system has no handles, or this process may not open them.
    """

    persistent = True

    def __init__(self, root: Path) -> None:
        self._reader = syscalls.HandleReader()
        self._places: dict[int, list[tuple[int, int]]] = {}
        self._mount = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.close(self.open(self.key_at(self._mount, b"")))
        except OSError:
            os.close(self._mount)
            raise

    def key_at(self, directory: int, name: bytes) -> Key:
        kind, handle = self._reader.read(directory, name)
        if len(handle) >= MAX_KEY or not 0 <= kind < 256:
            raise OSError(EOVERFLOW, "the file system's handles are too long")
        return bytes((kind,)) + handle

    def is_of(self, key: Key, inode: int) -> bool:
        places = self._places.get(key[0])
        if not places:
            return False
        start, end = places[0]
        return int.from_bytes(key[start:end], sys.byteorder) == inode

    def learn(self, key: Key, inode: int) -> None:
        """Each kind of handle has its inode number somewhere, if any; two or three handles tell where."""
        wide = [(at, at + 8) for at in range(1, len(key) - 7, 4)]
        places = self._places.get(key[0], wide + [(at, at + 4) for at in range(1, len(key) - 3, 4)])
        self._places[key[0]] = [
            (start, end) for start, end in places if int.from_bytes(key[start:end], sys.byteorder) == inode
        ]

    def remember(self, key: Key, directory: Key, name: bytes) -> None:
        """The kernel knows."""

    def open(self, key: Key) -> int:
        if len(key) < 2:
            raise stale()
        try:
            return syscalls.open_by_handle(self._mount, key[0], key[1:], OPEN_PATH)
        except FileNotFoundError:
            raise stale() from None

    def close(self) -> None:
        os.close(self._mount)
        self._mount = -1  # the number may soon be another file's


class IndexedKeys:
    """Keys of inode number and time of birth, with an index of where each was last seen.

    Args:
        root: the export's root.
    """

    persistent = True

    def __init__(self, root: Path) -> None:
        self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._root_key = self.key_at(self._root, b"")
        self._places: OrderedDict[Key, tuple[Key, bytes]] = OrderedDict()
        self._walked = -WALK_INTERVAL

    def key_at(self, directory: int, name: bytes) -> Key:
        return _INODE_BIRTH.pack(*syscalls.inode_and_birth(directory, name))

    def is_of(self, key: Key, inode: int) -> bool:
        found: int = _INODE_BIRTH.unpack(key)[0]
        return found == inode

    def learn(self, key: Key, inode: int) -> None:
        """Every key tells it."""

    def remember(self, key: Key, directory: Key, name: bytes) -> None:
        if key == self._root_key:
            return
        self._places[key] = (directory, name)
        self._places.move_to_end(key)
        if len(self._places) > MAX_PLACES:
            self._places.popitem(last=False)

    def open(self, key: Key) -> int:
        try:
            return self._open_remembered(key)
        except OSError as error:
            if error.errno not in (ESTALE, ENOENT, ENOTDIR, ELOOP):
                raise
        if time.monotonic() - self._walked < WALK_INTERVAL:
            raise stale()
        self._walk()
        try:
            return self._open_remembered(key)
        except (FileNotFoundError, NotADirectoryError):
            raise stale() from None

    def _open_remembered(self, key: Key) -> int:
        """Open along the remembered places, from the root down, checking the key of the last."""
        names: list[bytes] = []
        at = key
        while at != self._root_key:
            place = self._places.get(at)
            if place is None or len(names) > 1024:
                raise stale()
            at, name = place
            names.append(name)
        descriptor = os.open(".", OPEN_PATH, dir_fd=self._root)
        while names:
            above, name = descriptor, names.pop()
            try:
                descriptor = os.open(name, OPEN_PATH, dir_fd=above)
            finally:
                os.close(above)
        if self.key_at(descriptor, b"") != key:
            os.close(descriptor)
            raise stale()
        return descriptor

    def _walk(self) -> None:
        keys: dict[str, Key] = {".": self._root_key}
        for path, directories, files, directory in os.fwalk(".", dir_fd=self._root, follow_symlinks=False):
            above = keys.pop(path, None)
            if above is None:
                continue
            for name in (*directories, *files):
                try:
                    key = self.key_at(directory, os.fsencode(name))
                except FileNotFoundError:
                    continue
                self.remember(key, above, os.fsencode(name))
                keys[f"{path}/{name}"] = key
            for name in files:
                keys.pop(f"{path}/{name}", None)
        self._walked = time.monotonic()

    def close(self) -> None:
        os.close(self._root)
        self._root = -1


def choose_keys(root: Path) -> Keys:
    """The best way that works at `root`."""
    try:
        return KernelKeys(root)
    except OSError:
        return IndexedKeys(root)
