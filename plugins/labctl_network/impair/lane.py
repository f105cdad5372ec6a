"""One direction of an impaired link, without input or output: frames in with the time, frames out when they are due.

The order of what happens to a frame is netem's (net/sched/sch_netem.c, netem_enqueue): lost, doubled, corrupted, refused by a full queue,
then timed. With a rate, frames leave one after the other, and the delay begins when the last bit has left.
"""

from __future__ import annotations

import heapq
from random import Random

from labctl_network.impair.impairment import QUEUE, Impairment


class Lane:
    """Frames on their way.

    Args:
        impairment: what they suffer; may be replaced at any time, for the frames that come then.
        chance: decides; seeded by tests.
    """

    def __init__(self, impairment: Impairment, chance: Random) -> None:
        self.impairment = impairment
        self.lost = 0
        self._chance = chance
        self._waiting: list[tuple[float, int, bytes]] = []
        self._count = 0
        self._busy_until = 0.0

    def take(self, frame: bytes, now: float) -> None:
        """A frame comes in.

        Args:
            frame: an Ethernet frame.
            now: seconds, of any steady clock.
        """
        wanted = self.impairment
        if self._strikes(wanted.loss):
            self.lost += 1
            return
        for _ in range(2 if self._strikes(wanted.duplicate) else 1):
            if len(self._waiting) >= QUEUE:
                self.lost += 1
                return
            copy = self._corrupted(frame) if self._strikes(wanted.corrupt) else frame
            self._count += 1  # among equals, first come first served
            heapq.heappush(self._waiting, (self._due(len(frame), now), self._count, copy))

    def due(self, now: float) -> list[bytes]:
        """The frames whose time has come, in their order."""
        out = []
        while self._waiting and self._waiting[0][0] <= now:
            out.append(heapq.heappop(self._waiting)[2])
        return out

    @property
    def next_due(self) -> float | None:
        """When the next frame is due, or None where none waits."""
        return self._waiting[0][0] if self._waiting else None

    def _due(self, size: int, now: float) -> float:
        wanted = self.impairment
        if self._strikes(wanted.reorder):
            return now  # it overtakes; netem does not charge it to the rate either
        sent = now
        if wanted.rate:
            sent = self._busy_until = max(now, self._busy_until) + size * 8 / wanted.rate
        spread = self._chance.uniform(-wanted.jitter, wanted.jitter) if wanted.jitter else 0.0
        return sent + max(0.0, wanted.delay + spread)

    def _strikes(self, share: float) -> bool:
        return share > 0 and self._chance.random() < share

    def _corrupted(self, frame: bytes) -> bytes:
        broken = bytearray(frame)
        bit = self._chance.randrange(len(frame) * 8)
        broken[bit // 8] ^= 1 << bit % 8
        return bytes(broken)
