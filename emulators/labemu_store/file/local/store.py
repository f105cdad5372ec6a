"""A file store over a local directory.

Rules: every name is resolved relative to an open directory, one component at a time, without following a symlink, so no race with
whoever else changes the tree leads out of it. The clients' identities are applied with chown after creation; the umask plays no part.
Another file system mounted inside the tree is not entered (EACCES), as inode numbers would clash.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from errno import EACCES, EFBIG, EINVAL, ENOENT, ENOTDIR, EOPNOTSUPP, EPERM
from functools import partial
from pathlib import Path

from labemu_store.file.local.descriptors import Descriptors, Node, default_limit
from labemu_store.file.local.directory import list_directory
from labemu_store.file.local.keys import OPEN_PATH, choose_keys, stale
from labemu_store.file.local.sparse import LocalSparse, has_xattrs
from labemu_store.file.protocol import Buffer
from labemu_store.file.types import (
    MAX_OFFSET,
    AttributeChange,
    Attributes,
    Capabilities,
    DirectoryEntry,
    FileKind,
    Key,
    Now,
    Ownership,
    Space,
)

_KINDS = {
    stat.S_IFREG: FileKind.REGULAR,
    stat.S_IFDIR: FileKind.DIRECTORY,
    stat.S_IFBLK: FileKind.BLOCK,
    stat.S_IFCHR: FileKind.CHARACTER,
    stat.S_IFLNK: FileKind.SYMLINK,
    stat.S_IFSOCK: FileKind.SOCKET,
    stat.S_IFIFO: FileKind.FIFO,
}
_FORMATS = {kind: form for form, kind in _KINDS.items()}
_MAX_MAJOR, _MAX_MINOR = 2**12 - 1, 2**20 - 1
"""What Linux keeps of a device number (MKDEV)."""

_MAX_DEPTH = 1024
"""Directories between a directory and the root: PATH_MAX allows 2048; a longer chain is not ours to follow."""


def attributes_of(result: os.stat_result, change: int) -> Attributes:
    """A stat and a change number as attributes."""
    mode = result.st_mode
    kind = _KINDS[stat.S_IFMT(mode)]
    device = result.st_rdev
    return Attributes(
        kind,
        mode & 0o7777,
        result.st_nlink,
        result.st_uid,
        result.st_gid,
        result.st_size,
        result.st_blocks * 512,
        (os.major(device), os.minor(device)) if device else (0, 0),
        result.st_ino,
        result.st_atime_ns,
        result.st_mtime_ns,
        result.st_ctime_ns,
        change,
    )


def _bound(limit: int) -> int:
    """A limit of pathconf, which is -1 where there is none."""
    return limit if limit >= 0 else 0xFFFF_FFFF


def check_name(name: bytes) -> None:
    """Raise EINVAL for what is no single component."""
    if not name or b"/" in name or b"\0" in name or name in (b".", b".."):
        raise OSError(EINVAL, "not a file's name")


class LocalFileStore(LocalSparse):
    """A FileStore over a directory of this machine.

    Args:
        root: the directory.
        descriptors: how many nodes are held open at once; None for what the process's limit allows.

    Raises:
        OSError: it is not there, or is no directory.
    """

    def __init__(self, root: Path, *, descriptors: int | None = None) -> None:
        self._path = root.resolve()
        if not self._path.is_dir():
            code = ENOTDIR if self._path.exists() else ENOENT
            raise OSError(code, os.strerror(code), str(self._path))
        self._keys = choose_keys(self._path)
        self._root_descriptor = os.open(self._path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._device = os.fstat(self._root_descriptor).st_dev
        self._root = self._keys.key_at(self._root_descriptor, b"")
        self._open = Descriptors(self._keys, default_limit() if descriptors is None else descriptors)
        self._privileged = os.geteuid() == 0
        self._capabilities = Capabilities(
            hard_links=True,
            symlinks=True,
            ownership=self._privileged,
            special_files=self._privileged,
            xattrs=has_xattrs(self._root_descriptor),
            persistent_keys=self._keys.persistent,
            max_name=os.pathconf(self._path, "PC_NAME_MAX"),
            max_links=_bound(os.pathconf(self._path, "PC_LINK_MAX")),
        )

    @property
    def root(self) -> Key:
        return self._root

    @property
    def url(self) -> str:
        return self._path.as_uri()

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    # -- nodes ---------------------------------------------------------------------------------------------------------

    def getattr(self, node: Key) -> Attributes:
        opened = self._open.node(node)
        result = os.fstat(opened.path)
        if result.st_nlink == 0 and not opened.orphan:
            self._open.forget(node)
            raise stale()
        ctime = result.st_ctime_ns
        if ctime > opened.change:
            opened.change = ctime
        return attributes_of(result, opened.change)

    def setattr(self, node: Key, change: AttributeChange) -> None:
        opened = self._open.node(node)
        opened.change += 1
        before = opened.stat()
        if change.size is not None:
            if change.size > MAX_OFFSET:
                raise OSError(EFBIG, os.strerror(EFBIG))
            os.ftruncate(opened.open_data(write=True), change.size)
        if change.uid is not None or change.gid is not None:
            self._chown(opened, change.uid, change.gid)
        if change.mode is not None and not stat.S_ISLNK(before.st_mode):
            os.chmod(opened.link, change.mode)
        if change.atime is not None or change.mtime is not None:
            self._set_times(opened, change)

    @staticmethod
    def _chown(node: Node, uid: int | None, gid: int | None) -> None:
        if 0xFFFFFFFF in (uid, gid):  # to chown(2) it means "leave as is"
            raise OSError(EINVAL, "no such owner")
        os.chown(node.link, -1 if uid is None else uid, -1 if gid is None else gid)

    @staticmethod
    def _set_times(node: Node, change: AttributeChange) -> None:
        if isinstance(change.atime, Now) and isinstance(change.mtime, Now):
            os.utime(node.link)
            return
        now = os.stat(node.link)
        clock = time.time_ns()
        atime = now.st_atime_ns if change.atime is None else clock if isinstance(change.atime, Now) else change.atime
        mtime = now.st_mtime_ns if change.mtime is None else clock if isinstance(change.mtime, Now) else change.mtime
        os.utime(node.link, ns=(atime, mtime))

    def readlink(self, node: Key) -> bytes:
        opened = self._open.node(node)
        if not stat.S_ISLNK(opened.stat().st_mode):
            raise OSError(EINVAL, os.strerror(EINVAL))
        return os.readlink(b"", dir_fd=opened.path)

    # -- bytes ---------------------------------------------------------------------------------------------------------

    def read(self, node: Key, offset: int, size: int) -> bytes:
        descriptor = self._open.node(node).open_data(write=False)
        if offset > MAX_OFFSET - size:
            return b""
        return os.pread(descriptor, size, offset)

    def write(self, node: Key, offset: int, data: Buffer) -> int:
        opened = self._open.node(node)
        descriptor = opened.open_data(write=True)
        opened.change += 1
        size = len(data)
        if offset > MAX_OFFSET - size:
            raise OSError(EFBIG, os.strerror(EFBIG))
        done = os.pwrite(descriptor, data, offset)
        while done < size:
            done += os.pwrite(descriptor, memoryview(data)[done:], offset + done)
        return size

    def sync(self, node: Key) -> Callable[[], None]:
        opened = self._open.node(node)
        if opened.data >= 0:
            return partial(_sync_and_close, os.dup(opened.data))
        mode = opened.stat().st_mode
        if stat.S_ISDIR(mode):
            return partial(_sync_and_close, os.dup(opened.open_directory()))
        if stat.S_ISREG(mode):
            return partial(_sync_and_close, os.dup(opened.open_data(write=False)))
        return _nothing

    # -- names ---------------------------------------------------------------------------------------------------------

    def lookup(self, directory: Key, name: bytes) -> Key:
        check_name(name)
        above = self._open.node(directory)
        key = self._key_of(above, name)
        return key if key in self._open else self._adopt(directory, above, name)

    def peek(self, directory: Key, name: bytes) -> tuple[Key, Attributes]:
        check_name(name)
        above = self._open.node(directory).path
        try:
            key = self._keys.key_at(above, name)
            result = os.stat(name, dir_fd=above, follow_symlinks=False)
            certain = self._keys.is_of(
                key, result.st_ino
            )  # if that number was given anew in between, the key is of nothing
        except OSError:
            certain = False
        if not certain or result.st_dev != self._device:
            result, key = self._peek_surely(above, name)
        self._keys.remember(key, directory, name)
        return key, attributes_of(result, self._open.change_after(key, result.st_ctime_ns))

    def _peek_surely(self, above: int, name: bytes) -> tuple[os.stat_result, Key]:
        """Stat and key of one node, by a descriptor of it, though its name may be given to another meanwhile."""
        descriptor = os.open(name, OPEN_PATH, dir_fd=above)
        try:
            result = os.fstat(descriptor)
            if result.st_dev != self._device:
                raise OSError(EACCES, "another file system is mounted there")
            key = self._keys.key_at(descriptor, b"")
        finally:
            os.close(descriptor)
        self._keys.learn(key, result.st_ino)
        return result, key

    def glance(self, directory: Key, name: bytes) -> Attributes:
        check_name(name)
        result = os.stat(name, dir_fd=self._open.node(directory).path, follow_symlinks=False)
        if result.st_dev != self._device:
            raise OSError(EACCES, "another file system is mounted there")
        return attributes_of(result, 0)

    def _key_of(self, above: Node, name: bytes) -> Key:
        """The key of a name. Raises ENOENT, ENOTDIR; ESTALE where it is the directory that is gone."""
        try:
            return self._keys.key_at(above.path, name)
        except FileNotFoundError:
            above.stat()
            raise

    def _directory(self, key: Key) -> Node:
        node = self._open.node(key)
        if not stat.S_ISDIR(node.stat().st_mode):
            raise OSError(ENOTDIR, os.strerror(ENOTDIR))
        return node

    def _adopt(self, directory: Key, above: Node, name: bytes) -> Key:
        """Open the node of a name and keep it; its key is taken from the descriptor, so both are of the same node."""
        descriptor = os.open(name, OPEN_PATH, dir_fd=above.path)
        try:
            if os.fstat(descriptor).st_dev != self._device:
                raise OSError(EACCES, "another file system is mounted there")
            key = self._keys.key_at(descriptor, b"")
        except BaseException:
            os.close(descriptor)
            raise
        self._keys.remember(key, directory, name)
        self._open.forget(key)
        self._open.add(Node(key, descriptor))
        return key

    def parent(self, directory: Key) -> Key:
        if directory == self._root:
            return directory
        above = os.open("..", OPEN_PATH, dir_fd=self._directory(directory).path)
        try:
            key = self._keys.key_at(above, b"")
            self._require_inside(above)
        finally:
            os.close(above)
        return key

    def path(self, node: Key) -> bytes:
        """Where a node is, `a/b`, as the kernel has it; empty for the root, and for what is out of the tree."""
        whole = os.fsencode(os.readlink(self._open.node(node).link))
        root = os.fsencode(self._path).rstrip(b"/") + b"/"
        return whole[len(root) :] if whole.startswith(root) else b""

    def _require_inside(self, descriptor: int) -> None:
        """Climb to the root, so that `..` of a directory that someone moved out of the tree is not followed."""
        root, at = os.fstat(self._root_descriptor), os.dup(descriptor)
        try:
            for _ in range(_MAX_DEPTH):
                here = os.fstat(at)
                if (here.st_dev, here.st_ino) == (root.st_dev, root.st_ino):
                    return
                above = os.open("..", OPEN_PATH, dir_fd=at)
                os.close(at)
                at = above
                if os.path.samestat(here, os.fstat(at)):
                    break
        finally:
            os.close(at)
        raise stale()

    def readdir(self, directory: Key, cookie: int, size: int) -> tuple[list[DirectoryEntry], bool]:
        if cookie > MAX_OFFSET:
            raise OSError(EINVAL, os.strerror(EINVAL))
        return list_directory(self._directory(directory).open_directory(), cookie, size)

    def create(self, directory: Key, name: bytes, owner: Ownership) -> Key:
        check_name(name)
        above = self._open.node(directory)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            data = os.open(name, flags, 0o600, dir_fd=above.path)
        except FileNotFoundError:
            raise stale() from None
        above.change += 1
        try:
            key = self._adopt(directory, above, name)
            node = self._open.node(key)
            node.data, node.writable = data, True
        except BaseException:
            os.close(data)
            raise
        self._own(above, node, owner)
        return key

    def mkdir(self, directory: Key, name: bytes, owner: Ownership) -> Key:
        check_name(name)
        above = self._directory(directory)
        os.mkdir(name, 0o700, dir_fd=above.path)
        return self._created(directory, above, name, owner)

    def symlink(self, directory: Key, name: bytes, target: bytes, owner: Ownership) -> Key:
        check_name(name)
        above = self._directory(directory)
        os.symlink(target, name, dir_fd=above.path)
        return self._created(directory, above, name, owner)

    def mknod(self, directory: Key, name: bytes, kind: FileKind, device: tuple[int, int], owner: Ownership) -> Key:
        check_name(name)
        if kind not in (FileKind.FIFO, FileKind.SOCKET, FileKind.BLOCK, FileKind.CHARACTER):
            raise OSError(EOPNOTSUPP, os.strerror(EOPNOTSUPP))
        if device[0] > _MAX_MAJOR or device[1] > _MAX_MINOR:
            raise OSError(EINVAL, os.strerror(EINVAL))
        above = self._directory(directory)
        os.mknod(name, _FORMATS[kind] | 0o600, os.makedev(*device), dir_fd=above.path)
        return self._created(directory, above, name, owner)

    def _created(self, directory: Key, above: Node, name: bytes, owner: Ownership) -> Key:
        above.change += 1
        key = self._adopt(directory, above, name)
        self._own(above, self._open.node(key), owner)
        return key

    def _own(self, above: Node, node: Node, owner: Ownership) -> None:
        """Give a new node its owner and mode; a set-gid directory gives its group and, to directories, its bit."""
        there = os.fstat(above.path)
        gid, mode = owner.gid, owner.mode
        is_new = os.fstat(node.path)
        if there.st_mode & stat.S_ISGID:
            gid = there.st_gid
            if stat.S_ISDIR(is_new.st_mode):
                mode |= stat.S_ISGID
        if (owner.uid, gid) != (is_new.st_uid, is_new.st_gid):
            self._give(node, owner.uid, gid)
        if node.data >= 0:
            os.fchmod(node.data, mode)
        elif not stat.S_ISLNK(is_new.st_mode):
            os.chmod(node.link, mode)

    def _give(self, node: Node, uid: int, gid: int) -> None:
        """Set a new node's owner; where that cannot be (an ordinary user's server, an unmapped id) it is the server's."""
        try:
            os.chown(node.link, uid, gid)
        except OSError as error:
            if error.errno != EINVAL and (self._privileged or error.errno != EPERM):
                raise

    def link(self, node: Key, directory: Key, name: bytes) -> None:
        check_name(name)
        above = self._directory(directory)
        opened = self._open.node(node)
        if stat.S_ISDIR(opened.stat().st_mode):
            raise OSError(EPERM, os.strerror(EPERM))
        os.link(opened.link, name, dst_dir_fd=above.path, follow_symlinks=True)
        above.change += 1
        opened.change += 1

    def unlink(self, directory: Key, name: bytes) -> None:
        check_name(name)
        above = self._open.node(directory)
        victim = self._key_of(above, name)
        self._open.hold(victim)
        os.unlink(name, dir_fd=above.path)
        above.change += 1
        self._open.changed(victim)
        self._open.reap(victim)

    def rmdir(self, directory: Key, name: bytes) -> None:
        check_name(name)
        above = self._directory(directory)
        victim = self._keys.key_at(above.path, name)
        os.rmdir(name, dir_fd=above.path)
        above.change += 1
        self._open.forget(victim)

    def rename(self, directory: Key, name: bytes, to_directory: Key, to_name: bytes) -> None:
        check_name(name)
        check_name(to_name)
        source, target = self._directory(directory), self._directory(to_directory)
        victim: Key | None = None
        with suppress(FileNotFoundError):
            victim = self._keys.key_at(target.path, to_name)
            self._open.hold(victim)
        os.rename(name, to_name, src_dir_fd=source.path, dst_dir_fd=target.path)
        moved = self._keys.key_at(target.path, to_name)
        self._keys.remember(moved, to_directory, to_name)
        for changed in {directory, to_directory, moved}:
            self._open.changed(changed)
        if victim is not None:
            self._open.changed(victim)
            self._open.reap(victim)

    def keep(self, node: Key) -> None:
        self._open.node(node).stat()
        self._open.keep(node)

    def drop(self, node: Key) -> None:
        self._open.drop(node)

    def space(self) -> Space:
        now = os.statvfs(self._root_descriptor)
        return Space(
            total=now.f_blocks * now.f_frsize,
            free=now.f_bfree * now.f_frsize,
            available=now.f_bavail * now.f_frsize,
            files_total=now.f_files,
            files_free=now.f_ffree,
            files_available=now.f_favail,
        )

    def close(self) -> None:
        self._open.close()
        os.close(self._root_descriptor)
        self._keys.close()


def _sync_and_close(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _nothing() -> None:
    """A symlink or special file has nothing of its own to make durable."""
