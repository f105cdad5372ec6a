"""Snapshots and clones through an array's management interface: what they keep, what they refuse, what a kill leaves."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from labctl.errors import LabError
from labctl_storage.arrayd.disks import TreeDisk
from labemu_scsi.unit import LogicalUnit
from labemu_store.block.snapshots import SnapshotTree, folder_of
from labemu_store.errors import StoreError

from .conftest import DISK, MIB, Array


def content(unit: LogicalUnit, length: int = 6) -> bytes:
    return bytes(unit.store.read(0, length))


async def test_a_snapshot_keeps_a_revert_brings_back_and_the_last_deletion_leaves_the_file_alone(array: Array) -> None:
    unit, file = array.unit(), array.folder / "data/gold/web1-disk0.img"
    unit.store.write(0, b"before")
    made = await array.call("PUT", f"{DISK}/snapshots/one")
    assert (made["name"], made["parent"], made["current"]) == ("one", "", True)
    assert made["created"] > 1_700_000_000
    unit.store.write(0, b"after!")
    assert (await array.volumes())["gold/web1-disk0"]["snapshots"] == 1
    await array.call("POST", f"{DISK}/snapshots/one/revert")
    assert content(unit) == b"before"
    unit.store.write(0, b"again!")
    await array.call("DELETE", f"{DISK}/snapshots/one")
    assert await array.call("GET", f"{DISK}/snapshots") == []
    assert not isinstance(unit.store, TreeDisk)
    assert not folder_of(file).exists()
    unit.store.flush()
    assert file.read_bytes()[:6] == content(unit) == b"again!"
    told = [(event, more["message"]) for event, more in array.events if event.startswith("snapshot")]
    assert told == [
        ("snapshot.created", "gold/web1-disk0: snapshot one"),
        ("snapshot.reverted", "gold/web1-disk0 is as it was at one"),
        ("snapshot.deleted", "gold/web1-disk0: snapshot one is gone"),
    ]


async def test_a_disk_that_grew_since_a_snapshot_stays_as_large_when_it_is_reverted(array: Array) -> None:
    array.unit().store.write(0, b"before")
    await array.call("PUT", f"{DISK}/snapshots/one")
    assert (await array.put_disk(size=2 * MIB))["size"] == 2 * MIB
    assert array.unit().blocks == 2 * MIB // 512
    await array.call("POST", f"{DISK}/snapshots/one/revert")
    assert (array.unit().blocks, content(array.unit())) == (2 * MIB // 512, b"before")


async def test_clones_are_made_from_what_is_there_and_from_a_snapshot_and_go_with_their_datastore(array: Array) -> None:
    array.unit().store.write(0, b"before")
    await array.call("PUT", f"{DISK}/snapshots/one")
    array.unit().store.write(0, b"after!")
    old = await array.call("POST", f"{DISK}/clone", {"clone": "old", "snapshot": "one"})
    new = await array.call("POST", f"{DISK}/clone", {"clone": "new"})
    assert (old["lun"], old["clone_of"], old["size"]) == (255, "gold/web1-disk0@one", MIB)
    assert (new["lun"], new["clone_of"]) == (254, "gold/web1-disk0")
    assert (content(array.unit(255)), content(array.unit(254))) == (b"before", b"after!")
    assert array.unit(255).serial != array.unit(254).serial != array.unit().serial
    assert [each["name"] for each in await array.call("GET", f"{DISK}/snapshots")] == ["one"]
    await array.call("DELETE", "/v1/datastores/gold/volumes/old/clone")
    assert sorted(await array.volumes()) == ["gold/new", "gold/web1-disk0"]
    await array.call("DELETE", "/v1/datastores/gold")
    left = sorted(path.name for path in (array.folder / "data/gold").iterdir())
    assert left == ["web1-disk0.img", "web1-disk0.img.layers"]


async def test_a_clone_of_a_disk_without_snapshots_leaves_it_without_layers(array: Array) -> None:
    await array.call("POST", f"{DISK}/clone", {"clone": "copy"})
    assert not isinstance(array.unit().store, TreeDisk)
    assert sorted(path.name for path in (array.folder / "data/gold").iterdir()) == ["copy.img", "web1-disk0.img"]


@pytest.mark.parametrize(
    ("method", "path", "body", "message", "hint"),
    [
        ("PUT", f"{DISK}/snapshots/one", None, "gold/web1-disk0 has a snapshot one already", "take another name"),
        ("PUT", f"{DISK}/snapshots/.one", None, "'.one' cannot be the name of a snapshot", "begin with a letter"),
        ("DELETE", f"{DISK}/snapshots/two", None, "gold/web1-disk0 has no snapshot two", "it has: one"),
        ("POST", f"{DISK}/snapshots/two/revert", None, "gold/web1-disk0 has no snapshot two", "it has: one"),
        ("POST", f"{DISK}/clone", {"clone": "a/b"}, "'a/b' cannot be the name of a volume", "begin with a letter"),
        ("POST", f"{DISK}/clone", {"clone": "c", "snapshot": "x"}, "web1-disk0 has no snapshot x", "it has: one"),
        ("POST", f"{DISK}/clone", {"name": "c"}, "not an order for a clone", ""),
        ("POST", f"{DISK}/clone", {"clone": "web1-disk0"}, "gold has a volume web1-disk0 already", "another name"),
        ("DELETE", f"{DISK}/clone", None, "gold/web1-disk0 is a disk of the topology", "its VM's disks"),
        ("GET", "/v1/datastores/gold/volumes/web1-disk/snapshots", None, "no volume web1-disk", '"web1-disk0"'),
        ("GET", "/v1/datastores/silver/volumes/x/snapshots", None, "no datastore silver", "labctl up"),
    ],
)
async def test_what_cannot_be_done_says_what_to_do(
    array: Array, method: str, path: str, body: Any, message: str, hint: str
) -> None:
    await array.call("PUT", f"{DISK}/snapshots/one")
    before = await array.volumes()
    with pytest.raises(LabError) as caught:
        await array.call(method, path, body)
    assert message in str(caught.value)
    assert hint in (caught.value.hint or "")
    assert await array.volumes() == before


async def test_the_first_snapshot_is_hinted_at_where_there_is_none(array: Array) -> None:
    with pytest.raises(LabError) as caught:
        await array.call("POST", f"{DISK}/snapshots/one/revert")
    assert caught.value.hint == "make one: labctl volume snapshot create gold/web1-disk0 one"


async def test_a_file_on_an_export_has_no_snapshots_of_the_array(array: Array) -> None:
    shared = {"name": "shared", "protocol": "nfs", "size": MIB, "where": "/shared"}
    await array.call("PUT", "/v1/datastores/shared", shared)
    disk = {"datastore": "shared", "name": "db1-disk0", "size": MIB, "lun": None}
    await array.call("PUT", "/v1/datastores/shared/volumes/db1-disk0", disk)
    with pytest.raises(LabError, match="shared/db1-disk0 is a file on an NFS export"):
        await array.call("PUT", "/v1/datastores/shared/volumes/db1-disk0/snapshots/one")


@pytest.mark.parametrize(("name", "lun"), [("copy", 1), ("other", 255)])
async def test_the_topology_does_not_take_the_place_of_a_clone(array: Array, name: str, lun: int) -> None:
    await array.call("POST", f"{DISK}/clone", {"clone": "copy"})
    with pytest.raises(LabError) as caught:
        await array.put_disk(name, lun=lun)
    assert "gold/copy, a clone of gold/web1-disk0, has the name or LUN" in str(caught.value)
    assert caught.value.hint == "delete it: labctl volume delete gold/copy"


async def test_a_disk_that_is_full_says_so_and_nothing_changes(array: Array, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: object, **_more: object) -> None:
        raise StoreError("no space left")

    monkeypatch.setattr(SnapshotTree, "copy", full)
    with pytest.raises(LabError, match="gold/web1-disk0: no space left") as caught:
        await array.call("POST", f"{DISK}/clone", {"clone": "copy"})
    assert "labctl datastore list" in (caught.value.hint or "")
    assert list(await array.volumes()) == ["gold/web1-disk0"]
    assert not isinstance(array.unit().store, TreeDisk)


async def test_a_merge_that_a_kill_interrupted_is_ended_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, layers = Array(tmp_path), folder_of(tmp_path / "data/gold/web1-disk0.img")
    await first.provision()
    first.unit().store.write(0, b"before")
    await first.call("PUT", f"{DISK}/snapshots/one")
    first.unit().store.write(0, b"after!")
    monkeypatch.setattr(SnapshotTree, "_collect", lambda tree: None)
    await first.call("DELETE", f"{DISK}/snapshots/one")
    assert len(json.loads((layers / "tree.json").read_text())["layers"]) == 2
    monkeypatch.undo()
    await first.stop()

    second = Array(tmp_path)
    await second.restore()
    assert content(second.unit()) == b"after!"
    assert not isinstance(second.unit().store, TreeDisk)
    assert not layers.exists()
    await second.stop()


@pytest.mark.parametrize("step", ["copying", "copied"])
async def test_a_clone_that_a_kill_interrupted_is_gone_or_whole_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    class Killed(BaseException):
        """Nobody cleans up after it."""

    copy = SnapshotTree.copy

    def killed(tree: SnapshotTree, snapshot: str, path: Path) -> None:
        if step == "copying":
            path.with_name(f".{path.name}.draft").write_bytes(b"half")
        else:
            copy(tree, snapshot, path)
        shutil.copytree(tmp_path / "live", tmp_path / "killed")
        raise Killed

    (tmp_path / "live").mkdir()
    first, folder = Array(tmp_path / "live"), tmp_path / "killed/data/gold"
    await first.provision()
    first.unit().store.write(0, b"before")
    monkeypatch.setattr(SnapshotTree, "copy", killed)
    with pytest.raises(Killed):
        await first.call("POST", f"{DISK}/clone", {"clone": "copy"})
    monkeypatch.undo()
    await first.stop()
    state = tmp_path / "killed/array.json"

    second = Array(tmp_path / "killed")
    registered = json.loads(state.read_text())["volumes"]
    assert sorted(registered) == ["gold/copy", "gold/web1-disk0"]
    await second.restore()
    assert sorted(await second.volumes()) == sorted(registered)[step == "copying" :]
    assert content(second.unit()) == b"before"
    assert step == "copying" or content(second.unit(255)) == b"before"
    assert not isinstance(second.unit().store, TreeDisk)
    left = sorted(path.name for path in folder.iterdir())
    assert left == ["copy.img", "web1-disk0.img"][step == "copying" :]
    await second.stop()


async def test_changes_wait_for_one_another(array: Array) -> None:
    names = [f"s{number}" for number in range(6)]
    await asyncio.gather(*(array.call("PUT", f"{DISK}/snapshots/{name}") for name in names))
    assert sorted(each["name"] for each in await array.call("GET", f"{DISK}/snapshots")) == names
    await asyncio.gather(*(array.call("DELETE", f"{DISK}/snapshots/{name}") for name in names))
    assert not isinstance(array.unit().store, TreeDisk)
