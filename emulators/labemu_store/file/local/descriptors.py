"""A bounded cache of open nodes, by key.

Theory: a descriptor names the inode, so neither rename nor change from outside makes it wrong; only the death of the inode does,
which its link count of 0 tells on the next stat. That is the exact invalidation: no time-outs, no guesses.
Each node has an O_PATH descriptor and, once its bytes are wanted, a second one opened through /proc/self/fd, which follows no name.
"""

from __future__ import annotations

import os
import resource
import stat
from collections import OrderedDict
from errno import EACCES, EINVAL, EISDIR, EPERM, EROFS, ETXTBSY

from labemu_store.file.local.keys import Keys, stale
from labemu_store.file.types import Key

_FEWEST, _MOST = 400, 8192
_SHARE = 32


def default_limit() -> int:
    """How many nodes a store holds open, of two descriptors each: 400 under the usual limit of 1024 descriptors a process.

    Where more is allowed it is more: a sixteenth of the descriptors, since a process has several stores, up to 8192 nodes.
    """
    return max(_FEWEST, min(_MOST, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // _SHARE))


class Node:
    """An open node: `path` is its O_PATH descriptor, `data` the one for its bytes or entries, or -1.

    `change` is the change number that was last told, or more after a change of ours: Linux before 6.13 moves ctime once in some
    milliseconds only, so that two changes in one tick would look like one. `orphan` is a node that is kept though its last name is gone.
    """

    __slots__ = ("change", "data", "key", "orphan", "path", "writable")

    def __init__(self, key: Key, path: int) -> None:
        self.key = key
        self.path = path
        self.data = -1
        self.writable = False
        self.orphan = False
        self.change = 0

    @property
    def link(self) -> str:
        """A name of the node for calls that take no O_PATH descriptor."""
        return f"/proc/self/fd/{self.path}"

    def stat(self) -> os.stat_result:
        """The node's stat. Raises ESTALE once its last name is gone, unless it is kept."""
        result = os.fstat(self.path)
        if result.st_nlink == 0 and not self.orphan:
            raise stale()
        return result

    def open_directory(self) -> int:
        """The descriptor for listing it. Raises ENOTDIR."""
        if self.data < 0:
            self.data = os.open(self.link, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return self.data

    def open_data(self, *, write: bool) -> int:
        """The descriptor for its bytes. Raises EISDIR, EINVAL for special files, EACCES, EROFS."""
        if self.data >= 0 and (self.writable or not write):
            return self.data
        mode = os.fstat(self.path).st_mode
        if not stat.S_ISREG(mode):
            code = EISDIR if stat.S_ISDIR(mode) else EINVAL
            raise OSError(code, os.strerror(code))
        try:
            opened = os.open(self.link, os.O_RDWR | os.O_CLOEXEC)
            self.writable = True
        except OSError as error:
            if write or error.errno not in (EACCES, EPERM, EROFS, ETXTBSY):
                raise
            opened = os.open(self.link, os.O_RDONLY | os.O_CLOEXEC)
        if self.data >= 0:
            os.close(self.data)
        self.data = opened
        return opened

    def close(self) -> None:
        """Give back both descriptors."""
        os.close(self.path)
        if self.data >= 0:
            os.close(self.data)


class Descriptors:
    """Open nodes by key, the least recently used closed first.

    Args:
        keys: opens a key.
        limit: nodes held open.
    """

    def __init__(self, keys: Keys, limit: int) -> None:
        self._keys = keys
        self._limit = limit
        self._nodes: OrderedDict[Key, Node] = OrderedDict()
        self._kept: dict[Key, int] = {}
        self._orphans: dict[Key, Node] = {}

    def __len__(self) -> int:
        return len(self._nodes)

    def __contains__(self, key: Key) -> bool:
        return key in self._nodes or key in self._orphans

    def node(self, key: Key) -> Node:
        """The open node of a key. Raises ESTALE."""
        node = self._nodes.get(key)
        if node is not None:
            self._nodes.move_to_end(key)
            return node
        node = self._orphans.get(key)
        if node is not None:
            return node
        node = Node(key, self._keys.open(key))
        self.add(node)
        return node

    def changed(self, key: Key) -> None:
        """A node was changed; one that is not open has told no number that could be told again."""
        node = self._nodes.get(key) or self._orphans.get(key)
        if node is not None:
            node.change += 1

    def change_after(self, key: Key, ctime: int) -> int:
        """The change number of a node whose ctime is this now."""
        node = self._nodes.get(key)
        if node is None:
            return ctime
        if ctime > node.change:
            node.change = ctime
        return node.change

    def add(self, node: Node) -> None:
        """Keep a node that was opened otherwise (under its name)."""
        self._nodes[node.key] = node
        if len(self._nodes) > self._limit:
            self._nodes.popitem(last=False)[1].close()

    def forget(self, key: Key) -> None:
        """Close a node, so that its blocks are given back where it has no name left."""
        node = self._nodes.pop(key, None)
        if node is not None:
            node.close()

    def keep(self, key: Key) -> None:
        """Once its last name is taken, the node is to be made an orphan; nests."""
        self._kept[key] = self._kept.get(key, 0) + 1

    def drop(self, key: Key) -> None:
        """One `keep` less; the last one closes an orphan."""
        self._kept[key] -= 1
        if not self._kept[key]:
            del self._kept[key]
            node = self._orphans.pop(key, None)
            if node is not None:
                node.close()

    def is_kept(self, key: Key) -> bool:
        """Whether somebody keeps it."""
        return key in self._kept

    def hold(self, key: Key) -> None:
        """Before a name of a node is taken: where it is kept, see that it is open, for it cannot be opened without a name."""
        if key in self._kept:
            self.node(key)

    def reap(self, key: Key) -> None:
        """A name was taken: close what has none left, so that its blocks are free at once, or keep it out of the others' way."""
        node = self._nodes.get(key)
        if node is None or os.fstat(node.path).st_nlink:
            return
        if key not in self._kept:
            self.forget(key)
            return
        del self._nodes[key]
        node.orphan = True
        self._orphans[key] = node

    def close(self) -> None:
        """Close all of them."""
        while self._orphans:
            self._orphans.popitem()[1].close()
        while self._nodes:
            self._nodes.popitem()[1].close()
