"""What the array was told survives its death, whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from labctl.errors import LabError
from labctl_storage.arrayd.registry import DatastoreRecord, Registry, VolumeRecord

GOLD = DatastoreRecord(name="gold", protocol="iscsi", size=1 << 30, where="iqn.2026-11.lab.demo:san1.gold")
DISK = VolumeRecord(datastore="gold", name="web1-disk0", size=1 << 20, lun=0)


def test_a_new_registry_knows_what_the_old_one_was_told(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "array.json")
    registry.put_datastore(GOLD)
    registry.put_volume(DISK)
    again = Registry(tmp_path / "array.json")
    assert again.datastores == {"gold": GOLD}
    assert again.volumes("gold") == [DISK]
    assert again.volume("gold", "web1-disk0") == DISK


def test_dropping_a_datastore_drops_its_volumes_and_no_other(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "array.json")
    registry.put_datastore(GOLD)
    registry.put_datastore(GOLD.model_copy(update={"name": "silver"}))
    registry.put_volume(DISK)
    registry.put_volume(DISK.model_copy(update={"datastore": "silver"}))
    registry.drop_datastore("gold")
    registry.drop_datastore("gold")
    again = Registry(tmp_path / "array.json")
    assert set(again.datastores) == {"silver"}
    assert again.volumes("gold") == []
    assert len(again.volumes("silver")) == 1


def test_a_damaged_registry_is_said_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "array.json"
    file.write_text('{"datastores": {"gold": ')
    with pytest.raises(LabError, match="is damaged") as caught:
        Registry(file)
    assert caught.value.hint == "move it away; `labctl up` configures the array again"
    assert file.read_text() == '{"datastores": {"gold": '
