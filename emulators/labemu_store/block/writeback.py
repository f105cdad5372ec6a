"""Write-back: changes wait beside the process, and a flush brings them to a slow store.

What waits is a difference over the slow store (overlay.py). With a folder it is in files there: it outlives `kill -9`, and
is taken up by the next opening with the same folder. Without one it is in memory. A flush returns when all is at the slow
store, and so durable there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

from labemu_store.block import overlay
from labemu_store.block.api import BlockStore, Buffer, Capabilities
from labemu_store.block.file import FileBlockStore
from labemu_store.block.gate import Switch
from labemu_store.block.memory import MemoryBlockStore
from labemu_store.block.overlay import BASE, OverlayStore

_BATCH: Final = 16  # chunks: as many as an object store holds changed at a time
_PIECE: Final = 1 << 20  # what counts as a chunk of a store that has none
LIMIT: Final = 256 << 20  # bytes that wait at most; the write that passes it flushes


@runtime_checkable
class Prepared(Protocol):
    """A slow store that is quicker when it hears of several writes before they come."""

    def prepare(self, ranges: Sequence[tuple[int, int]]) -> None:
        """These ranges (offset and length, in order) are about to be written, and then flushed."""


class WriteBackStore(Switch):
    """A slow store behind a bounded space of changes.

    Args:
        slow: where the changes go; closed with this.
        folder: where they wait; None is memory.
        limit: bytes that may wait.
        emptied: called when it is closed and nothing waits any more.

    Raises:
        StoreConfigError: the folder is in use.
    """

    def __init__(
        self,
        slow: BlockStore,
        *,
        folder: Path | None = None,
        limit: int = LIMIT,
        emptied: Callable[[], None] = lambda: None,
    ) -> None:
        self._slow = slow
        self._limit = limit
        self._emptied = emptied
        self._kept = folder is not None
        self._flushing = threading.Lock()
        self._closed = self._discarded = False
        self._waiting = _difference(slow, folder)
        super().__init__(self._waiting)

    @property
    def capabilities(self) -> Capabilities:
        """The slow store's; what was not flushed outlives the process only in a folder."""
        return replace(self._slow.capabilities, blocking=True, survives_kill=self._kept)

    def write(self, offset: int, data: Buffer) -> None:
        """Into the space of changes; when that is full, what waits goes to the slow store first."""
        super().write(offset, data)
        if self._waiting.allocated() > self._limit:
            self.flush()

    def flush(self) -> None:
        """Bring what waits to the slow store, batch by batch, so that a failure loses no progress; other operations go on."""
        waiting = self._waiting
        with self._flushing:
            with self.held():
                ranges = [(run.offset, run.length) for run in waiting.runs(0, waiting.size) if run.state != BASE]
            for batch in _batches(ranges, self._slow.capabilities.granularity or _PIECE):
                self._bring(batch)

    def _bring(self, ranges: list[tuple[int, int]]) -> None:
        """Bring the ranges of one batch, as they are now, and let go of what did not change meanwhile."""
        waiting = self._waiting
        with self.held():
            waiting.track()
            runs = [run for each in ranges for run in waiting.runs(*each) if run.state != BASE]
        try:
            if isinstance(self._slow, Prepared):
                self._slow.prepare([(run.offset, run.length) for run in runs])
            waiting.push(runs, self._slow)
            self._slow.flush()
        except BaseException:
            waiting.changed()  # all of it still waits
            raise
        with self.held():
            waiting.forget(runs, waiting.changed())

    def allocated(self) -> int:
        """At the slow store, and what waits."""
        return self._slow.allocated() + self._waiting.allocated()

    @property
    def waiting(self) -> int:
        """Bytes that are not at the slow store yet."""
        return self._waiting.held()

    def discard(self) -> None:
        """Forget what waits: closing brings nothing to the slow store any more."""
        self._discarded = True

    def resize(self, size: int) -> None:
        """Flush, and resize the slow store and then the space of changes."""
        self.flush()
        with self.held():
            self._waiting.resize(size)
            self._slow.resize(size)

    def close(self) -> None:
        """Flush, and close both. What cannot be flushed stays in the folder."""
        if self._closed:
            return
        self._closed = True
        with ExitStack() as stack:
            stack.callback(self._slow.close)
            stack.callback(self._waiting.close)
            if not self._discarded:
                self.flush()
                self._emptied()


def _batches(ranges: Iterable[tuple[int, int]], chunk: int) -> Iterator[list[tuple[int, int]]]:
    """Ranges, cut where chunks meet, in batches of some chunks each: no chunk is in two of them, or it would be uploaded twice."""
    batch: list[tuple[int, int]] = []
    chunks, last = 0, -1
    for start, length in ranges:
        offset, end = start, start + length
        while offset < end:
            index = offset // chunk
            if index != last:
                if chunks == _BATCH:
                    yield batch
                    batch, chunks = [], 0
                chunks, last = chunks + 1, index
            stop = min((index + 1) * chunk, end)
            batch.append((offset, stop - offset))
            offset = stop
    if batch:
        yield batch


def _difference(slow: BlockStore, folder: Path | None) -> OverlayStore:
    if folder is None:
        data: BlockStore = MemoryBlockStore(0, name="writeback-data")
        table: BlockStore = MemoryBlockStore(0, name="writeback-table")
        overlay.create(data, table, slow.size)
        return OverlayStore(slow, data, table)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with ExitStack() as stack:
        data = FileBlockStore.open(folder / "writeback.data", size=0)
        stack.callback(data.close)
        table = FileBlockStore.open(folder / "writeback.table", size=0)
        stack.callback(table.close)
        if not table.size:
            overlay.create(data, table, slow.size)
        store = OverlayStore(slow, data, table)
        if store.size < slow.size:
            store.resize(slow.size)
        stack.pop_all()
    return store
