"""A rule: which commands a fault strikes, and what it does to them.

A `Rule` is what the user ordered and never changes; an `Armed` rule adds what it did so far: hits, chance, the gate of what it holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from random import Random
from typing import Final

from labemu_faults.action import Action, ActionKind
from labemu_faults.gate import Gate

MAX_REMEMBERED_CLIENTS: Final = 4096
"""Clients whose match is remembered; more than any lab has, and little memory when a flood of addresses comes by."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What was ordered. Empty selectors select everything.

    Args:
        id: its name among the rules, unique.
        action: what it does.
        operations: words or globs of them, in lower case (`read`, `write*`, `inquiry`, `getattr`).
        start: bytes of the unit, from this one on.
        end: up to, not including, this byte; None is the end.
        clients: globs of initiator names and addresses.
        target: glob of the target's name.
        lun: the unit's number.
        portal: glob of the address that the client came in at.
        path: glob of a file's path, the export's first (`/gold/web1*`).
        probability: of each match, above 0.0, to 1.0.
        count: strike this often and never again; None is always.
        seed: of the rule's chance, to repeat a run; None is another one each time.
        until: seconds of the Unix clock after which whoever set it takes it away; None is never.
    """

    id: str
    action: Action
    operations: tuple[str, ...] = ()
    start: int = 0
    end: int | None = None
    clients: tuple[str, ...] = ()
    target: str = ""
    lun: int | None = None
    portal: str = ""
    path: str = ""
    probability: float = 1.0
    count: int | None = None
    seed: int | None = None
    until: float | None = None

    @property
    def ranged(self) -> bool:
        """Whether only part of the unit is meant."""
        return self.start > 0 or self.end is not None


class Armed:
    """A rule at work.

    Args:
        rule: it.
        struck: called with this object after each hit.
        hits: of an earlier life.
    """

    def __init__(self, rule: Rule, struck: Callable[[Armed], None] = lambda _: None, *, hits: int = 0) -> None:
        self.rule = rule
        self.hits = hits
        self.random = Random(rule.seed)  # noqa: S311 - chance, not secrets
        self.gate = Gate()
        self._struck = struck
        self._operations: dict[str, bool] = {}
        self._clients: dict[tuple[str, ...], bool] = {}
        self._free_at = 0.0

    @property
    def spent(self) -> bool:
        """Whether it has struck as often as it was to."""
        return self.rule.count is not None and self.hits >= self.rule.count

    def concerns(self, operations: Iterable[str]) -> bool:
        """Whether one of a command's words is selected."""
        return not self.rule.operations or any(self._selects(word) for word in operations)

    def _selects(self, word: str) -> bool:
        known = self._operations.get(word)
        if known is None:
            known = any(fnmatchcase(word, each) for each in self.rule.operations)
            self._operations[word] = known
        return known

    def admits(self, *client: str) -> bool:
        """Whether a client is selected by one of its names (an initiator's name, an address)."""
        if not self.rule.clients:
            return True
        known = self._clients.get(client)
        if known is None:
            known = any(fnmatchcase(name, each) for name in client if name for each in self.rule.clients)
            if len(self._clients) >= MAX_REMEMBERED_CLIENTS:
                self._clients.clear()
            self._clients[client] = known
        return known

    @staticmethod
    def matches(pattern: str, text: str) -> bool:
        """Whether a text is what a glob says; an empty glob says nothing."""
        return not pattern or fnmatchcase(text, pattern)

    def overlaps(self, ranges: Iterable[tuple[int, int]]) -> int | None:
        """The first byte of (offset, length) ranges that lies in the rule's range, or None."""
        end = self.rule.end
        for offset, length in ranges:
            first = max(offset, self.rule.start)
            if first < offset + length and (end is None or first < end):
                return first
        return None

    def strike(self) -> bool:
        """Whether chance and count let it strike what it selects; a strike counts."""
        if self.spent:
            return False
        if self.rule.probability < 1.0 and self.random.random() >= self.rule.probability:
            return False
        self.hits += 1
        self._struck(self)
        return True

    def delay(self, size: int, now: float) -> float:
        """Seconds that a command of `size` bytes is to wait for (LATENCY and RATE; 0 for other actions)."""
        action = self.rule.action
        if action.kind is ActionKind.LATENCY:
            return action.latency(self.random)
        if action.kind is not ActionKind.RATE or not size:
            return 0.0
        self._free_at = max(self._free_at, now) + size / action.rate
        return self._free_at - now
