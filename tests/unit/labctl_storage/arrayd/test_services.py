"""What an array tells of its datastores."""

from __future__ import annotations

from pathlib import Path

import pytest

from labctl.errors import LabError
from labctl_storage.arrayd.registry import DatastoreRecord, ExportRecord, VolumeRecord
from labctl_storage.arrayd.services import ArrayConfig, ArrayServices
from labemu_store.block.snapshots import SnapshotTree

MIB = 1 << 20


async def test_a_datastore_tells_what_is_used_with_layers_and_what_is_provisioned(tmp_path: Path) -> None:
    config = ArrayConfig(protocols=("iscsi",), portals=("127.0.0.1",), backing=tmp_path.as_uri())
    services = ArrayServices(config, tmp_path, "lab")
    gold = DatastoreRecord(name="gold", protocol="iscsi", size=4 * MIB, where="iqn.2026-11.lab:gold")
    volumes = [VolumeRecord(datastore="gold", name=name, size=8 * MIB, lun=lun) for lun, name in enumerate("ab")]
    for volume in volumes:
        await services.make(gold, volume)
    file = tmp_path / "gold" / str(services.volume_properties(gold, volumes[0])["file"])
    tree = SnapshotTree(file)
    tree.live.write(0, b"x" * MIB)
    tree.snapshot("one")
    tree.live.write(0, b"y" * MIB)
    tree.close()
    told = services.datastore_properties(gold, volumes)
    assert (told["capacity"], told["provisioned"]) == (4 * MIB, 16 * MIB)
    assert isinstance(told["used"], int)
    assert told["used"] >= 2 * MIB
    assert told["used"] == services.volume_properties(gold, volumes[0])["used"]


async def test_an_export_has_the_room_of_its_datastore_and_what_it_gives_changes(tmp_path: Path) -> None:
    config = ArrayConfig(protocols=("nfs",), portals=("127.0.0.1",), backing=tmp_path.as_uri())
    services = ArrayServices(config, tmp_path, "lab")
    shared = DatastoreRecord(name="shared", protocol="nfs", size=64 * MIB, where="/shared")
    await services.serve(shared)
    assert services._nfs is not None
    (export,) = services._nfs.exports
    total = export.store.space().total
    assert 64 * MIB < total < 80 * MIB, "and a little for tables of qcow2"
    before = export.store.space().free
    await services.make(shared, VolumeRecord(datastore="shared", name="a", size=32 * MIB, source=None))
    assert before - 8 * MIB < export.store.space().free < before, "what the array makes counts"
    wanted = ExportRecord(read_only=True, squash="root", clients=("10.0.0.0/24",), files=3)
    await services.serve(shared.model_copy(update={"size": 128 * MIB, "export": wanted}))
    (export,) = services._nfs.exports
    assert (export.read_only, export.squash, export.admits("10.0.0.1"), export.admits("10.0.1.1")) == (
        True,
        "root",
        True,
        False,
    )
    assert (export.store.space().total, export.store.space().files_free) == (total + 64 * MIB, 2)
    await services.destroy(shared, "a")
    assert export.store.space().files_free == 3
    await services.withdraw(shared)
    assert services._nfs.exports == ()
    await services.stop()


async def test_an_array_in_memory_has_no_exports(tmp_path: Path) -> None:
    config = ArrayConfig(protocols=("nfs",), portals=("127.0.0.1",), backing="memory://")
    services = ArrayServices(config, tmp_path, "lab")
    with pytest.raises(LabError, match="this array keeps its data in memory") as caught:
        await services.serve(DatastoreRecord(name="shared", protocol="nfs", size=MIB, where="/shared"))
    assert caught.value.hint == "give the array a file:// backing, or one elsewhere"
    await services.stop()
