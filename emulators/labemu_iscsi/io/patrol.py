"""One timer for all connections of a server: it finds peers that are silent (RFC 7143 11.19), however many there are."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from labemu_iscsi.io.connection import SocketConnection


class Patrol:
    """Looks at every connection now and then.

    Args:
        loop: the loop.
        connections: those that there are at each round.
        interval: seconds between two rounds.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, connections: Collection[SocketConnection], interval: float
    ) -> None:
        self._loop = loop
        self._connections = connections
        self._interval = interval
        self._timer = loop.call_later(interval, self._round)

    def stop(self) -> None:
        """The last round was the last."""
        self._timer.cancel()

    def _round(self) -> None:
        self._timer = self._loop.call_later(self._interval, self._round)
        for connection in list(self._connections):
            connection.check_silence()
