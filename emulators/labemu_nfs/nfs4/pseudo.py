"""The pseudo file system (RFC 7530 7, RFC 8881 7): directories that lead from one root to the exports.

Theory: it is a read-only FileStore whose nodes are the paths above exports, so every operation works on it as on any other; the one
place that knows more is LOOKUP, which asks `crossing` whether a name leads into an export. A key is a hash of the path, so
handles stay good across restarts. An export of `/` is the root itself; an export inside another is entered from there.
"""

from __future__ import annotations

from collections.abc import Callable
from errno import EINVAL, ENODATA, ENOENT, EROFS, ESTALE
from hashlib import blake2b
from typing import NoReturn

from labemu_nfs.exports import Export, ExportTable
from labemu_store.file.protocol import Buffer
from labemu_store.file.types import (
    AttributeChange,
    Attributes,
    Capabilities,
    DirectoryEntry,
    FileKind,
    Key,
    Ownership,
    Space,
    XattrMode,
)

_KEY_SIZE = 16
_FIRST_COOKIE = 3  # 1 and 2 are those of . and ..


def _key(path: str) -> Key:
    return blake2b(path.encode("utf-8", "surrogateescape"), digest_size=_KEY_SIZE).digest()


def _fileid(path: str) -> int:
    return int.from_bytes(_key(path)[:8], "big") >> 1 | 1


def _join(path: str, name: str) -> str:
    return f"/{name}" if path == "/" else f"{path}/{name}"


