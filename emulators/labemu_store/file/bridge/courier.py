"""Makes the far side like the tree: what changed is uploaded, what was renamed is copied there, what is gone is removed.

A pass looks at the whole tree and compares it with the ledger, so it does not matter which changes came in which order, nor whether an
earlier pass was cut off. An upload takes the file as it is at that moment, and what is written meanwhile is the next pass's.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import groupby
from pathlib import Path
from typing import Final, NamedTuple

from labemu_store.errors import StoreError
from labemu_store.file.bridge.far import FarSide
from labemu_store.file.bridge.ledger import CHUNK, NEVER, File, Identity, Ledger, identity_of, stamp_of

QUIET: Final = 2.0
"""Seconds without a change after which what changed is uploaded."""

LONGEST: Final = 30.0
"""Seconds after which it is, however busy clients are."""

_BACKOFF: Final = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds until another try, after so many failures."""

_AHEAD: Final = 4
"""Chunks that are fetched at once at most."""

_TICK: Final = 50_000_000
"""Nanoseconds within which two changes of a file may leave the same time on it (Linux: up to 10 ms)."""

_log = logging.getLogger(__name__)


class _Found(NamedTuple):
    """A file of the tree: where it is, and which it is."""

    path: str
    identity: Identity


class Courier:
    """Carries files to the far side.

    Args:
        tree: the folder that clients see.
        far: the far side.
        ledger: what is known.
    """

    def __init__(self, tree: Path, far: FarSide, ledger: Ledger) -> None:
        self._tree = tree
        self._far = far
        self._ledger = ledger
        self._passing = threading.Lock()
        self._condition = threading.Condition()
        self._asked = 0
        self._done = 0
        self._moves = 0
        self._stopping = False
        self._thread: threading.Thread | None = None

    # --- when -----------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Carry in the background from now on."""
        self._thread = threading.Thread(target=self._work, name="labemu-courier", daemon=True)
        self._thread.start()

    def ask(self) -> None:
        """Something changed."""
        with self._condition:
            self._asked += 1
            self._condition.notify_all()

    def ask_moved(self) -> None:
        """A name was given, taken or changed."""
        self._moves += 1
        self.ask()

    @property
    def waiting(self) -> bool:
        """Whether something changed that is not at the far side yet."""
        return self._asked != self._done

    def stop(self) -> None:
        """End the background work; what is under way is finished."""
        with self._condition:
            self._stopping = True
            self._condition.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _work(self) -> None:
        failures = 0
        while self._await(_BACKOFF[min(failures, len(_BACKOFF)) - 1] if failures else 0.0):
            try:
                self.carry()
                failures = 0
            except OSError as error:
                if not failures:
                    _log.warning("%s: %s; trying again", self._far.prefix, error.strerror)
                failures += 1

    def _await(self, pause: float) -> bool:
        """Wait until there is something to carry, and a quiet moment; False when it is over."""
        with self._condition:
            if pause:
                self._condition.wait_for(lambda: self._stopping, pause)
            self._condition.wait_for(lambda: self._stopping or self.waiting)
            left = LONGEST
            while left > 0 and not self._stopping:
                before = self._asked
                if not self._condition.wait_for(lambda before=before: self._stopping or self._asked != before, QUIET):  # type: ignore[misc]
                    break
                left -= QUIET
            return not self._stopping

    # --- passes ---------------------------------------------------------------------------------------------------------

    def carry(self) -> None:
        """Make the far side like the tree is now.

        Raises:
            OSError: the far side failed; what was done is done, and the next pass goes on.
        """
        with self._passing:
            asked, moves = self._asked, self._moves
            before = list(self._ledger.files.values())
            found = list(self._files())
            for each in found:
                self._bring(each)
            if moves != self._moves:
                self._done = (
                    asked - 1
                )  # what was renamed meanwhile may have been missed: nothing is taken for gone in this pass
                return
            self._remove({each.path for each in found})
            present = {each.identity for each in found}
            self._ledger.forget([file for file in before if file.identity not in present])
            self._done = asked

    def _remove(self, paths: set[str]) -> None:
        for path in [path for path in self._ledger.objects if path not in paths]:
            self._far.remove(path)
            self._ledger.note(path, None)

    def bring(self, descriptor: int, identity: Identity) -> None:
        """Bring one file to the far side now. Raises OSError."""
        with self._passing:
            whole = os.readlink(f"/proc/self/fd/{descriptor}")
            with suppress(ValueError, FileNotFoundError):
                path = str(Path(whole).relative_to(self._tree))
                if identity_of_path(whole) == identity:
                    self._bring(_Found(path, identity))

    def _files(self) -> Iterator[_Found]:
        """All regular files of the tree."""
        for folder, _, names, descriptor in os.fwalk(self._tree):
            above = Path(folder).relative_to(self._tree)
            for name in names:
                with suppress(OSError), _opened(name, descriptor) as file:
                    yield _Found(str(above / name), identity_of(file))

    def _bring(self, found: _Found) -> None:
        file = self._ledger.files.get(found.identity)
        if file is None:
            file = self._ledger.files.setdefault(found.identity, File(found.identity))
        if file.clean and file.object == found.path:
            return
        self._free(found)
        with suppress(FileNotFoundError), _opened(self._tree / found.path, write=file.here is not None) as descriptor:
            if identity_of(descriptor) != found.identity:
                return  # another has its name now: the next pass will see
            changes, stamp = file.changes, stamp_of(os.fstat(descriptor))
            if file.clean and file.object in self._ledger.objects:
                self._far.copy(file.object, found.path)
            else:
                self.complete(file, descriptor)
                self._far.put(f"/proc/self/fd/{descriptor}", found.path)
            racy = _now() - stamp[1] < _TICK
            self._ledger.note(found.path, self._far.look(found.path).tag)
            with file.lock:
                file.object, file.carried = found.path, changes
                file.stamp = NEVER if racy else stamp
            self._ledger.keep([file])

    def _free(self, found: _Found) -> None:
        """An object is about to be replaced: another file of the tree that counts on its bytes gets them first."""
        for other in list(self._ledger.files.values()):
            if other.object != found.path or other.identity == found.identity:
                continue
            if other.here is not None:
                for candidate in self._files():
                    if candidate.identity == other.identity:
                        with (
                            suppress(FileNotFoundError),
                            _opened(self._tree / candidate.path, write=True) as descriptor,
                        ):
                            self.complete(other, descriptor)
            with other.lock:
                other.object, other.carried, other.stamp = "", -1, NEVER
            self._ledger.keep([other])

    # --- fetching -------------------------------------------------------------------------------------------------------

    def complete(self, file: File, descriptor: int) -> None:
        """Fetch what is absent of a file. Raises OSError."""
        while file.here is not None:
            absent = file.missing(0, file.reach)
            if absent is None:
                with file.lock:
                    file.settle()
                return
            self.fetch(file, descriptor, absent)

    def complete_path(self, path: str) -> None:
        """As `complete`, of the file at a path of the tree. Raises OSError."""
        with _opened(self._tree / path, write=True) as descriptor:
            file = self._ledger.files.get(identity_of(descriptor))
            if file is not None:
                self.complete(file, descriptor)

    def fetch(self, file: File, descriptor: int, chunks: range) -> None:
        """Fetch those of some chunks that are absent, through a descriptor of the file that may be written. Raises OSError."""
        with file.fetching:
            for run in _runs(file, chunks):
                start, end = run[0] * CHUNK, min((run[-1] + 1) * CHUNK, file.reach)
                if start >= end:
                    continue
                data = self._far.read(file.object, start, end)
                if len(data) < end - start:
                    raise StoreError(errno.EIO, f"the object {file.object} has become shorter behind our back")
                self._place(file, descriptor, run, memoryview(data))

    @staticmethod
    def _place(file: File, descriptor: int, run: list[int], data: memoryview) -> None:
        with file.lock, _same_time(descriptor):
            here = file.here
            for chunk in run:
                if here is None or chunk >= len(here) or here[chunk]:
                    continue  # cut off or written meanwhile
                at = (chunk - run[0]) * CHUNK
                stop = min(at + CHUNK, file.reach - run[0] * CHUNK)
                os.pwrite(descriptor, data[at:stop], chunk * CHUNK)
                here[chunk] = 1
            file.settle()


def identity_of_path(path: str) -> Identity:
    """Of what a path names now. Raises FileNotFoundError."""
    with _opened(path) as descriptor:
        return identity_of(descriptor)


def _runs(file: File, chunks: range) -> list[list[int]]:
    """The absent ones of some chunks, neighbours together, a few at a time."""
    here = file.here
    absent = [chunk for chunk in chunks if here is not None and chunk < len(here) and not here[chunk]]
    runs = [[chunk for _, chunk in group] for _, group in groupby(enumerate(absent), lambda item: item[1] - item[0])]
    return [run[at : at + _AHEAD] for run in runs for at in range(0, len(run), _AHEAD)]


@contextmanager
def _opened(path: str | Path, folder: int | None = None, *, write: bool = False) -> Iterator[int]:
    flags = os.O_RDWR if write else os.O_RDONLY
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _same_time(descriptor: int) -> Iterator[None]:
    """Bytes that were there all the time, as clients see it, change no time."""
    before = os.fstat(descriptor)
    yield
    os.utime(descriptor, ns=(before.st_atime_ns, before.st_mtime_ns))


def _now() -> int:
    return time.time_ns()
