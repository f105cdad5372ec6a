"""Snapshots and clones of the LUNs that an array offers, while initiators use them.

A volume is a plain file until its first snapshot: then its store is exchanged, between two commands, for a tree of layers over the
same file; with its last snapshot the tree goes again, and the file alone is as fast as before. What is there is decided by the tree
alone (labemu_store.block.snapshots), which survives a kill at any point.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from labctl.errors import LabError, UsageError
from labctl.model.json import JsonObject
from labctl_storage.arrayd.disks import TreeDisk
from labemu_iscsi.io.lun_snapshots import revert_lun
from labemu_iscsi.io.server import IscsiServer
from labemu_scsi.unit import LogicalUnit
from labemu_store.block.api import BlockStore
from labemu_store.block.snapshots import SnapshotTree
from labemu_store.errors import StoreConfigError, StoreError

_PASSING = ".clone"
"""The snapshot that a clone of a disk in use is copied from; users' names begin with a letter or a digit."""


@dataclass(frozen=True, kw_only=True)
class Lun:
    """A volume that is offered.

    Args:
        volume: `gold/web1-disk0`, for messages.
        target: the target's name.
        number: the LUN.
        path: the volume's file.
    """

    volume: str
    target: str
    number: int
    path: Path


class Snapshots:
    """What can be done with snapshots of the LUNs of a server. One call at a time.

    Args:
        server: the server.
        now: seconds since 1970.
    """

    def __init__(self, server: IscsiServer, now: Callable[[], float]) -> None:
        self._server = server
        self._now = now

    async def listing(self, lun: Lun) -> list[JsonObject]:
        """The snapshots of a volume, parents first; waits while one is deleted or copied."""
        tree = self._tree(lun)
        heads = [] if tree is None else await asyncio.to_thread(tree.listing)
        return [asdict(head) for head in heads if head.name != _PASSING]

    async def create(self, lun: Lun, name: str) -> None:
        """Keep what a volume holds now.

        Raises:
            UsageError: it has a snapshot of that name, or is being sanitized.
            LabError: the disk below is full, or fails.
        """
        if any(head["name"] == name for head in await self.listing(lun)):
            raise UsageError(
                f"{lun.volume} has a snapshot {name} already", hint="take another name, or delete that one"
            )
        tree = await self._grown(lun)
        await self._work(lun, partial(tree.snapshot, name, created=self._now()))

    async def revert(self, lun: Lun, name: str) -> None:
        """A volume holds again what it held at a snapshot; its initiators are told that the medium may have changed.

        Raises:
            UsageError: it has no such snapshot.
            LabError: the disk below is full, or fails.
        """
        tree = await self._with(lun, name)
        try:
            await revert_lun(self._server, lun.target, lun.number, tree, name)
        except (StoreConfigError, StoreError, OSError) as error:
            raise _failure(lun, error) from error

    async def delete(self, lun: Lun, name: str) -> None:
        """Forget a snapshot, and merge what only it told apart, while the volume is used.

        Raises:
            UsageError: it has no such snapshot.
            LabError: the disk below fails.
        """
        tree = await self._with(lun, name)
        await self._work(lun, partial(tree.delete, name))
        await self._shrunk(lun, tree)

    async def copy(self, lun: Lun, name: str | None, path: Path) -> None:
        """Copy what a volume held at a snapshot, or holds now, into a file that appears when it is complete.

        Raises:
            UsageError: it has no such snapshot.
            LabError: the disk below is full, or fails.
        """
        if name is not None:
            await self._work(lun, partial((await self._with(lun, name)).copy, name, path))
            return
        tree = await self._grown(lun)
        await self._work(lun, partial(tree.snapshot, _PASSING, created=self._now()))
        try:
            await self._work(lun, partial(tree.copy, _PASSING, path))
        finally:
            await self._work(lun, partial(tree.delete, _PASSING))
            await self._shrunk(lun, tree)

    async def settle(self, lun: Lun) -> None:
        """After a start: end what a kill interrupted."""
        tree = self._tree(lun)
        if tree is None:
            return
        if _PASSING in tree.names():
            await self._work(lun, partial(tree.delete, _PASSING))
        await self._work(lun, tree.tidy)
        await self._shrunk(lun, tree)

    def _unit(self, lun: Lun) -> LogicalUnit:
        return self._server.targets[lun.target].device.units[lun.number]

    def _tree(self, lun: Lun) -> SnapshotTree | None:
        store = self._unit(lun).store
        return store.tree if isinstance(store, TreeDisk) else None

    async def _with(self, lun: Lun, name: str) -> SnapshotTree:
        tree, names = self._tree(lun), [str(head["name"]) for head in await self.listing(lun)]
        if tree is None or name not in names:
            hint = (
                f"it has: {', '.join(names)}"
                if names
                else f"make one: labctl volume snapshot create {lun.volume} {name}"
            )
            raise UsageError(f"{lun.volume} has no snapshot {name}", hint=hint)
        return tree

    async def _grown(self, lun: Lun) -> SnapshotTree:
        """The volume's tree, made where it has none."""
        if self._unit(lun).wipe is not None:
            raise UsageError(f"{lun.volume} is being sanitized", hint="wait until that has ended")
        tree = self._tree(lun)
        if tree is None:
            await self._server.exchange_store(
                lun.target, lun.number, lambda store: TreeDisk(SnapshotTree(lun.path, store))
            )
            tree = self._tree(lun)
            assert tree is not None
        return tree

    async def _shrunk(self, lun: Lun, tree: SnapshotTree) -> None:
        """Without snapshots the file alone serves again."""

        def plain(store: BlockStore) -> BlockStore:
            return tree.dissolve() if tree.flat else store

        if tree.flat:
            await self._server.exchange_store(lun.target, lun.number, plain)

    async def _work(self, lun: Lun, change: Callable[[], None]) -> None:
        try:
            await asyncio.to_thread(change)
        except (StoreConfigError, StoreError, OSError) as error:
            raise _failure(lun, error) from error


def _failure(lun: Lun, error: Exception) -> LabError:
    hint = getattr(error, "hint", "") or "nothing has changed; look at the room that `labctl datastore list` shows"
    return LabError(f"{lun.volume}: {error}", hint=hint)
