"""Files that are open over NFSv4 outlive their last name, where their store can keep them (RFC 8881 18.25.3 leaves it to the server).

They end with the server: OPEN4_RESULT_PRESERVE_UNLINKED, which promises them past a restart (RFC 8881 18.16.3), is not told.
"""

from __future__ import annotations

from labemu_nfs.exports import Export, ExportTable
from labemu_store.file.protocol import KeepingStore
from labemu_store.file.types import Key


class KeptFiles:
    """Tells the stores of exports which files are open.

    Args:
        exports: what is served.
    """

    def __init__(self, exports: ExportTable) -> None:
        self._exports = exports
        self._kept: dict[tuple[int, Key], tuple[Export, KeepingStore]] = {}

    def opened(self, file: tuple[int, Key]) -> None:
        """A file is opened for the first time. Raises OSError where it is gone."""
        export = self._exports.by_fsid(file[0])
        if export is not None and isinstance(export.store, KeepingStore):
            export.store.keep(file[1])
            self._kept[file] = export, export.store

    def closed(self, file: tuple[int, Key]) -> None:
        """Nobody has it open any more."""
        kept = self._kept.pop(file, None)
        if kept is not None and self._exports.by_fsid(file[0]) is kept[0]:  # else it was closed with its export
            kept[1].drop(file[1])
