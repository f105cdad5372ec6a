"""Power loss: whatever was acknowledged by a flush is there, wherever the power goes.

The power is cut after every operation that reaches a medium (tests.models.power); each image is opened in another boot.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from labemu_store.block import BlockStore, FileBlockStore, MemoryBlockStore, overlay
from labemu_store.block.overlay import OverlayStore
from tests.models.power import SECTOR, Medium, Model

SIZE = 32 << 10


def _work(store: BlockStore, model: Model, chance: random.Random) -> None:
    for _ in range(60):
        offset = SECTOR * chance.randrange(SIZE // SECTOR)
        length = min(SECTOR * chance.randrange(1, 20), SIZE - offset)
        action = chance.choice(("write", "write", "write", "unmap", "zero", "flush"))
        if action == "flush":
            store.flush()
            model.flushed()
            continue
        data = chance.randbytes(length) if action == "write" else bytes(length)
        model.change(offset, data)
        if action == "write":
            store.write(offset, data)
        else:
            (store.unmap if action == "unmap" else store.write_zeroes)(offset, length)


@pytest.mark.parametrize("seed", range(4))
def test_an_overlay_keeps_what_was_flushed_and_its_base(seed: int) -> None:
    chance = random.Random(seed)
    base = MemoryBlockStore(SIZE)
    base.write(0, chance.randbytes(SIZE))
    model = Model(bytes(base.read(0, SIZE)))
    cuts = [0]
    ready = False

    def cut() -> None:
        if ready:
            cuts[0] += 1
            _check_overlay(base, data.after_power_loss(chance), table.after_power_loss(chance), model)

    data, table = Medium(0, cut), Medium(0, cut)
    overlay.create(data, table, SIZE, boot=b"first")
    ready = True
    store = OverlayStore(base, data, table, boot=b"first")
    _work(store, model, chance)
    assert cuts[0] > 60
    store.close()


def _check_overlay(base: BlockStore, data: bytes, table: bytes, model: Model) -> None:
    media = [MemoryBlockStore(len(data)), MemoryBlockStore(len(table))]
    media[0].write(0, data)
    media[1].write(0, table)
    found = OverlayStore(base, media[0], media[1], boot=b"second")
    model.check(bytes(found.read(0, SIZE)))
    found.close()


def test_changes_that_wait_are_durable_where_a_flush_took_them() -> None:
    chance = random.Random(9)
    model, cuts, ready = Model(bytes(SIZE)), [0], False

    def cut() -> None:
        if ready:
            cuts[0] += 1
            slow_now = MemoryBlockStore(SIZE)
            slow_now.write(0, slow.after_power_loss(chance))
            _check_overlay(slow_now, data.after_power_loss(chance), table.after_power_loss(chance), model)
            slow_now.close()

    data, table, slow = Medium(0, cut), Medium(0, cut), Medium(SIZE, cut)
    overlay.create(data, table, SIZE, boot=b"first")
    ready = True
    store = OverlayStore(slow, data, table, boot=b"first")
    for _ in range(6):
        _work(store, model, chance)
        store.track()
        runs = [run for run in store.runs(0, SIZE) if run.state]
        store.push(runs, slow)
        slow.flush()
        store.forget(runs, store.changed())
        model.flushed()  # WriteBackStore.flush acknowledges no earlier
    assert cuts[0] > 300
    store.close()


def test_a_file_is_synced_before_a_flush_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr("os.fdatasync", synced.append)
    store = FileBlockStore.open(tmp_path / "disk", size=SIZE)
    store.write(0, b"x")
    assert not synced
    store.flush()
    assert len(synced) == 1
    store.close()