class _Directory:
    """One path above exports; `names` are what is below it, in order."""

    __slots__ = ("names", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self.names: list[str] = []


class PseudoStore:
    """The paths above the exports, as a FileStore that nothing can be changed in.

    Args:
        exports: where they lead.
    """

    root = _key("/")
    url = "pseudo:"
    capabilities = Capabilities(
        hard_links=False, symlinks=False, ownership=False, special_files=False, persistent_keys=True
    )

    def __init__(self, exports: ExportTable) -> None:
        self._exports = exports
        self._served: tuple[str, ...] = ()
        self._generation = -1
        self._directories: dict[Key, _Directory] = {self.root: _Directory("/")}
        self._change = 0

    def directories(self) -> dict[Key, _Directory]:
        """All of them, by key, as the exports are now."""
        if self._generation != self._exports.generation:
            self._generation = self._exports.generation
            served = tuple(export.path for export in self._exports)
            if served != self._served:
                self._served = served
                self._change += 1
                self._directories = _plant(served)
        return self._directories

    def at(self, key: Key) -> _Directory:
        """The directory of a key. Raises ESTALE."""
        found = self.directories().get(key)
        if found is None:
            raise OSError(ESTALE, "no export is below it any more")
        return found

    def getattr(self, node: Key) -> Attributes:
        """As of FileStore."""
        it = self.at(node)
        links = 2 + len(it.names)
        return Attributes(
            FileKind.DIRECTORY, 0o555, links, 0, 0, 4096, 0, (0, 0), _fileid(it.path), 0, 0, 0, self._change
        )

    def lookup(self, directory: Key, name: bytes) -> Key:
        """As of FileStore; the key of a path that is an export is that of the directory that the export covers."""
        it = self.at(directory)
        text = name.decode("utf-8", "surrogateescape")
        if text not in it.names:
            raise OSError(ENOENT, "no export is below it")
        return _key(_join(it.path, text))

    def peek(self, directory: Key, name: bytes) -> tuple[Key, Attributes]:
        """As of FileStore."""
        key = self.lookup(directory, name)
        return key, self.getattr(key)

    def glance(self, directory: Key, name: bytes) -> Attributes:
        """As of FileStore."""
        return self.getattr(self.lookup(directory, name))

    def parent(self, directory: Key) -> Key:
        """As of FileStore."""
        return _key(self.at(directory).path.rpartition("/")[0] or "/")

    def readdir(self, directory: Key, cookie: int, size: int) -> tuple[list[DirectoryEntry], bool]:
        """As of FileStore."""
        it = self.at(directory)
        above = it.path.rpartition("/")[0] or "/"
        entries = [DirectoryEntry(_fileid(it.path), b".", 1), DirectoryEntry(_fileid(above), b"..", 2)]
        for number, name in enumerate(it.names, _FIRST_COOKIE):
            fileid = _fileid(_join(it.path, name))
            entries.append(DirectoryEntry(fileid, name.encode("utf-8", "surrogateescape"), number))
        return [entry for entry in entries if entry.cookie > cookie], True

    def space(self) -> Space:
        """As of FileStore: nothing."""
        return Space(total=0, free=0, available=0, files_total=0, files_free=0, files_available=0)

    def sync(self, node: Key) -> Callable[[], None]:
        """As of FileStore: nothing is to be written."""
        return _nothing

    def close(self) -> None:
        """As of FileStore."""

    def readlink(self, node: Key) -> bytes:
        """As of FileStore: there is none."""
        raise OSError(EINVAL, "not a symlink")

    def read(self, node: Key, offset: int, size: int) -> bytes:
        """As of FileStore: there is no file."""
        raise OSError(EINVAL, "not a file")

    def setattr(self, node: Key, change: AttributeChange) -> None:
        """As of FileStore: refused."""
        _refuse()

    def write(self, node: Key, offset: int, data: Buffer) -> int:
        """As of FileStore: refused."""
        _refuse()

    def create(self, directory: Key, name: bytes, owner: Ownership) -> Key:
        """As of FileStore: refused."""
        _refuse()

    def mkdir(self, directory: Key, name: bytes, owner: Ownership) -> Key:
        """As of FileStore: refused."""
        _refuse()

    def symlink(self, directory: Key, name: bytes, target: bytes, owner: Ownership) -> Key:
        """As of FileStore: refused."""
        _refuse()

    def mknod(self, directory: Key, name: bytes, kind: FileKind, device: tuple[int, int], owner: Ownership) -> Key:
        """As of FileStore: refused."""
        _refuse()

    def link(self, node: Key, directory: Key, name: bytes) -> None:
        """As of FileStore: refused."""
        _refuse()

    def unlink(self, directory: Key, name: bytes) -> None:
        """As of FileStore: refused."""
        _refuse()

    def rmdir(self, directory: Key, name: bytes) -> None:
        """As of FileStore: refused."""
        _refuse()

    def rename(self, directory: Key, name: bytes, to_directory: Key, to_name: bytes) -> None:
        """As of FileStore: refused."""
        _refuse()

    def seek(self, node: Key, offset: int, *, data: bool) -> int:
        """As of FileStore: there is no file."""
        raise OSError(EINVAL, "not a file")

    def allocate(self, node: Key, offset: int, size: int) -> None:
        """As of FileStore: refused."""
        _refuse()

    def deallocate(self, node: Key, offset: int, size: int) -> None:
        """As of FileStore: refused."""
        _refuse()

    def copy(self, node: Key, offset: int, to: Key, to_offset: int, size: int) -> Callable[[], int]:
        """As of FileStore: refused."""
        _refuse()

    def clone(self, node: Key, offset: int, to: Key, to_offset: int, size: int) -> None:
        """As of FileStore: refused."""
        _refuse()

    def getxattr(self, node: Key, name: bytes) -> bytes:
        """As of FileStore: there is none."""
        raise OSError(ENODATA, "no such attribute")

    def setxattr(self, node: Key, name: bytes, value: Buffer, mode: XattrMode) -> None:
        """As of FileStore: refused."""
        _refuse()

    def listxattr(self, node: Key) -> list[bytes]:
        """As of FileStore: there is none."""
        return []

    def removexattr(self, node: Key, name: bytes) -> None:
        """As of FileStore: refused."""
        _refuse()


def _refuse() -> NoReturn:
    raise OSError(EROFS, "the paths above exports are the server's")


def _nothing() -> None:
    """The pseudo file system has nowhere to be written to."""


def _plant(paths: tuple[str, ...]) -> dict[Key, _Directory]:
    """The directories from the root down to each path, that included."""
    found = {_key("/"): _Directory("/")}
    for path in paths:
        at = "/"
        for name in path.strip("/").split("/") if path != "/" else ():
            above, at = found[_key(at)], _join(at, name)
            if name not in above.names:
                above.names.append(name)
            found.setdefault(_key(at), _Directory(at))
    return found


class PseudoRoot:
    """Where PUTROOTFH leads, and the ways from there into exports and back.

    Args:
        exports: what is served.
    """

    def __init__(self, exports: ExportTable) -> None:
        self._exports = exports
        self.store = PseudoStore(exports)
        self.export = Export(path="/", store=self.store, read_only=True)
        self._generation = -1
        self._ways: dict[tuple[int, Key, bytes], Export] = {}

    @property
    def start(self) -> Export:
        """The export whose root is the server's root: the pseudo file system unless `/` is exported."""
        return self._exports.by_path("/") or self.export

    def crossing(self, export: Export, directory: Key, name: bytes) -> Export | None:
        """The export that a name in a directory leads into, if any."""
        if export is self.export:
            at = self.store.directories().get(directory)
            text = name.decode("utf-8", "surrogateescape")
            return self._exports.by_path(_join(at.path, text)) if at is not None else None
        return self._inner().get((export.fsid, directory, name))

    def crosses(self, export: Export) -> bool:
        """Whether any name in an export may lead into another one."""
        return export is self.export or any(fsid == export.fsid for fsid, _, _ in self._inner())

    def _inner(self) -> dict[tuple[int, Key, bytes], Export]:
        """The exports that are inside others, by the place where they cover a directory."""
        if self._generation != self._exports.generation:
            self._generation = self._exports.generation
            self._ways = {}
            for export in self._exports:
                self._note(export)
        return self._ways

    def _note(self, export: Export) -> None:
        if export.path == "/":
            return
        above = self._exports.above(export.path.rpartition("/")[0] or "/")
        if above is None:
            return
        outer, rest = above
        *way, name = [*filter(None, rest.split("/")), export.path.rpartition("/")[2]]
        key = outer.store.root
        try:
            for step in way:
                key = outer.store.lookup(key, step.encode("utf-8", "surrogateescape"))
        except OSError:  # no such directory there: the export cannot be reached from the outer one
            return
        self._ways[outer.fsid, key, name.encode("utf-8", "surrogateescape")] = export

    def above(self, export: Export) -> tuple[Export, Key] | None:
        """The directory that an export's root is in, or None for the server's root."""
        if export is self.start:
            return None
        for (fsid, key, _), inner in self._inner().items():
            outer = self._exports.by_fsid(fsid)
            if inner is export and outer is not None:
                return outer, key
        path = export.path.rpartition("/")[0] or "/"
        return self.export, _key(path)

    def mounted_on(self, export: Export) -> int:
        """The fileid of the directory that an export's root covers (RFC 8881 5.8.2.19)."""
        return _fileid(export.path)
