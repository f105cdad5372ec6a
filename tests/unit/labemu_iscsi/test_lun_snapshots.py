"""LUNs show a disk, its snapshots and its clones, and a revert is told to initiators."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import Mock

from labemu_iscsi.io.lun_snapshots import add_head, revert_lun
from labemu_iscsi.io.server import IscsiServer
from labemu_scsi.nexus import CAPACITY_CHANGED, MEDIUM_CHANGED
from labemu_store.block.snapshots import SnapshotTree

TARGET = "iqn.2026-11.lab:t1"


async def test_a_disk_its_snapshot_and_its_clone_are_luns_and_a_revert_is_told(tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(bytes(1 << 20))
    tree = SnapshotTree(tmp_path / "disk")
    server = IscsiServer([("127.0.0.1", 0)])
    server.add_target(TARGET)
    disk = add_head(server, TARGET, 0, tree)
    disk.store.write(0, b"before")
    tree.snapshot("one")
    tree.clone("one", "copy")
    snapshot = add_head(server, TARGET, 1, tree, "one")
    clone = add_head(server, TARGET, 2, tree, "copy")
    disk.store.write(0, b"after!")
    disk.resize(2 << 20)
    assert [bytes(unit.store.read(0, 6)) for unit in (disk, snapshot, clone)] == [b"after!", b"before", b"before"]
    assert [unit.read_only for unit in (disk, snapshot, clone)] == [False, True, False]
    assert all(unit.plain for unit in (disk, snapshot, clone))  # the fast lane is theirs as well
    told = Mock()
    disk.attentions.establish_for_others = told  # type: ignore[method-assign]
    await revert_lun(server, TARGET, 0, tree, "one")
    assert [call.args[1] for call in told.call_args_list] == [MEDIUM_CHANGED, CAPACITY_CHANGED]
    assert bytes(disk.store.read(0, 6)) == b"before"
    assert disk.blocks == (1 << 20) // 512
    await server.close()
    tree.close()
