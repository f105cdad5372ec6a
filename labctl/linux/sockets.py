"""One netlink socket a namespace, kept open: to open one needs a thread that enters the namespace, to use it needs nothing.

An open socket keeps its namespace alive after the last mount is gone. Whoever deletes namespaces therefore drops them here first.
A namespace that was deleted and made anew under the same path is told by its inode, which cannot be reused while we hold the socket.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from labctl.errors import LabError
from labctl.linux.errors import explain
from labctl.linux.namespaces import enter, in_own_thread
from labctl.linux.netlink import NetlinkSocket

CAPACITY = 256
"""Sockets kept open: the usual limit of open files is 1024, and a lab's daemon needs others."""


class _Entry:
    """An open socket, how many use it now, and whether it is to be closed after them."""

    def __init__(self, inode: int, opened: NetlinkSocket) -> None:
        self.inode = inode
        self.socket = opened
        self.users = 0
        self.dropped = False


class SocketPool:
    """Netlink sockets by namespace, the most recently used kept. Thread-safe.

    Args:
        capacity: how many to keep open while nobody uses them.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._lock = threading.Lock()
        self._entries: OrderedDict[Path, _Entry] = OrderedDict()

    def __enter__(self) -> SocketPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._entries)

    @contextmanager
    def use(self, namespace: Path) -> Iterator[NetlinkSocket]:
        """The socket of a namespace, opened where needed; it stays open for as long as it is used.

        Raises:
            KernelError: the namespace is gone or cannot be entered.
        """
        entry = self._acquire(namespace)
        try:
            yield entry.socket
        finally:
            with self._lock:
                entry.users -= 1
                if entry.dropped and not entry.users:
                    entry.socket.close()
                self._evict()

    def warm(self, namespaces: Iterable[Path]) -> None:
        """Open the sockets of many namespaces from one thread; one that cannot be entered is left for `use` to tell."""
        missing = [namespace for namespace in namespaces if self._known(namespace, _inode(namespace)) is None]
        if missing:
            in_own_thread(lambda: self._open(missing, skip_errors=True))

    def drop(self, namespaces: Iterable[Path]) -> None:
        """Close the sockets of namespaces that are about to be deleted."""
        with self._lock:
            for namespace in namespaces:
                self._discard(namespace)

    def close(self) -> None:
        """Close all."""
        self.drop(list(self._entries))

    def _acquire(self, namespace: Path) -> _Entry:
        inode = _inode(namespace)
        entry = self._known(namespace, inode, acquire=True)
        while entry is None:
            in_own_thread(lambda: self._open([namespace]))
            entry = self._known(namespace, _inode(namespace), acquire=True)
        return entry

    def _known(self, namespace: Path, inode: int, *, acquire: bool = False) -> _Entry | None:
        with self._lock:
            entry = self._entries.get(namespace)
            if entry is None or entry.inode != inode:
                return None
            self._entries.move_to_end(namespace)
            entry.users += acquire
            return entry

    def _open(self, namespaces: Iterable[Path], *, skip_errors: bool = False) -> None:
        for namespace in namespaces:
            try:
                enter(namespace)
                opened = NetlinkSocket()
            except OSError as error:
                raise explain(f"open a netlink socket in {namespace}", error) from error
            except LabError:
                if skip_errors:
                    continue
                raise
            # The inode of what was truly entered: the path may stand for another namespace by now.
            entry = _Entry(_inode(Path("/proc/thread-self/ns/net")), opened)
            with self._lock:
                self._discard(namespace)
                self._entries[namespace] = entry

    def _discard(self, namespace: Path) -> None:
        entry = self._entries.pop(namespace, None)
        if entry is None:
            return
        entry.dropped = True
        if not entry.users:
            entry.socket.close()

    def _evict(self) -> None:
        surplus = len(self._entries) - self._capacity
        if surplus > 0:
            idle = [namespace for namespace, entry in self._entries.items() if not entry.users]
            for namespace in idle[:surplus]:
                self._discard(namespace)


def _inode(namespace: Path) -> int:
    try:
        return os.stat(namespace).st_ino  # noqa: PTH116 - thrice as fast as Path.stat, and called for each request
    except OSError as error:
        raise explain(f"find network namespace {namespace}", error) from error
