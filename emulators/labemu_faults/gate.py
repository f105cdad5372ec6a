"""A gate that held commands wait at until the fault is cleared."""

from __future__ import annotations

from collections.abc import Callable


class Gate:
    """Closed until opened, then open for good. Used from one thread."""

    __slots__ = ("_waiting", "is_open")

    def __init__(self) -> None:
        self.is_open = False
        self._waiting: list[Callable[[], None]] = []

    def wait(self, then: Callable[[], None]) -> None:
        """Call `then` once it is open; at once if it is."""
        if self.is_open:
            then()
        else:
            self._waiting.append(then)

    def open(self) -> None:
        """Let everything through, in the order in which it came."""
        self.is_open = True
        waiting, self._waiting = self._waiting, []
        for then in waiting:
            then()


class NeverGate(Gate):
    """A gate that nothing passes: what waits is forgotten, so that silence costs no memory."""

    __slots__ = ()

    def wait(self, then: Callable[[], None]) -> None:
        """Forget it."""


NEVER = NeverGate()
