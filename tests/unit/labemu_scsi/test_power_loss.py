"""Power loss below the device server: what was answered as durable is there, wherever the power goes.

Durable is what was written with FUA, what a SYNCHRONIZE CACHE covered, and everything while the write cache is off (SBC-3 4.15). The
power is cut after each operation that reaches the medium, those in the midst of a command among them.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from typing import Any

import pytest

from labemu_scsi.command import Status
from labemu_store.block import Buffer
from tests.models.power import SECTOR, Medium, Model

from .test_extended_copy import cscd, order, segment

BLOCKS = 64
FUA = 0x08
ALL = (0, BLOCKS)


class Disk:
    """A unit on a medium, with the model of what it holds."""

    def __init__(self, make: Callable[..., Any], seed: int) -> None:
        self.chance = random.Random(seed)
        self.model = Model(bytes(BLOCKS * SECTOR))
        self.cuts = 0
        self.medium = Medium(BLOCKS * SECTOR, self.cut)
        self.lab = make(store=self.medium)
        self.cached = True

    def cut(self) -> None:
        self.cuts += 1
        self.model.check(self.medium.after_power_loss(self.chance))

    def send(self, cdb: bytes, data: bytes, lba: int, new: Buffer, *, durable: bool = False) -> None:
        """A command that brings `new` to its place, and is durable when answered if it says so, or nothing is cached."""
        self.model.change(lba * SECTOR, bytes(new))
        assert self.lab.send(cdb, data).status == Status.GOOD
        if durable or not self.cached:
            self.model.durable(lba * SECTOR, len(new))
        self.cut()

    def place(self, most: int = 16) -> tuple[int, int]:
        lba = self.chance.randrange(BLOCKS)
        return lba, min(self.chance.randrange(1, most + 1), BLOCKS - lba)

    def write(self, fua: int) -> None:
        lba, count = self.place()
        data = self.chance.randbytes(count * SECTOR)
        self.send(struct.pack(">BBIxH", 0x2A, fua, lba, count), data, lba, data, durable=bool(fua))

    def write_and_verify(self) -> None:
        lba, count = self.place()
        data = self.chance.randbytes(count * SECTOR)
        self.send(struct.pack(">BxIxH", 0x2E, lba, count), data, lba, data, durable=True)

    def atomic(self, fua: int) -> None:
        lba, count = self.place(8)
        data = self.chance.randbytes(count * SECTOR)
        self.send(struct.pack(">BBQHH", 0x9C, fua, lba, 0, count), data, lba, data, durable=bool(fua))

    def compare_and_write(self, fua: int) -> None:
        lba, count = self.place(4)
        old = bytes(self.model.content[lba * SECTOR : (lba + count) * SECTOR])
        new = self.chance.randbytes(count * SECTOR)
        self.send(struct.pack(">BBQ3xB", 0x89, fua, lba, count), old + new, lba, new, durable=bool(fua))

    def write_same(self, unmap: int) -> None:
        lba, count = self.place()
        block = bytes(SECTOR) if unmap else self.chance.randbytes(SECTOR)
        self.send(struct.pack(">BBQI", 0x93, unmap, lba, count), block, lba, block * count)

    def unmap(self) -> None:
        lba, count = self.place()
        data = struct.pack(">HH4xQI4x", 22, 16, lba, count)
        self.send(struct.pack(">B6xH", 0x42, len(data)), data, lba, bytes(count * SECTOR))

    def copy(self) -> None:
        source, target = self.chance.randrange(BLOCKS // 2 - 8), BLOCKS // 2 + self.chance.randrange(BLOCKS // 2 - 8)
        cdb, data = order([cscd(self.lab.unit)], [segment(0, 0, 8, source, target)])
        new = self.model.content[source * SECTOR : (source + 8) * SECTOR]
        self.send(cdb, data, target, bytes(new))

    def synchronize(self, lba: int, count: int) -> None:
        assert self.lab.send(struct.pack(">BxIxH", 0x35, lba, count)).status == Status.GOOD
        self.model.durable(lba * SECTOR, (count or BLOCKS - lba) * SECTOR)
        self.cut()

    def set_cache(self, *, on: bool) -> None:
        """MODE SELECT(6) of the caching mode page (SBC-3 6.5.5)."""
        page = bytes((0x08, 0x12, 0x04 if on else 0)) + bytes(17)
        assert self.lab.send(bytes((0x15, 0x10, 0, 0, 4 + len(page))), bytes(4) + page).status == Status.GOOD
        self.cached = on
        if not on:
            self.model.flushed()
        self.cut()

    def step(self) -> None:
        fua = self.chance.choice((0, 0, FUA))
        self.chance.choice(
            (
                lambda: self.write(fua),
                lambda: self.write(fua),
                self.write_and_verify,
                lambda: self.atomic(fua),
                lambda: self.compare_and_write(fua),
                lambda: self.write_same(0),
                lambda: self.write_same(0x08),
                self.unmap,
                self.copy,
                lambda: self.synchronize(*self.place()),
                lambda: self.synchronize(0, 0),
            )
        )()


@pytest.mark.parametrize("seed", range(6))
def test_what_was_durable_is_there_after_a_power_loss(make: Callable[..., Any], seed: int) -> None:
    disk = Disk(make, seed)
    for on in (True, False, True):
        disk.set_cache(on=on)
        for _ in range(40):
            disk.step()
    assert disk.cuts > 200
