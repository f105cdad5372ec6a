"""Waiting a moment for the next call instead of going to sleep.

Theory: a client that makes one call at a time has its next one ready some ten microseconds after a reply, while going to sleep and being
woken takes a CPU several times as long, a virtual one most of all; the kernel does the same for sockets (busy_poll). So a server looks
a few times more before it returns to its loop. What that may cost is bounded:

- only one connection is busy, it has had call after call answered on the spot, and none of its calls waits for a thread: nobody else is
  held up, and where several calls are under way nothing is torn apart;
- there is more than one CPU, so that the client is not kept from running;
- after a moment in vain it is left alone for a while, twice as long each time in a row, up to a thousand calls.
"""

from __future__ import annotations

import os

MOMENT = 100e-6
"""Seconds: longer than a client on this machine needs, and little beside what a disk or a network takes."""

STEPS = 64
"""Calls in a row until the loop has its turn: other connections wait a few milliseconds at most, once."""

_SETTLE = 16
"""Calls of one connection, one by one, before it is waited for."""

_LONGEST = 1024


class Linger:
    """Whether to wait, for all connections of a server together.

    Args:
        cpus: how many the process may use; None asks.
    """

    def __init__(self, *, cpus: int | None = None) -> None:
        self._possible = (len(os.sched_getaffinity(0)) if cpus is None else cpus) > 1
        self._last: object = None
        self._skip = _SETTLE
        self._patience = 1

    def worthwhile(self, who: object, *, single: bool) -> bool:
        """Whether a connection that has just answered is waited for.

        Args:
            who: the connection.
            single: one call had come, and its reply has left.
        """
        if who is not self._last or not single:
            self._last = who
            self._skip = max(self._skip, _SETTLE)
            return False
        if self._skip:
            self._skip -= 1
            return False
        return self._possible

    def found(self) -> None:
        """The next call came in time."""
        self._patience = 1

    def missed(self) -> None:
        """None came."""
        self._patience = min(self._patience * 2, _LONGEST)
        self._skip = self._patience
