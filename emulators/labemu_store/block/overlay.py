"""Copy on write: a base that is never written, and a difference that holds what was.

Two stores keep the difference. `data` has each block where the base has it, with holes for the rest. `table` has a header and, for each
block, two bytes: what is durable, and what is so now. Theory:

- A write puts its block's data first, and then the second byte: a process that is killed in between has acknowledged nothing.
- A flush puts the data on the medium, then copies the second bytes to the first and puts those on the medium.
- Power loss may keep a second byte and lose its data, and would so lose the base's content too. The header names the boot that the second
  bytes belong to; in another boot the first ones count. Each byte is valid by itself, so no order and no tear among them matters.
"""

from __future__ import annotations

import errno
import os
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

from labemu_store.block.api import BlockStore, Buffer, Capabilities, Extent, Operation
from labemu_store.block.extents import joined
from labemu_store.block.vectored import behind, takes_runs
from labemu_store.errors import StoreConfigError, StoreError

BASE: Final = 0
DATA: Final = 1
ZERO: Final = 2

_MAGIC: Final = b"LABOVL1\n"
_HEADER: Final = struct.Struct(">8sIQ36s")  # magic, block, size, boot: well within a sector, so never torn
_TABLE: Final = 4096  # where the bytes begin
_MIN_BLOCK: Final = 4096  # what guests write; larger would copy more than was written
_MAX_BLOCKS: Final = 1 << 24  # so that a table takes 32 MiB at most: the block grows with the disk beyond 64 GiB
_COPY: Final = 1 << 20


class Run(NamedTuple):
    """Neighbouring blocks in the same state, in bytes."""

    offset: int
    length: int
    state: int


def boot_id() -> bytes:
    """What tells this boot of the machine from any other."""
    return Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()


def block_for(size: int) -> int:
    """The block size of a new difference for a disk of `size` bytes."""
    block = _MIN_BLOCK
    while size > block * _MAX_BLOCKS:
        block *= 2
    return block


