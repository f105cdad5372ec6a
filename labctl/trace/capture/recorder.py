"""Records packets of live links, and what the lab says meanwhile, until it is told to stop."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from labctl.errors import LabError
from labctl.trace.capture.merge import Merge
from labctl.trace.capture.output import Output
from labctl.trace.record import Annotation, Link

WAIT = 0.1
"""Seconds between looks at the lab's events and at whether to stop, when no packets come."""


@dataclass(frozen=True, kw_only=True)
class Totals:
    """What a recording has.

    Args:
        packets: packets written.
        bytes: bytes that they had on the wire.
        drops: packets lost because writing was too slow, by the link's name; only links that lost some.
        seconds: how long it took.
    """

    packets: int
    bytes: int
    drops: dict[str, int]
    seconds: float


class Recorder:
    """Moves packets from rings to a file.

    Args:
        merge: the rings.
        links: by ring.
        output: where they go.
        notes: annotations from other threads, written when they come.
        snaplen: bytes kept of each packet, or 0 for all.
    """

    def __init__(
        self,
        merge: Merge,
        links: Sequence[Link],
        output: Output,
        *,
        notes: queue.SimpleQueue[Annotation] | None = None,
        snaplen: int = 0,
    ) -> None:
        self._merge = merge
        self._links = links
        self._output = output
        self._notes = notes or queue.SimpleQueue()
        self._snaplen = snaplen or None
        self._packets = 0
        self._bytes = 0

    def run(
        self,
        *,
        stopped: Callable[[], bool],
        duration: float | None = None,
        ending: Callable[[], None] = lambda: None,
    ) -> Totals:
        """Record.

        Args:
            stopped: asked several times a second.
            duration: seconds after which to stop by itself, or None.
            ending: called before the last annotations are written.

        Raises:
            LabError: what is written to is full, or gone.
        """
        begin = time.monotonic()
        try:
            while not stopped() and (duration is None or time.monotonic() - begin < duration):
                self._step(WAIT)
            while self._step(0.0):  # what the kernel has handed over already
                pass
            ending()
            self._annotate()
            drops = self._drops()
            if drops:
                self._output.writer.annotate(Annotation(time=time.time_ns(), kind="drops", data={**drops}))
        except BrokenPipeError:
            drops = self._drops()  # the reader has seen enough
        except OSError as error:
            raise LabError(
                f"cannot write the recording: {error.strerror}", hint="make room, or use --size and --files"
            ) from error
        return Totals(packets=self._packets, bytes=self._bytes, drops=drops, seconds=time.monotonic() - begin)

    def _step(self, wait: float) -> int:
        batch = self._merge.wait(wait)
        self._annotate()
        packets, count = batch.packets, len(batch.packets)
        try:
            while packets:
                fit = self._output.that_fit(packets)
                self._bytes += self._output.writer.write_run(packets[:fit], self._snaplen)
                self._output.settle()
                packets = packets[fit:]
        finally:
            batch.release()
        self._packets += count
        return count

    def _annotate(self) -> None:
        while True:
            try:
                note = self._notes.get_nowait()
            except queue.Empty:
                return
            if note.kind == "names":
                self._output.begin_with(note)
            else:
                self._output.writer.annotate(note)

    def _drops(self) -> dict[str, int]:
        counts = zip(self._links, self._merge.drops(), strict=True)
        return {link.name: lost for link, lost in counts if lost}
