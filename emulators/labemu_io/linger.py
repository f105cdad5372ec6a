"""Waiting a moment for the next command instead of going to sleep.

An initiator that sends one command at a time has its next one ready some twenty microseconds after an answer. Going to sleep and being
woken takes a CPU about as long again, most of all a virtual one. So a server looks a few times more before it returns to its loop; the
kernel and KVM do the same for sockets and for idle CPUs (busy_poll, halt_poll_ns). What it may cost is bounded:

- one connection is busy, goes step by step, and is answered on the spot: others never wait for it, and batches of deeper queues are not
  torn apart;
- there is more than one CPU, so that the initiator is not kept from running;
- after a moment in vain it is left alone for a while, twice as long each time in a row, up to a thousand commands.
"""

from __future__ import annotations

import os
from typing import Final

MOMENT: Final = 100e-6
"""Seconds: longer than a client on the same machine needs, and nothing beside a disk's or a network's time."""

STEPS: Final = 64
"""Commands in a row until the loop has its turn: other connections wait a few milliseconds at most, once."""

_SETTLE: Final = 16  # commands of the same connection, one by one, before it is tried
_LONGEST: Final = 1024


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
        """Whether `who` waits now.

        Args:
            who: the connection that has just answered.
            single: that it was one command.
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
        """The next command came while it waited."""
        self._patience = 1

    def missed(self) -> None:
        """It waited in vain."""
        self._patience = min(self._patience * 2, _LONGEST)
        self._skip = self._patience
