"""What the array's services do with volumes whose storage comes and goes."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem

from labctl.errors import LabError, UsageError
from labctl_storage.arrayd.registry import DatastoreRecord, VolumeRecord
from labctl_storage.arrayd.services import ArrayConfig, ArrayServices

MIB = 1 << 20
GOLD = DatastoreRecord(name="gold", protocol="iscsi", size=64 * MIB, where="iqn.2026-11.lab:gold")
VOLUME = VolumeRecord(datastore="gold", name="a", size=4 * MIB, lun=0)


@pytest.fixture
async def services(tmp_path: Path) -> AsyncIterator[ArrayServices]:
    made = array(tmp_path)
    yield made
    await made.stop()


def array(tmp_path: Path) -> ArrayServices:
    config = ArrayConfig(
        protocols=("iscsi",), portals=("127.0.0.1",), backing=f"local://{tmp_path}/remote", folder=tmp_path / "data"
    )
    return ArrayServices(config, tmp_path / "agent", "lab")


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Call it to take the storage away; undo brings it back."""
    return monkeypatch


def take(away: pytest.MonkeyPatch) -> None:
    def gone(*args: Any, **kwargs: Any) -> None:
        raise ConnectionRefusedError(errno.ECONNREFUSED, "gone")

    for name in ("cat_file", "pipe_file", "rm_file", "ls", "info"):
        away.setattr(LocalFileSystem, name, gone)


async def offered(services: ArrayServices, *, later: bool = False) -> Any:
    await services.offer(GOLD)
    await services.attach(GOLD, VOLUME, later=later)
    return services._store(GOLD, VOLUME)


async def test_changes_that_cannot_be_brought_back_are_told_of_and_wait(
    services: ArrayServices, away: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    await services.serve(GOLD)
    await services.make(GOLD, VOLUME)
    store = await offered(services)
    store.write(0, b"mine")
    assert services.volume_properties(GOLD, VOLUME)["waiting"] == 4096
    with away.context() as patch:
        take(patch)
        told = await services.detach(GOLD, VOLUME)
    assert told == (
        "gold/a: its last changes could not be brought to its storage (Connection refused); "
        "they are kept in the lab's data folder until it is used again"
    )
    again = array(tmp_path)
    assert bytes((await offered(again, later=True)).read(0, 4)) == b"mine"
    assert await again.detach(GOLD, VOLUME) == ""
    await again.stop()


async def test_nothing_is_brought_back_of_a_volume_that_is_about_to_be_destroyed(
    services: ArrayServices, away: pytest.MonkeyPatch
) -> None:
    await services.serve(GOLD)
    await services.make(GOLD, VOLUME)
    (await offered(services)).write(0, b"mine")
    with away.context() as patch:
        take(patch)
        assert await services.detach(GOLD, VOLUME, discard=True) == ""
    await services.destroy(GOLD, "a")


async def test_a_volume_is_offered_while_its_storage_is_away(services: ArrayServices, away: pytest.MonkeyPatch) -> None:
    await services.serve(GOLD)
    await services.make(GOLD, VOLUME)
    with away.context() as patch:
        take(patch)
        store = await offered(services, later=True)
        await services.settle(GOLD, VOLUME)
        with pytest.raises(OSError, match="Connection refused"):
            store.read(0, 4)
        told = services.volume_properties(GOLD, VOLUME)
        assert "Connection refused" in str(told["problem"])
        assert services.datastore_properties(GOLD, [VOLUME])["used"] == 0
        with pytest.raises(LabError, match="cannot delete gold/a"):
            await services.destroy(GOLD, "a")


async def test_what_cannot_be_reached_is_refused_by_up(services: ArrayServices, away: pytest.MonkeyPatch) -> None:
    await services.serve(GOLD)
    await services.make(GOLD, VOLUME)
    with away.context() as patch:
        take(patch)
        with pytest.raises(LabError, match=r"cannot keep datastore gold: .*Connection refused") as caught:
            await services.serve(GOLD)
        assert caught.value.hint == "does what holds the data run, and is its address right?"
        with pytest.raises(LabError, match="cannot make gold/b"):
            await services.make(GOLD, VOLUME.model_copy(update={"name": "b"}))
        with pytest.raises(LabError, match="cannot open gold/a"):
            await offered(services)


async def test_only_files_have_snapshots(services: ArrayServices) -> None:
    with pytest.raises(UsageError, match="gold/a is not in a file: the array cannot keep snapshots of it"):
        services.snapshots(GOLD, VOLUME)
