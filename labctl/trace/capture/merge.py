"""Packets of many rings in one order.

Rule: a packet is handed on when every ring has been looked at after it was captured, so order holds over all links, save for what the
kernel itself holds back in blocks that are not full (at most RETIRE, 20 ms): later packets may then have earlier times.
"""

from __future__ import annotations

import select
from collections.abc import Sequence
from operator import itemgetter
from types import TracebackType

from labctl.linux.packet_ring import Block, CapturedPacket, PacketRing

BLOCKS_AT_ONCE = 8
"""Blocks of one ring in one batch: 8 MiB, a few milliseconds of decoding."""


class Batch:
    """Packets in the order of their times, and the blocks that hold them.

    Args:
        packets: the packets; their link is the index of their ring.
        blocks: to hand back to the kernel by `release`, after which the packets' data is worth nothing.
    """

    def __init__(self, packets: list[CapturedPacket], blocks: list[Block]) -> None:
        self.packets = packets
        self._blocks = blocks

    def release(self) -> None:
        """Hand the blocks back."""
        self.packets.clear()
        for block in self._blocks:
            block.release()


class Merge:
    """Waits for rings and puts their packets into one order.

    Args:
        rings: by link; closed with this.
    """

    def __init__(self, rings: Sequence[PacketRing]) -> None:
        self._rings = list(rings)
        self._poll = select.poll()
        for ring in self._rings:
            self._poll.register(ring.fileno(), select.POLLIN)
        self.skipped = 0

    def wait(self, timeout: float) -> Batch:
        """The next batch; empty when nothing came in time.

        Args:
            timeout: seconds.
        """
        self._poll.poll(timeout * 1000)
        packets: list[CapturedPacket] = []
        blocks: list[Block] = []
        for link, ring in enumerate(self._rings):
            for block in ring.take(BLOCKS_AT_ONCE):
                blocks.append(block)
                packets += block.packets(link)
        if len(self._rings) > 1:
            packets.sort(key=itemgetter(0))
        return Batch(packets, blocks)

    def skip(self) -> int:
        """Throw away what waits in the rings, for a reader that lags; returns how many blocks that were."""
        thrown = 0
        for ring in self._rings:
            for block in ring.take(len(ring)):
                block.release()
                thrown += 1
        self.skipped += thrown
        return thrown

    def drops(self) -> list[int]:
        """How many packets each ring has lost because we were too slow."""
        return [ring.statistics().drops for ring in self._rings]

    def close(self) -> None:
        """Close all rings."""
        for ring in self._rings:
            ring.close()

    def __enter__(self) -> Merge:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
