"""Opening a bridged file store: the tree becomes like the far side, save for what waits here to be uploaded, which wins."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Mapping
from concurrent.futures import Executor
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Final

from labemu_store.errors import UNREACHABLE, StoreConfigError, StoreError
from labemu_store.file.bridge.courier import Courier, identity_of_path
from labemu_store.file.bridge.far import MARK, FarSide, Object
from labemu_store.file.bridge.ledger import File, Ledger, stamp_of
from labemu_store.file.bridge.store import BridgedFileStore
from labemu_store.remote.holder import Holder
from labemu_store.remote.opening import explained, open_filesystem, redacted

_NAME_MAX: Final = 255

_log = logging.getLogger(__name__)


def open_bridge(
    url: str,
    *,
    folder: Path | None = None,
    durable_far: bool = False,
    storage: Mapping[str, object] = MappingProxyType({}),
    executor: Executor | None = None,
) -> BridgedFileStore:
    """The store of the files below a URL.

    Args:
        url: of the tree, as fsspec takes it: `s3://bucket/prefix`.
        folder: where the tree is kept on this machine: it outlives a kill, and is taken up by the next opening. None is a temporary
            one, which goes when the store is closed and all is uploaded.
        durable_far: what clients make durable (COMMIT, FILE_SYNC) is at the far side before they are answered. Else it is in the folder
            then, and at the far side some seconds later.
        storage: options of the filesystem, for instance credentials.
        executor: on whose threads its calls are made.

    Raises:
        StoreConfigError: with a hint: no such filesystem, no access, the folder or the tree is in use.
    """
    with ExitStack() as stack, explained(url):
        filesystem, prefix = open_filesystem(url, storage, executor)
        far = FarSide(filesystem, prefix)
        temporary = folder is None
        folder = Path(tempfile.mkdtemp(prefix="labemu-files-")) if folder is None else folder
        if temporary:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        tree = folder / "tree"
        tree.mkdir(mode=0o755, parents=True, exist_ok=True)
        lock = _locked(folder)
        stack.callback(os.close, lock)
        ledger = Ledger(folder / "ledger.db", redacted(url))
        stack.callback(ledger.close)
        holder = Holder(filesystem, far.prefix, folder, name=MARK, what="the files")
        _join(_Opening(tree.resolve(), far, ledger), holder, known=bool(ledger.objects), url=url)
        courier = Courier(tree.resolve(), far, ledger)
        closed = partial(_close, folder, lock, holder, temporary=temporary)
        store = BridgedFileStore(
            tree, redacted(url), courier, ledger, durable_far=durable_far, closed=lambda whole: closed(whole=whole)
        )
        stack.pop_all()
        courier.start()
        courier.ask()
    return store


def _join(opening: _Opening, holder: Holder, *, known: bool, url: str) -> None:
    """Make the tree like the far side; where that cannot be reached and the tree is known, it is served as we left it."""
    try:
        holder.take()
        opening.compare()
    except StoreError as error:
        if not known or error.errno not in UNREACHABLE:
            if not known:
                holder.release()
            raise
        _log.warning("%s: %s; serving what was known", redacted(url), error.strerror)


def _locked(folder: Path) -> int:
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise StoreConfigError(
            f"the folder {folder} is used by another server", hint="give each export a folder of its own"
        ) from None
    return lock


def _close(folder: Path, lock: int, holder: Holder, *, temporary: bool, whole: bool) -> None:
    """Where all is at the far side the mark goes, and a temporary folder with it."""
    if whole:
        holder.release()
    os.close(lock)
    if temporary and whole:
        shutil.rmtree(folder, ignore_errors=True)


class _Opening:
    """Makes the tree like the far side."""

    def __init__(self, tree: Path, far: FarSide, ledger: Ledger) -> None:
        self._tree = tree
        self._far = far
        self._ledger = ledger
        self._local: dict[str, File] = {}
        self._take_stock()

    def compare(self) -> None:
        """Look at the far side, and change what is otherwise. Raises StoreError."""
        objects = self._far.list()
        changed: list[File] = []
        for path in [path for path in self._ledger.objects if path not in objects]:
            self._vanished(path)
        for path, object_ in objects.items():
            known = self._ledger.objects.get(path)
            if known == object_.tag:
                continue
            file = self._appeared(path, object_, known=known is not None)
            if file is not None:
                changed.append(file)
            if known is not None or path in self._local:  # what is left out is none of ours, and stays as it is
                self._ledger.note(path, object_.tag)
        self._ledger.keep(changed)

    def _take_stock(self) -> None:
        """Which files there are here, and which of them were changed since they were uploaded."""
        found: dict[str, File] = {}
        for place, _, names in os.walk(self._tree):
            for name in names:
                whole = Path(place) / name
                with suppress(OSError):
                    identity = identity_of_path(str(whole))
                    file = self._ledger.files.get(identity) or File(identity)
                    result = whole.lstat()
                    file.cut(result.st_size)
                    if file.object and stamp_of(result) == file.stamp:
                        file.carried = file.changes
                    found[str(whole.relative_to(self._tree))] = file
        self._local = found
        present = {file.identity for file in found.values()}
        self._ledger.forget([file for file in self._ledger.files.values() if file.identity not in present])
        self._ledger.files.update((file.identity, file) for file in found.values())

    def _vanished(self, path: str) -> None:
        """An object is gone that was there when we left."""
        file = self._local.get(path)
        if file is not None and file.clean and file.object == path:
            (self._tree / path).unlink()
            del self._local[path]
            self._ledger.forget([file])
        self._ledger.note(path, None)

    def _appeared(self, path: str, object_: Object, *, known: bool) -> File | None:
        """An object is new, or another than when we left."""
        file = self._local.get(path)
        if file is not None and not (file.clean and file.object == path):
            if not known:
                _log.warning("%s was changed here and at the far side: ours goes there", path)
            return None
        if known and file is None:
            return None  # it was removed here
        parts = PurePosixPath(path).parts
        if "/".join(parts) != path or ".." in parts or any(len(os.fsencode(part)) > _NAME_MAX for part in parts):
            _log.warning("%s cannot be a file's name, and is left out", path)
            return None
        whole = self._tree / path
        try:
            whole.parent.mkdir(parents=True, exist_ok=True)
            whole.unlink(missing_ok=True)
            with whole.open("xb") as made:
                made.truncate(object_.size)
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            _log.warning("%s is a file and a folder at once, and the one is left out", path)
            return None
        whole.chmod(0o644)
        if object_.time:
            os.utime(whole, ns=(object_.time, object_.time))
        file = File.absent(identity_of_path(str(whole)), path, object_.size, stamp_of(whole.lstat()))
        self._ledger.files[file.identity] = self._local[path] = file
        return file
