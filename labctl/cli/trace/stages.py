"""The servers' own timestamps of commands, asked for while a capture runs."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from typing import Any, Final

from labctl.daemon.client import DaemonClient
from labctl.errors import LabError
from labctl.runtime.paths import LabPaths
from labctl.trace.record import Annotation
from labctl.trace.stages import STAGES

_PAUSE: Final = 0.25
"""Seconds between two questions."""

_TIMEOUT: Final = 5.0


class StageReader:
    """Asks the agents of arrays for the stages of commands, in a thread of its own, and makes annotations of the answers.

    While it asks, arrays take every command the long way: a little slower, and each with its timestamps.

    Args:
        paths: the lab's places; an agent is asked at its unix socket.
        arrays: the nodes to ask.
        notes: where the annotations go.
    """

    def __init__(self, paths: LabPaths, arrays: Sequence[str], notes: queue.SimpleQueue[Annotation]) -> None:
        self._clients = {name: DaemonClient(paths.node(name) / "agent.sock", paths.lab) for name in arrays}
        self._next: dict[str, int | None] = dict.fromkeys(arrays)
        self._notes = notes
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self.lost = 0

    def start(self) -> None:
        """Ask for the first time, so that what comes from now on is noted, and go on asking."""
        self._ask_all()
        self._thread.start()

    def stop(self) -> None:
        """Ask for the last time."""
        self._ended.set()
        self._thread.join()

    def _follow(self) -> None:
        while not self._ended.wait(_PAUSE):
            self._ask_all()
        self._ask_all()

    def _ask_all(self) -> None:
        for name in self._clients:
            try:
                self._ask(name)
            except LabError:  # its agent is being started again
                self._next[name] = None

    def _ask(self, name: str) -> None:
        since = self._next[name]
        answer = self._clients[name].get(
            "/v1/stages", query=None if since is None else {"since": since}, timeout=_TIMEOUT
        )
        self._next[name] = answer["next"]
        self.lost += answer["lost"]
        for row in answer["stages"]:
            self._notes.put(_annotation(name, row))


def _annotation(array: str, row: list[Any]) -> Annotation:
    protocol, client, server, tag, *times = row
    known = {stage: at for stage, at in zip(STAGES, times, strict=True) if at is not None}
    data = {"array": array, "protocol": protocol, "client": client, "server": server, "tag": tag, **known}
    return Annotation(time=max(known.values()), kind="stages", data=data)
