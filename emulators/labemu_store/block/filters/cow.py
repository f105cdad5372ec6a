"""Copy on write: a base that stays as it is, and a file of differences beside it, or memory when none is given."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from labemu_store.block import overlay
from labemu_store.block.api import BlockStore
from labemu_store.block.file import FileBlockStore
from labemu_store.block.filters.base import Filter
from labemu_store.block.memory import MemoryBlockStore
from labemu_store.block.overlay import OverlayStore


class CowFilter(Filter):
    """Takes writes in place of the store behind, which is only read.

    Args:
        base: the store behind, closed with the filter.
        difference: `NAME` keeps the difference in `NAME.data` and `NAME.table`, which are taken up again; None keeps it in
            memory.

    Raises:
        StoreConfigError: the files are in use, or no difference.
    """

    def __init__(self, base: BlockStore, *, difference: Path | None = None) -> None:
        self.base = base
        super().__init__(_open(base, difference))

    def close(self) -> None:
        """Both the difference and the base."""
        self.next.close()
        self.base.close()


def _open(base: BlockStore, difference: Path | None) -> OverlayStore:
    if difference is None:
        data: BlockStore = MemoryBlockStore(0, name="cow-data")
        table: BlockStore = MemoryBlockStore(0, name="cow-table")
        overlay.create(data, table, base.size)
        return OverlayStore(base, data, table)
    with ExitStack() as stack:
        data = FileBlockStore.open(difference.with_name(difference.name + ".data"), size=0)
        stack.callback(data.close)
        table = FileBlockStore.open(difference.with_name(difference.name + ".table"), size=0)
        stack.callback(table.close)
        if not table.size:
            overlay.create(data, table, base.size)
            overlay.sync_folder(difference.parent)
        store = OverlayStore(base, data, table)
        stack.pop_all()
    return store
