"""Watching the storage traffic of a lab that runs from within a program: what `labctl check` and the `traffic` fixture share."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from labctl.cli.trace import links
from labctl.daemon.client import DaemonClient
from labctl.trace.capture.watcher import Watcher
from labctl.trace.command import Command

KEPT: Final = 100_000
"""Commands that are remembered; the oldest go."""


class Seen:
    """What was seen since the watching began, each command as soon as it ends.

    Attributes:
        commands: the last KEPT of them.
        lost: what was left out and when, in nanoseconds since 1970.
        error: what ended the watching, or None.
    """

    def __init__(self) -> None:
        self.commands: deque[Command] = deque(maxlen=KEPT)
        self.lost: deque[tuple[int, str]] = deque(maxlen=KEPT)
        self.error: BaseException | None = None

    def lost_since(self, time_: int) -> str:
        """What was left out since then, in words, or "".

        Args:
            time_: nanoseconds since 1970.
        """
        return ", ".join(what for at, what in tuple(self.lost) if at >= time_)


@contextmanager
def watch(client: DaemonClient, networks: Sequence[str], seen: Seen) -> Iterator[list[str]]:
    """Watch a lab; gives the links' names.

    Args:
        client: the lab.
        networks: names; empty for those of role storage.
        seen: is filled from a thread of its own until the end.

    Raises:
        LabError: there is no such network, or looking into it is not allowed.
    """
    places = links.choose(client.get("/v1/status")["resources"], networks, [])
    follower, ended = links.Follower(client), threading.Event()
    with links.open_links(client, places) as merge:
        watcher = Watcher(merge, links.links_of(places), notes=follower.notes)
        follower.start()
        thread = threading.Thread(target=_fill, args=(watcher, seen, ended), daemon=True)
        thread.start()
        try:
            yield [place.name for place in places]
        finally:
            ended.set()
            thread.join()


def _fill(watcher: Watcher, seen: Seen, ended: threading.Event) -> None:
    try:
        while not ended.is_set():
            seen.commands.extend(watcher.step())
            lost = watcher.take_lost()
            if lost:
                seen.lost.append((time.time_ns(), lost))
    except BaseException as error:
        seen.error = error
        raise
