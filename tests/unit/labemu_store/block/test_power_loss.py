"""Power loss: whatever was acknowledged by a flush is there, wherever the power goes.

The medium is simulated: a write that no flush followed may be lost, sector by sector, and in any order. The power is cut after
every operation that reaches a medium; each image is opened in another boot, and each sector must hold what was durable or
something that was written since.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from labemu_store.block import BlockStore, Buffer, FileBlockStore, MemoryBlockStore, overlay
from labemu_store.block.filters.base import Filter
from labemu_store.block.overlay import OverlayStore

SECTOR = 512
SIZE = 32 << 10


class Medium(Filter):
    """A store over a medium that remembers what is durable, and what may be lost."""

    def __init__(self, size: int, cut: Callable[[], None], fill: bytes = b"") -> None:
        super().__init__(MemoryBlockStore(size))
        self.cut = cut
        self.next.write(0, fill)
        self.durable = bytes(self.next.read(0, size))
        self.pending: list[tuple[int, bytes]] = []

    def write(self, offset: int, data: Buffer) -> None:
        self.next.write(offset, data)
        self.pending.append((offset, bytes(data)))
        self.cut()

    def unmap(self, offset: int, length: int) -> None:
        self.write(offset, bytes(length))

    def write_zeroes(self, offset: int, length: int) -> None:
        self.write(offset, bytes(length))

    def flush(self) -> None:
        self.durable, self.pending = bytes(self.next.read(0, self.size)), []
        self.cut()

    def resize(self, size: int) -> None:
        self.next.resize(size)
        self.durable = self.durable[:size].ljust(size, b"\0")

    def after_power_loss(self, chance: random.Random) -> bytes:
        """What may be found: of each sector any state since the last flush, independently."""
        states = {start: [self.durable[start : start + SECTOR]] for start in range(0, self.size, SECTOR)}
        for offset, data in self.pending:
            for start in range(offset - offset % SECTOR, offset + len(data), SECTOR):
                sector = bytearray(states[start][-1])
                first, last = max(start, offset), min(start + SECTOR, offset + len(data))
                sector[first - start : last - start] = data[first - offset : last - offset]
                states[start].append(bytes(sector))
        return b"".join(chance.choice(found) for found in states.values())


class Model:
    """What each sector may hold after the power is lost now."""

    def __init__(self, content: bytes) -> None:
        self.content = bytearray(content)
        self.allowed = [{content[start : start + SECTOR]} for start in range(0, len(content), SECTOR)]

    def change(self, offset: int, data: bytes) -> None:
        self.content[offset : offset + len(data)] = data
        for index in range(offset // SECTOR, -(-(offset + len(data)) // SECTOR)):
            self.allowed[index].add(bytes(self.content[index * SECTOR : (index + 1) * SECTOR]))

    def flushed(self) -> None:
        self.allowed = [{bytes(self.content[start : start + SECTOR])} for start in range(0, len(self.content), SECTOR)]

    def check(self, found: bytes) -> None:
        for index, allowed in enumerate(self.allowed):
            assert found[index * SECTOR : (index + 1) * SECTOR] in allowed, f"sector {index}"


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
