"""A device with one unit, and a way to send it commands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from labemu_scsi.command import Deferred, Response
from labemu_scsi.device import Device, encode_lun
from labemu_scsi.nexus import Nexus
from labemu_scsi.unit import LogicalUnit
from labemu_store.block import BlockStore, MemoryBlockStore

MIB = 1 << 20


@dataclass
class Sent:
    nexus: Nexus
    cdb: bytes
    data: bytes = b""


class Lab:
    """A device, and nexuses to it by number."""

    def __init__(self, store: BlockStore, **options: object) -> None:
        self.store = store
        self.device = Device()
        self.unit = LogicalUnit(store, serial="serial-1", **options)  # type: ignore[arg-type]
        self.device.add_unit(0, self.unit)
        self.nexuses = [Nexus(f"iqn.2026-11.lab:i{each},i,0x80", "iqn.2026-11.lab:t,t,0x0001") for each in range(3)]
        for nexus in self.nexuses:
            self.device.attach(nexus)
            self.send(bytes(6), nexus=self.nexuses.index(nexus))  # takes the unit attention

    def send(self, cdb: bytes, data: bytes = b"", *, nexus: int = 0, lun: int = 0) -> Response:
        """A command to its end, deferred or not."""
        command = Sent(self.nexuses[nexus], cdb.ljust(16, b"\0"), data)
        key = encode_lun(lun)
        outcome = self.device.execute(key, command)
        answer = None
        while isinstance(outcome, Deferred):
            answer = answer or outcome.early
            response = self.device.finish(key, command, outcome.work)
            outcome = (outcome.again() if outcome.again is not None else None) or response
        return answer or outcome


@pytest.fixture
def make() -> Iterator[Callable[..., Lab]]:
    stores: list[BlockStore] = []

    def make(size: int = 64 * MIB, store: BlockStore | None = None, **options: object) -> Lab:
        made = store if store is not None else MemoryBlockStore(size)
        stores.append(made)
        return Lab(made, **options)

    yield make
    for store in stores:
        store.close()


@pytest.fixture
def lab(make: Callable[..., Lab]) -> Lab:
    return make()
