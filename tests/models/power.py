"""Power loss, simulated: a medium that says what may be found after it, and a model of what must be.

A write that no flush followed may be lost, sector by sector, and in any order. After a cut each sector must hold what was durable, or
something that was written since.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from labemu_store.block import Buffer, MemoryBlockStore
from labemu_store.block.filters.base import Filter

SECTOR = 512


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
        """Everything was."""
        self.durable(0, len(self.content))

    def durable(self, offset: int, length: int) -> None:
        """So much was acknowledged as being on the medium."""
        for index in range(offset // SECTOR, (offset + length) // SECTOR):
            self.allowed[index] = {bytes(self.content[index * SECTOR : (index + 1) * SECTOR])}

    def check(self, found: bytes) -> None:
        for index, allowed in enumerate(self.allowed):
            assert found[index * SECTOR : (index + 1) * SECTOR] in allowed, f"sector {index}"
