"""Ranges by file, for a server that keeps no other state of files."""

from __future__ import annotations

from labemu_nfs.nfs4.state.ranges import Range, RangeLocks
from labemu_nfs.nlm.manager import FileId


class LockTable:
    """See labemu_nfs.nlm.manager.LockedFiles."""

    def __init__(self) -> None:
        self._ranges: dict[FileId, RangeLocks] = {}

    def ranges(self, file: FileId) -> RangeLocks:
        """The locks of a file."""
        return self._ranges.setdefault(file, RangeLocks())

    def settle(self, file: FileId) -> None:
        """Forget a file without locks."""
        if not len(self._ranges.get(file, ())):
            self._ranges.pop(file, None)

    def give_way(self, held: Range, now: float) -> bool:
        """There is no other protocol."""
        return False
