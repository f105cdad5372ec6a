"""What a MemoryFileStore keeps of a node."""

from __future__ import annotations

from labemu_store.file.types import FileKind, Ownership


class MemoryNode:
    """One node; `entries` and `cookies` matter for directories, `pages` for files, `target` for symlinks."""

    __slots__ = (
        "_ctime", "atime", "change", "cookies", "device", "entries", "gid", "key", "kind", "links", "mode", "mtime", "names",
        "next_cookie", "number", "pages", "parent", "size", "target", "uid", "xattrs",
    )  # fmt: skip

    def __init__(self, prefix: bytes, number: int, kind: FileKind, owner: Ownership, now: int) -> None:
        self.key = prefix + number.to_bytes(8, "big")
        self.number = number
        self.kind = kind
        self.mode, self.uid, self.gid = owner.mode, owner.uid, owner.gid
        self.links = 2 if kind is FileKind.DIRECTORY else 1
        self.size = 0
        self.device = (0, 0)
        self.change = 0
        self.atime = self.mtime = self.ctime = now
        self.entries: dict[bytes, tuple[int, MemoryNode]] = {}
        self.names: dict[int, bytes] = {}
        self.cookies: list[int] = []
        self.next_cookie = 3  # 1 and 2 are those of . and ..
        self.parent = self
        self.pages: dict[int, bytearray] = {}
        self.target = b""
        self.xattrs: dict[bytes, bytes] = {}

    @property
    def ctime(self) -> int:
        """When it was last changed; every change sets it, which is what `change` counts."""
        return self._ctime

    @ctime.setter
    def ctime(self, now: int) -> None:
        self._ctime = now
        self.change += 1

    def put(self, name: bytes, node: MemoryNode) -> None:
        """Give a node a name in this directory."""
        cookie = self.next_cookie
        self.next_cookie += 1
        self.entries[name] = (cookie, node)
        self.names[cookie] = name
        self.cookies.append(cookie)

    def take(self, name: bytes) -> MemoryNode:
        """Take a name away; returns what it was of."""
        cookie, node = self.entries.pop(name)
        del self.names[cookie]
        if len(self.cookies) > 2 * len(self.names) + 16:
            self.cookies = list(self.names)
        return node
