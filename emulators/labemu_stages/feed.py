"""The stages of commands, from the servers that note them to whoever reads them.

Rules: nothing is noted until somebody reads, nor any more when nobody has for a while (LEASE), so a reader that was killed costs nothing
for long. Readers get what is new since they last read; one that is too slow is told how much it missed. Clocks are the caller's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

STAGES: Final = ("queued", "started", "store-begin", "store-end", "responded")
"""In the order in which a command passes them.

`queued`: it is here whole, with its data. `started`: its execution began. `store-begin`, `store-end`: the backing store was first
called, and last returned. `responded`: its response was handed to the connection. One that did not happen is missing.
"""

KEPT: Final = 65_536
"""Commands that wait for readers: about half a second of a server at its limits, some 30 MiB."""

LEASE: Final = 5.0
"""Seconds without a reader after which nothing is noted any more."""


@dataclass(slots=True, eq=False)
class Stages:
    """One command.

    Args:
        protocol: `iscsi` or `nfs`.
        client: its address and port, `10.0.0.2:40001` or `[fd00::2]:40001`.
        server: likewise.
        tag: what tells it from others of its connection: the initiator task tag, or the XID.
        times: nanoseconds since 1970, by stage.
    """

    protocol: str
    client: str
    server: str
    tag: int
    times: dict[str, int] = field(default_factory=dict)


class Reading(NamedTuple):
    """What a reader gets.

    Args:
        next: what to give as `since` the next time.
        lost: how many commands between the last time and now were thrown away.
        stages: the commands that are new, oldest first.
    """

    next: int
    lost: int
    stages: list[Stages]


class Feed:
    """Keeps what servers note for those who read.

    Args:
        now: seconds on any clock that never goes back.
        time: nanoseconds since 1970, for servers.
    """

    def __init__(self, now: Callable[[], float], time: Callable[[], int]) -> None:
        self.time = time
        self._now = now
        self._kept: deque[Stages] = deque(maxlen=KEPT)
        self._count = 0
        self._read_at = 0.0
        self._on = False
        self._switches: list[Callable[[bool], None]] = []

    def switch(self, switch: Callable[[bool], None]) -> None:
        """Call this when noting is to begin (True) or to end (False)."""
        self._switches.append(switch)

    @property
    def on(self) -> bool:
        """Whether anything is to be noted."""
        return self._on

    def put(self, stages: Stages) -> None:
        """A command is done."""
        self._kept.append(stages)
        self._count += 1

    def read(self, since: int | None = None) -> Reading:
        """What is new. The first reading switches noting on and has nothing yet.

        Args:
            since: `next` of the last reading; None for a new reader.
        """
        self._read_at = self._now()
        self._turn(True)
        first = self._count - len(self._kept)
        if since is None or since > self._count:
            return Reading(self._count, 0, [])
        begin = max(since, first)
        kept = self._kept
        return Reading(self._count, begin - since, [kept[at - first] for at in range(begin, self._count)])

    def check(self) -> bool:
        """Switch off where nobody reads any more; call it now and then. Returns `on`."""
        if self._on and self._now() - self._read_at > LEASE:
            self._turn(False)
            self._kept.clear()
        return self._on

    def _turn(self, on: bool) -> None:
        if on is not self._on:
            self._on = on
            for switch in self._switches:
                switch(on)
