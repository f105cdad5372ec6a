"""Death at a chosen moment: a journal that kills its process, or pretends to, before or after a chosen transaction.

The points are those of the journal itself, so a new kind of step is covered without anybody's thinking of it: run once with
`at=None` and count `transactions`, then once for each number and side.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NoReturn

from labctl.runtime.journal import Journal, Statement


class Crash(BaseException):
    """The pretended death; no `except Exception` survives it."""


def abandon() -> NoReturn:
    """Pretend to die: nothing after this is recorded.

    Raises:
        Crash: always.
    """
    raise Crash


def kill_self() -> None:
    """Really die, as by `kill -9`."""
    os.kill(os.getpid(), signal.SIGKILL)


class CrashJournal(Journal):
    """A journal that dies at one transaction and takes no others from then on.

    Args:
        path: the journal.
        at: the number of the transaction (from 1) since it was opened, or None for never.
        side: `before`: what was done is not recorded; `after`: what is intended is recorded, and not begun.
        die: how.
    """

    def __init__(
        self,
        path: Path,
        at: int | None = None,
        side: Literal["before", "after"] = "after",
        die: Callable[[], object] = abandon,
    ) -> None:
        self.transactions = 0
        self._at = at
        self._side = side
        self._die = die
        super().__init__(path)

    def write(self, log: Sequence[tuple[str, str]], statements: Sequence[Statement]) -> None:
        """Record, unless this is the moment of death or later."""
        self.transactions += 1
        now = self._at is not None and self.transactions >= self._at
        if now and (self._side == "before" or self.transactions > (self._at or 0)):
            self._die()
        super().write(log, statements)
        if now:
            self._die()
