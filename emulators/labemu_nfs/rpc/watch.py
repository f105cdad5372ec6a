"""Notes the stages of calls (labemu_stages) on their way through a connection, while somebody reads them.

A procedure that does its work on the spot is at the store from its beginning to its end; one that gives a Job, while that runs.
"""

from __future__ import annotations

from collections.abc import Callable

from labemu_stages.feed import Feed, Stages


class Noted:
    """One call that is watched.

    Args:
        stages: what is known of it so far.
        feed: where they go when it is answered.
    """

    __slots__ = ("_begun", "_feed", "_stages")

    def __init__(self, stages: Stages, feed: Feed) -> None:
        self._stages = stages
        self._feed = feed
        self._begun = 0

    def began(self) -> None:
        """Its procedure begins, or goes on after it was held."""
        self._begun = self._feed.time()
        self._stages.times.setdefault("started", self._begun)

    def done(self) -> None:
        """Its procedure did all that was to do, on the spot."""
        times = self._stages.times
        times["store-begin"], times["store-end"] = self._begun, self._feed.time()

    def run(self, work: Callable[[], object]) -> Callable[[], object]:
        """A Job's work, as it is to be called in its place."""
        times, time = self._stages.times, self._feed.time

        def timed() -> object:
            times.setdefault("store-begin", time())
            try:
                return work()
            finally:
                times["store-end"] = time()

        return timed

    def responded(self) -> None:
        """Its reply was handed to the connection."""
        times = self._stages.times
        times["responded"] = self._feed.time()
        self._feed.put(self._stages)


class Watch:
    """Notes the calls of one connection.

    Args:
        client: its address and port.
        server: likewise, on this side.
        feed: where the stages go.
    """

    __slots__ = ("_client", "_feed", "_server")

    def __init__(self, client: str, server: str, feed: Feed) -> None:
        self._client = client
        self._server = server
        self._feed = feed

    @property
    def now(self) -> int:
        """Nanoseconds since 1970."""
        return self._feed.time()

    def call(self, xid: int, queued: int) -> Noted:
        """A call has come.

        Args:
            xid: its own.
            queued: when the last of it was here.
        """
        return Noted(Stages("nfs", self._client, self._server, xid, {"queued": queued}), self._feed)
