"""The protocol of a block store.

Rules:
- A store knows bytes and offsets, no block size, no protocol, no initiator.
- Calls are synchronous and may come from several threads at a time. Whoever calls from an event loop reads `capabilities.blocking`
  to learn whether a call may be made inline (page cache, memory) or belongs on a thread; `flush` always belongs on a thread.
- The caller keeps within `size`: a store may raise StoreError for anything outside, and never grows by a write.
- Errors are OSError with an errno: ENOSPC, EROFS and EIO are told apart by the protocols in front.
- What was written before a `flush` that returned survives the process and, as far as the medium can promise, power loss.
  What was written and not flushed survives at least the end of the process (`capabilities.survives_kill`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, Protocol, runtime_checkable

Buffer = bytes | bytearray | memoryview


class Operation(Enum):
    """What filters and latency rules select by."""

    READ = "read"
    WRITE = "write"
    UNMAP = "unmap"
    ZERO = "zero"
    FLUSH = "flush"


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What a store promises.

    Args:
        blocking: calls may wait for a network or a disk beyond the page cache.
        thin: `unmap` gives space back, and `extents` tells holes from data.
        read_only: every write fails with EROFS.
        survives_kill: a write outlives the process although nothing was flushed.
        delays: `latency` may be other than zero.
        granularity: bytes of the pieces in which space is given back; 0 where they are no larger than a page.
    """

    blocking: bool = False
    thin: bool = True
    read_only: bool = False
    survives_kill: bool = True
    delays: bool = False
    granularity: int = 0


class Extent(NamedTuple):
    """A run of bytes that is either data or a hole."""

    offset: int
    length: int
    is_data: bool


class BlockStore(Protocol):
    """Bytes at offsets."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def capabilities(self) -> Capabilities:
        """What the store promises; constant as long as the store is open, but for filters that are switched."""

    def read(self, offset: int, length: int) -> Buffer:
        """Exactly `length` bytes; the caller may keep the buffer and never changes it."""

    def write(self, offset: int, data: Buffer) -> None:
        """Write all of `data`; the store keeps no reference to it."""

    def unmap(self, offset: int, length: int) -> None:
        """Make a hole where it can; the range reads as zeroes afterwards."""

    def write_zeroes(self, offset: int, length: int) -> None:
        """Zeroes that keep their space allocated where the store can."""

    def flush(self) -> None:
        """Return when all that was written before is on the medium."""

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        """Runs that cover the range exactly, in order; neighbours differ in `is_data`."""

    def allocated(self) -> int:
        """Bytes that the store takes of its backing."""

    def resize(self, size: int) -> None:
        """Grow (with a hole) or shrink to `size` bytes."""

    def latency(self, operation: Operation, offset: int, length: int) -> float:
        """Seconds that the caller lets pass before it makes the call; plain stores say 0.0.

        Waiting is the caller's: an event loop can have thousands of delayed operations without as many threads.
        """

    def close(self) -> None:
        """Flush, and give everything back; a second call does nothing."""


@runtime_checkable
class VectoredStore(Protocol):
    """What a store offers besides, when its calls may be made inline and nothing stands before its blocks.

    Whoever has a run of neighbouring operations does them in one call, and reads into memory of its own. A filter that delays,
    counts or fails operations does not offer it. A store that has others behind it may lose it at any moment: a call then fails
    with EOPNOTSUPP and has done nothing.
    """

    @property
    def vectored(self) -> bool:
        """Whether the calls work at present."""

    def readv(self, buffers: Sequence[memoryview], offset: int, length: int) -> None:
        """Fill the buffers, one after the other, with the `length` bytes from `offset` on; they hold exactly that many."""

    def writev(self, buffers: Sequence[memoryview], offset: int, length: int) -> None:
        """Write the buffers' `length` bytes, one buffer after the other, from `offset` on."""
