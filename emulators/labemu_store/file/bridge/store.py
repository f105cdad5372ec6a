"""The file store before a far side: the tree in its folder, with what objects cannot do refused."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from labemu_store.errors import UNREACHABLE, AbsentError, StoreError
from labemu_store.file.bridge.courier import Courier
from labemu_store.file.bridge.ledger import CHUNK, File, Ledger, identity_of
from labemu_store.file.local import LocalFileStore
from labemu_store.file.protocol import Buffer
from labemu_store.file.types import AttributeChange, FileKind, Key, Ownership, XattrMode

_log = logging.getLogger(__name__)


def _refused() -> OSError:
    return OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


class BridgedFileStore(LocalFileStore):
    """A FileStore over a tree in a folder, which a courier carries to a far side.

    An operation that needs bytes which are not here raises AbsentError. There are no hard links, symlinks, special files and extended
    attributes; owners, modes and times are kept in the folder only, and so are directories without files.

    Args:
        tree: the folder's tree.
        url: of the far side, without secrets.
        courier: carries; started by whoever made it.
        ledger: what the far side has.
        durable_far: see open_bridge.
        closed: called at the end, with whether all was uploaded.
    """

    def __init__(
        self,
        tree: Path,
        url: str,
        courier: Courier,
        ledger: Ledger,
        *,
        durable_far: bool = False,
        closed: Callable[[bool], None] = lambda _: None,
    ) -> None:
        super().__init__(tree)
        self._url = url
        self._courier = courier
        self._ledger = ledger
        self._durable_far = durable_far
        self._closed = closed
        self._known: dict[Key, File] = {}
        self._capabilities = replace(
            self._capabilities, hard_links=False, symlinks=False, special_files=False, xattrs=False
        )

    @property
    def url(self) -> str:
        return self._url

    @property
    def waiting(self) -> bool:
        """Whether something changed that is not at the far side yet."""
        return self._courier.waiting

    def look(self) -> None:
        """The tree was changed otherwise than through this store."""
        self._courier.ask_moved()

    def complete(self, path: str) -> None:
        """Fetch what is absent of a file, `a/b`; in any thread. Raises OSError."""
        self._courier.complete_path(path)

    def carry(self) -> None:
        """Bring all that changed to the far side now. Raises OSError."""
        self._courier.carry()

    def _file(self, node: Key) -> File:
        """What is known of a file; one that was just made is known from now on."""
        file = self._known.get(node)
        if file is None:
            identity = identity_of(self._open.node(node).path)
            file = self._ledger.files.setdefault(identity, File(identity))
            self._known[node] = file
        return file

    # -- bytes ---------------------------------------------------------------------------------------------------------

    def read(self, node: Key, offset: int, size: int) -> bytes:
        file = self._known.get(node) or self._file(node)
        if file.here is not None:
            self._need(node, file, offset, size)
        return super().read(node, offset, size)

    def _need(self, node: Key, file: File, offset: int, size: int) -> None:
        """Raise AbsentError unless these bytes are here."""
        absent = file.missing(offset, size) if size > 0 else None
        if absent is not None:
            descriptor = os.dup(self._open.node(node).open_data(write=True))
            raise AbsentError(partial(_fetch, self._courier, file, descriptor, absent))

    def write(self, node: Key, offset: int, data: Buffer) -> int:
        file = self._known.get(node) or self._file(node)
        if file.here is not None and len(data):
            self._before_write(node, file, offset, len(data))
        self._touch(file)
        return super().write(node, offset, data)

    def _before_write(self, node: Key, file: File, offset: int, size: int) -> None:
        """Chunks that are written as a whole need not be fetched; the first and the last may have to be."""
        end = offset + size
        first, last = -(-offset // CHUNK), end // CHUNK
        if offset % CHUNK:
            self._need(node, file, offset, 1)
        if end % CHUNK and end < file.reach:
            self._need(node, file, end - 1, 1)
        with file.lock:
            here = file.here
            if here is not None:
                stop = len(here) if end >= file.reach else min(last, len(here))
                here[first:stop] = b"\1" * max(0, stop - first)
                file.settle()

    def _touch(self, file: File) -> None:
        file.changes += 1
        self._courier.ask()

    def setattr(self, node: Key, change: AttributeChange) -> None:
        if change.size is None:
            super().setattr(node, change)
            return
        file = self._file(node)
        self._touch(file)
        file.cut(change.size)
        super().setattr(node, change)

    def sync(self, node: Key) -> Callable[[], None]:
        work = super().sync(node)
        opened = self._open.node(node)
        if self.getattr(node).kind is not FileKind.REGULAR:
            return partial(_sync_names, work, self._courier) if self._durable_far else work
        file = self._file(node)
        if self._durable_far:
            return partial(_sync_far, work, self._courier, file, os.dup(opened.path))
        return partial(_sync_here, work, self._ledger, file) if file.noted or file.here is not None else work

    # -- holes and copies: of files that are whole ----------------------------------------------------------------------

    def _need_all(self, node: Key) -> File:
        file = self._file(node)
        if file.here is not None:
            self._need(node, file, 0, file.reach)
        return file

    def seek(self, node: Key, offset: int, *, data: bool) -> int:
        self._need_all(node)
        return super().seek(node, offset, data=data)

    def allocate(self, node: Key, offset: int, size: int) -> None:
        self._touch(self._need_all(node))
        super().allocate(node, offset, size)

    def deallocate(self, node: Key, offset: int, size: int) -> None:
        self._touch(self._need_all(node))
        super().deallocate(node, offset, size)

    def copy(self, node: Key, offset: int, to: Key, to_offset: int, size: int) -> Callable[[], int]:
        self._need_all(node)
        self._touch(self._need_all(to))
        return super().copy(node, offset, to, to_offset, size)

    def clone(self, node: Key, offset: int, to: Key, to_offset: int, size: int) -> None:
        self._need_all(node)
        self._touch(self._need_all(to))
        super().clone(node, offset, to, to_offset, size)

    # -- names ---------------------------------------------------------------------------------------------------------

    def create(self, directory: Key, name: bytes, owner: Ownership) -> Key:
        _check_text(name)
        key = super().create(directory, name, owner)
        self._known.pop(key, None)
        self._file(key).changes += 1
        self._courier.ask_moved()
        return key

    def mkdir(self, directory: Key, name: bytes, owner: Ownership) -> Key:
        _check_text(name)
        return super().mkdir(directory, name, owner)

    def symlink(self, directory: Key, name: bytes, target: bytes, owner: Ownership) -> Key:
        raise _refused()

    def mknod(self, directory: Key, name: bytes, kind: FileKind, device: tuple[int, int], owner: Ownership) -> Key:
        raise _refused()

    def link(self, node: Key, directory: Key, name: bytes) -> None:
        raise _refused()

    def unlink(self, directory: Key, name: bytes) -> None:
        self._whole_if_kept(directory, name)
        super().unlink(directory, name)
        self._forget_gone()
        self._courier.ask_moved()

    def rename(self, directory: Key, name: bytes, to_directory: Key, to_name: bytes) -> None:
        _check_text(to_name)
        self._whole_if_kept(to_directory, to_name)
        super().rename(directory, name, to_directory, to_name)
        self._forget_gone()
        self._courier.ask_moved()

    def _whole_if_kept(self, directory: Key, name: bytes) -> None:
        """A file that is open somewhere and about to lose its name must be all here, for its object goes with the name."""
        with suppress(FileNotFoundError):
            key = self.lookup(directory, name)
            if self._open.is_kept(key) and self.getattr(key).kind is FileKind.REGULAR:
                self._need_all(key)

    def _forget_gone(self) -> None:
        """Keys of files without a name are of no more use; they are few between two passes of the courier."""
        if len(self._known) > 2 * len(self._ledger.files) + 1024:
            self._known.clear()

    def close(self) -> None:
        """Upload what waits. What cannot be uploaded stays in the folder, for the next opening."""
        self._courier.stop()
        try:
            self._courier.carry()
        except OSError as error:
            _log.error("%s: %s; what was not uploaded is kept in %s", self._url, error.strerror, self._path.parent)
            whole = False
        else:
            whole = True
        self._ledger.keep(self._ledger.files.values())
        self._ledger.close()
        super().close()
        self._closed(whole)

    # -- extended attributes --------------------------------------------------------------------------------------------

    def getxattr(self, node: Key, name: bytes) -> bytes:
        raise _refused()

    def setxattr(self, node: Key, name: bytes, value: Buffer, mode: XattrMode) -> None:
        raise _refused()

    def listxattr(self, node: Key) -> list[bytes]:
        raise _refused()

    def removexattr(self, node: Key, name: bytes) -> None:
        raise _refused()


def _check_text(name: bytes) -> None:
    """Objects have names of text. Raises EINVAL."""
    try:
        name.decode()
    except UnicodeDecodeError:
        raise OSError(errno.EINVAL, "the name is not UTF-8") from None


def _fetch(courier: Courier, file: File, descriptor: int, chunks: range) -> None:
    try:
        courier.fetch(file, descriptor, chunks)
    except StoreError as error:
        if error.errno in UNREACHABLE:  # one word for all of them: try again
            raise StoreError(errno.ETIMEDOUT, error.strerror) from None
        raise
    finally:
        os.close(descriptor)


def _sync_here(work: Callable[[], None], ledger: Ledger, file: File) -> None:
    """Which bytes are here must be known as long as the bytes: else they would be fetched again, over what was written."""
    work()
    ledger.keep([file])


def _sync_far(work: Callable[[], None], courier: Courier, file: File, descriptor: int) -> None:
    try:
        work()
        courier.bring(descriptor, file.identity)
    finally:
        os.close(descriptor)


def _sync_names(work: Callable[[], None], courier: Courier) -> None:
    work()
    courier.carry()
