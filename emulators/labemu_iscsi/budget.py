"""Room for data-out, shared by all sessions of a node, so that many sessions cannot hold more than one machine has."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from labemu_iscsi.limits import MAX_BURST, NODE_DATA, SESSION_DATA


class Budget:
    """Bytes that tasks hold from their first R2T to their status.

    A session without any gets one burst's worth whatever the others hold: who takes room and sends nothing slows the others' large writes,
    but stops nobody.
    """

    def __init__(self) -> None:
        self.taken = 0
        self._waiting: dict[Hashable, Callable[[], None]] = {}

    def take(self, held: int, need: int) -> bool:
        """Take room for a task; False when it must wait.

        Args:
            held: what its session holds already.
            need: what the task wants.
        """
        if held and held + need > SESSION_DATA:
            return False
        if self.taken + need > NODE_DATA and (held or need > MAX_BURST) and self.taken:
            return False
        self.taken += need
        return True

    def wait(self, who: Hashable, wake: Callable[[], None]) -> None:
        """Call `wake`, once, when room was given back."""
        self._waiting[who] = wake

    def forget(self, who: Hashable) -> None:
        """It waits no more."""
        self._waiting.pop(who, None)

    def give_back(self, size: int) -> None:
        """A task is over."""
        self.taken -= size
        if size and self._waiting:
            waiting, self._waiting = self._waiting, {}
            for wake in waiting.values():
                wake()