def create(data: BlockStore, table: BlockStore, size: int, *, boot: bytes | None = None) -> None:
    """Make an empty difference in two stores that may have any size, and put it on the medium."""
    block = block_for(size)
    data.resize(size)
    table.resize(_TABLE + 2 * -(-size // block))
    table.write(0, _HEADER.pack(_MAGIC, block, size, boot if boot is not None else boot_id()))
    data.flush()
    table.flush()


class OverlayStore:
    """A base with a difference over it.

    Args:
        base: never written; None is all zeroes. Whoever gives it closes it.
        data: the difference's blocks; closed with the store, as is `table`.
        table: as `create` made it.
        boot: this boot's name, by default the machine's.

    Raises:
        StoreConfigError: the table is none.
    """

    def __init__(
        self, base: BlockStore | None, data: BlockStore, table: BlockStore, *, boot: bytes | None = None
    ) -> None:
        self.base = base
        self._data = data
        self._table = table
        self._boot = boot if boot is not None else boot_id()
        self._lock = threading.RLock()
        self._flushing = threading.Lock()
        self._dirty: list[tuple[int, int]] = []
        self._touched: list[tuple[int, int]] | None = None
        self._closed = False
        self._block = _MIN_BLOCK
        self._size = 0
        self._load()

    def _load(self) -> None:
        header = bytes(self._table.read(0, _HEADER.size)) if self._table.size >= _TABLE else b"\0" * _HEADER.size
        magic, self._block, self._size, boot = _HEADER.unpack(header)
        if magic != _MAGIC:
            raise StoreConfigError("the difference has no table", hint="it was made by something else, or is damaged")
        count = -(-self._size // self._block)
        pairs = bytes(self._table.read(_TABLE, 2 * count))
        same_boot = boot.rstrip(b"\0") == self._boot
        self._durable = bytearray(pairs[0::2])
        self._states = bytearray(pairs[1::2] if same_boot else pairs[0::2])
        if same_boot:
            self._dirty = [(0, count)] if self._states != self._durable else []
            return
        self._put(0, count)
        self._table.flush()  # the second bytes are this boot's before the header says so
        self._put_header()

    def _put_header(self) -> None:
        self._table.write(0, _HEADER.pack(_MAGIC, self._block, self._size, self._boot))
        self._table.flush()

    def _put(self, first: int, end: int) -> None:
        pairs = bytearray(2 * (end - first))
        pairs[0::2] = self._durable[first:end]
        pairs[1::2] = self._states[first:end]
        self._table.write(_TABLE + 2 * first, pairs)

    def _mark(self, first: int, end: int, state: int) -> None:
        wanted = bytes((state,)) * (end - first)
        if self._states[first:end] != wanted:
            self._states[first:end] = wanted
            self._dirty.append((first, end))
            self._put(first, end)

    @property
    def size(self) -> int:
        """Bytes."""
        return self._size

    @property
    def capabilities(self) -> Capabilities:
        """Those of the difference, blocking where the base is."""
        own = self._data.capabilities
        blocking = own.blocking or (self.base is not None and self.base.capabilities.blocking)
        return replace(own, blocking=blocking)

    def runs(self, offset: int, length: int) -> Iterator[Run]:
        """The range in runs of blocks with the same state, cut at the range's ends."""
        end = offset + length
        while offset < end:
            index = offset // self._block
            ahead = bytes(self._states[index : -(-end // self._block)])
            same = len(ahead) - len(ahead.lstrip(ahead[:1]))
            stop = min(end, (index + same) * self._block)
            yield Run(offset, stop - offset, ahead[0])
            offset = stop

    def read(self, offset: int, length: int) -> Buffer:
        """From the difference where it has the block, else from the base."""
        self._check(offset, length)
        parts = [self._read_run(run) for run in self.runs(offset, length)]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _read_run(self, run: Run) -> Buffer:
        if run.state == DATA:
            return self._data.read(run.offset, run.length)
        base = self.base
        if run.state == ZERO or base is None:
            return bytes(run.length)
        there = min(run.length, max(base.size - run.offset, 0))  # the base may be shorter: the overlay was grown
        if there == run.length:
            return base.read(run.offset, run.length)
        return (bytes(base.read(run.offset, there)) if there else b"") + bytes(run.length - there)

    def write(self, offset: int, data: Buffer) -> None:
        """Into the difference; the rest of a block that it had not is copied."""
        if not len(data):
            return
        self._check(offset, len(data))
        end = offset + len(data)
        first, last = offset // self._block, -(-end // self._block)
        if self._touched is None and not self._states[first:last].strip(b"\x01"):
            self._data.write(offset, data)
            return
        with self._lock:
            self._touch(first, last)
            states = self._states
            head = offset if states[first] == DATA else first * self._block
            tail = end if states[last - 1] == DATA else min(last * self._block, self._size)
            if (head, tail) != (offset, end):
                data = b"".join((self.read(head, offset - head), data, self.read(end, tail - end)))
            self._data.write(head, data)
            self._mark(first, last, DATA)

    @property
    def vectored(self) -> bool:
        """Whether the difference takes runs, and the base, if there is one."""
        return takes_runs(self._data) and (self.base is None or takes_runs(self.base))

    def readv(self, buffers: Sequence[memoryview], offset: int, length: int) -> None:
        """In one call what lies in one place; else buffer by buffer."""
        self._check(offset, length)
        if not length:
            return
        run = next(self.runs(offset, length))
        base = self.base
        if run.length == length and run.state == DATA:
            behind(self._data).readv(buffers, offset, length)
        elif run.length == length and run.state == BASE and base is not None and offset + length <= base.size:
            behind(base).readv(buffers, offset, length)
        else:
            for buffer in buffers:
                buffer[:] = self.read(offset, len(buffer))
                offset += len(buffer)

    def writev(self, buffers: Sequence[memoryview], offset: int, length: int) -> None:
        """In one call where the difference has all the blocks; else as one write, which copies the rest of blocks at its ends alone."""
        if length:
            self._check(offset, length)
        first, last = offset // self._block, -(-(offset + length) // self._block)
        if length and self._touched is None and not self._states[first:last].strip(b"\x01"):
            behind(self._data).writev(buffers, offset, length)
        else:
            self.write(offset, b"".join(buffers))

    def _touch(self, first: int, end: int) -> None:
        if self._touched is not None:
            self._touched.append((first, end))

    def _check(self, offset: int, length: int) -> None:
        if offset < 0 or offset + length > self._size:
            raise StoreError(errno.EINVAL, "range beyond the end of the overlay")

    def unmap(self, offset: int, length: int) -> None:
        """Whole blocks give their space back; parts of one are zeroed."""
        self._clear(offset, length, ZERO)

    def write_zeroes(self, offset: int, length: int) -> None:
        """Zeroes that the difference keeps space for."""
        self._clear(offset, length, DATA)

    def _clear(self, offset: int, length: int, state: int) -> None:
        self._check(offset, length)
        end = offset + length
        first = -(-offset // self._block)
        last = -(-end // self._block) if end == self._size else end // self._block
        if first >= last:
            self.write(offset, bytes(length))
            return
        start, stop = first * self._block, min(last * self._block, end)
        with self._lock:
            self.write(offset, bytes(start - offset))
            self.write(stop, bytes(end - stop))
            self._touch(first, last)
            if state == DATA:
                self._data.write_zeroes(start, stop - start)
                self._mark(first, last, DATA)
            else:
                self._mark(first, last, ZERO)
                self._data.unmap(start, stop - start)

    def flush(self) -> None:
        """The data, and then the table that makes it count."""
        with self._flushing:
            with self._lock:
                dirty, self._dirty = self._dirty, []
                states = [bytes(self._states[first:end]) for first, end in dirty]
            try:
                self._data.flush()
                if dirty:
                    self._make_durable(dirty, states)
            except OSError:
                self._dirty += dirty  # still to be done by the next flush
                raise

    def _make_durable(self, dirty: list[tuple[int, int]], states: list[bytes]) -> None:
        with self._lock:
            for (first, end), values in zip(dirty, states, strict=True):
                self._durable[first:end] = values
                self._put(first, end)
        self._table.flush()

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        """The difference's, and the base's where it has none."""
        return joined(self._pieces(offset, length))

    def _pieces(self, offset: int, length: int) -> Iterator[Extent]:
        for run in self.runs(offset, length):
            there = 0 if self.base is None else min(run.length, max(self.base.size - run.offset, 0))
            if run.state == BASE and self.base is not None and there:
                yield from self.base.extents(run.offset, there)
                if there < run.length:
                    yield Extent(run.offset + there, run.length - there, is_data=False)
            else:
                yield Extent(run.offset, run.length, is_data=run.state == DATA)

    def allocated(self) -> int:
        """Bytes of the difference and its table, without the base."""
        return self._data.allocated() + self._table.allocated()

    def held(self) -> int:
        """Bytes of the difference alone."""
        return self._data.allocated()

    def resize(self, size: int) -> None:
        """Grow with a hole, or shrink: what is cut off does not come back from the base."""
        with self._lock:
            if size < self._size:
                self.unmap(size, self._size - size)
                self.flush()
            old = len(self._states)
            count = max(-(-size // self._block), old)
            if size > self._size:
                self._data.resize(max(size, self._data.size))
                self._table.resize(max(_TABLE + 2 * count, self._table.size))
                self._states.extend(bytes(count - old))
                self._durable.extend(bytes(count - old))
            self._size = size
            self._put_header()

    def latency(self, operation: Operation, offset: int, length: int) -> float:
        """None of its own."""
        return 0.0

    def track(self) -> None:
        """Begin to remember which blocks change, for a merge."""
        with self._lock:
            self._touched = []

    def changed(self) -> list[Run]:
        """What changed since `track`, which ends with this."""
        with self._lock:
            touched, self._touched = self._touched or [], None
        found: list[Run] = []
        for first, end in touched:
            start, stop = first * self._block, min(end * self._block, self._size)
            found.extend(self.runs(start, max(stop - start, 0)))
        return found

    def push(self, runs: Iterator[Run] | list[Run], target: BlockStore) -> None:
        """Bring runs of the difference to `target`, which is what lies below."""
        for run in runs:
            if run.state == ZERO:
                target.unmap(run.offset, run.length)
            elif run.state == DATA:
                for start in range(run.offset, run.offset + run.length, _COPY):
                    target.write(start, self._data.read(start, min(_COPY, run.offset + run.length - start)))

    def forget(self, runs: list[Run], but: list[Run]) -> None:
        """The base has these runs now: they leave the difference, durably, except blocks that `but` touches."""
        with self._lock:
            keep = {
                index
                for run in but
                for index in range(run.offset // self._block, -(-(run.offset + run.length) // self._block))
            }
            gone = [
                index
                for run in runs
                for index in range(run.offset // self._block, -(-(run.offset + run.length) // self._block))
                if index not in keep
            ]
            for index in gone:
                self._mark(index, index + 1, BASE)
            if runs:  # the table before the holes; and a block that is kept must not fall back behind what the base has
                self.flush()
            for index in gone:
                start = index * self._block
                self._data.unmap(start, min(self._block, self._data.size - start))

    def close(self) -> None:
        """Flush, and close the difference; the base is its owner's."""
        if self._closed:
            return
        self._closed = True
        with closing(self._table), closing(self._data):
            self.flush()


def remove(folder: Path, name: str) -> None:
    """Remove a difference's files."""
    for suffix in (".data", ".table"):
        (folder / (name + suffix)).unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Put a folder's names on the medium."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
