"""The far side's files: objects below a prefix, named by their paths."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, NamedTuple

from labemu_store.remote.calls import IN_PLACE, OBJECTS, FileSystem, protocols, translated

MARK: Final = ".labemu-holder"
"""The object that says who writes here."""

_DRAFT: Final = ".labemu-part"
"""What a file ends in while it is made, where a write could be seen half done."""

_TAGS: Final = ("ETag", "etag", "mtime", "LastModified", "last_modified", "created")
"""Under which names filesystems tell that an object is another now."""

_TIMES: Final = ("LastModified", "last_modified", "mtime", "created")


class Object(NamedTuple):
    """An object: how many bytes, a word that is another when they are, and when they changed (nanoseconds, 0 where nobody says)."""

    size: int
    tag: str
    time: int


class FarSide:
    """The files below a prefix.

    Args:
        filesystem: where.
        prefix: the path of the tree in it.
    """

    def __init__(self, filesystem: FileSystem, prefix: str) -> None:
        self._filesystem = filesystem
        self.prefix = prefix.rstrip("/")
        kinds = protocols(filesystem)
        self._drafts = bool(kinds & IN_PLACE)
        self._folders = not kinds & OBJECTS

    def list(self) -> dict[str, Object]:
        """All files, by path. Raises StoreError."""
        with translated("listing the files"):
            self._filesystem.invalidate_cache()
            try:
                found = self._filesystem.find(self.prefix, detail=True)
            except FileNotFoundError:
                return {}
        files = {}
        for whole, info in found.items():
            path = whole[len(self.prefix) :].strip("/")
            if path and path != MARK and not path.endswith(_DRAFT) and info.get("type") != "directory":
                files[path] = _object(info)
        return files

    def look(self, path: str) -> Object:
        """One file. Raises StoreError."""
        with translated("looking at a file"):
            self._filesystem.invalidate_cache()
            return _object(self._filesystem.info(self._at(path)))

    def read(self, path: str, start: int, end: int) -> bytes:
        """Bytes of a file. Raises StoreError."""
        with translated("fetching from a file"):
            return self._filesystem.cat_file(self._at(path), start=start, end=end)

    def put(self, local: str, path: str) -> None:
        """Make or replace a file by one of this machine. Raises StoreError."""
        with translated("uploading a file"):
            self._make_room(path)
            if self._drafts:
                self._filesystem.put_file(local, self._at(path) + _DRAFT)
                self._filesystem.mv(self._at(path) + _DRAFT, self._at(path))
            else:
                self._filesystem.put_file(local, self._at(path))

    def copy(self, path: str, to: str) -> None:
        """Copy a file. Raises StoreError."""
        with translated("copying a file"):
            self._make_room(to)
            self._filesystem.cp_file(self._at(path), self._at(to))

    def remove(self, path: str) -> None:
        """Remove a file, which may be gone already. Raises StoreError."""
        with translated("removing a file"):
            try:
                self._filesystem.rm_file(self._at(path))
            except FileNotFoundError:
                return

    def _make_room(self, path: str) -> None:
        folder = self._at(path).rpartition("/")[0]
        if self._folders and folder:
            self._filesystem.makedirs(folder, exist_ok=True)

    def _at(self, path: str) -> str:
        return f"{self.prefix}/{path}"


def _object(info: dict[str, Any]) -> Object:
    tag = next((str(info[name]) for name in _TAGS if info.get(name) is not None), "")
    told = next((info[name] for name in _TIMES if info.get(name) is not None), None)
    return Object(int(info.get("size") or 0), tag, _nanoseconds(told))


def _nanoseconds(told: object) -> int:
    if isinstance(told, datetime):
        return int(told.timestamp() * 1e9)
    return int(told * 1e9) if isinstance(told, int | float) else 0
