"""Decodes live links as their packets come, and leaves some out rather than lag behind."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Sequence
from typing import Final

from labctl.trace.capture.merge import Merge
from labctl.trace.command import Command
from labctl.trace.decoder import Decoder
from labctl.trace.files.batch import from_ring
from labctl.trace.record import Annotation, Link

WAIT: Final = 0.1
"""Seconds between looks at other things, when no packets come."""

LAG: Final = 1_000_000_000
"""Nanoseconds that what is shown may be behind."""


class Watcher:
    """Packets of rings become commands.

    Args:
        merge: the rings.
        links: by ring.
        notes: annotations from other threads.
        now: nanoseconds since 1970.
    """

    def __init__(
        self,
        merge: Merge,
        links: Sequence[Link],
        *,
        notes: queue.SimpleQueue[Annotation] | None = None,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        self._merge = merge
        self._links = links
        self._notes = notes or queue.SimpleQueue()
        self._now = now
        self._decoder = Decoder()
        self._frame = 0
        self._skipped = 0
        self._drops = 0

    def step(self, wait: float = WAIT) -> list[Command]:
        """The commands that ended since the last call.

        Args:
            wait: seconds to wait for packets.
        """
        batch = self._merge.wait(wait)
        try:
            newest = batch.packets[-1][0] if batch.packets else 0
            columns = from_ring(batch.packets, self._links, first=self._frame + 1, annotations=list(self._said()))
        finally:
            batch.release()
        self._frame += len(columns)
        commands = self._decoder.feed_batch(columns)
        if newest and self._now() - newest > LAG:
            self._skipped += self._merge.skip()
        return commands

    def take_lost(self) -> str | None:
        """What was left out since the last call, in words, or None."""
        drops = sum(self._merge.drops())
        skipped, lost = self._skipped, drops - self._drops
        self._skipped, self._drops = 0, drops
        if not skipped and not lost:
            return None
        return " and ".join(
            part
            for part in (
                f"{skipped} blocks of packets" if skipped else "",
                f"{lost} packets that the kernel had no room for" if lost else "",
            )
            if part
        )

    def _said(self) -> list[Annotation]:
        said = []
        while True:
            try:
                said.append(self._notes.get_nowait())
            except queue.Empty:
                return said
