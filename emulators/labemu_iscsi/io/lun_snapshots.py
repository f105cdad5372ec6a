"""Snapshots of LUNs that initiators use: the tree of layers does the work, and the initiators are told what they must know."""

from __future__ import annotations

import asyncio

from labemu_iscsi.io.server import IscsiServer
from labemu_scsi.nexus import CAPACITY_CHANGED, MEDIUM_CHANGED
from labemu_scsi.unit import LogicalUnit
from labemu_store.block.filters.base import Clear
from labemu_store.block.snapshots import SnapshotTree


class _Shared(Clear):
    """A store whose owner closes it: the tree outlives the LUNs that show its heads."""

    def close(self) -> None:
        """Flush alone."""
        if not self.next.capabilities.read_only:
            self.next.flush()


def add_head(server: IscsiServer, target: str, number: int, tree: SnapshotTree, name: str = "") -> LogicalUnit:
    """Offer a disk (the empty name), a snapshot or a clone of a tree at a LUN. Close the tree after the server.

    Raises:
        StoreConfigError: there is no snapshot or clone of that name.
        KeyError: no such target.
        ValueError: the LUN is taken or out of range.
    """
    return server.add_lun(target, number, _Shared(tree.open(name)))


async def revert_lun(server: IscsiServer, target: str, number: int, tree: SnapshotTree, snapshot: str) -> None:
    """The tree's disk, offered at this LUN, holds what it held at the snapshot; every initiator is told (SPC-4 5.14).

    Raises:
        StoreConfigError: there is no such snapshot.
        KeyError: no such target or LUN.
    """
    unit = server.targets[target].device.units[number]
    size = unit.store.size
    await asyncio.to_thread(tree.revert, snapshot)
    unit.refresh()
    unit.attentions.establish_for_others(None, MEDIUM_CHANGED)
    if unit.store.size != size:
        unit.attentions.establish_for_others(None, CAPACITY_CHANGED)
