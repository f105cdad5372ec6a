"""What an array tells of its datastores."""

from __future__ import annotations

from pathlib import Path

from labctl_storage.arrayd.registry import DatastoreRecord, VolumeRecord
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
