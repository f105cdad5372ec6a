"""Filters that come and go on a store in use, each under a name."""

from __future__ import annotations

import threading
from collections.abc import Callable

from labemu_store.block.api import BlockStore
from labemu_store.block.filters.base import Clear, Filter

MakeFilter = Callable[[BlockStore], Filter]
"""Makes a filter over the store that it is given, for instance `lambda store: DelayFilter(store, average=0.01)`."""


class Stack(Clear):
    """A store with named filters over it. An operation under way ends on the way that it began; the next one takes the new way.

    Filters that hold data (cow) do not belong here: what they took must not vanish with them.

    Args:
        bottom: the store below all filters.
        changed: called after each change, for whoever keeps a copy of `capabilities` (LogicalUnit.refresh).
    """

    def __init__(self, bottom: BlockStore, *, changed: Callable[[], None] = lambda: None) -> None:
        super().__init__(bottom)
        self.bottom = bottom
        self.changed = changed
        self._lock = threading.Lock()
        self._filters: list[tuple[str, Filter]] = []  # the first is asked first

    def names(self) -> list[str]:
        """The filters' names, from the one that is asked first."""
        return [name for name, _ in self._filters]

    def get(self, name: str) -> Filter:
        """The filter of that name, to look at or to switch.

        Raises:
            KeyError: there is none.
        """
        return dict(self._filters)[name]

    def insert(self, name: str, make: MakeFilter, *, before: str | None = None) -> Filter:
        """Put a filter in, on top or before (above) another one.

        Raises:
            KeyError: no filter `before`.
            ValueError: the name is taken.
        """
        with self._lock:
            if name in self.names():
                raise ValueError(f"there is a filter {name} already")
            index = 0 if before is None else self._index(before)
            filters = list(self._filters)
            made = make(self.bottom if index == len(filters) else filters[index][1])
            filters.insert(index, (name, made))
            self._link(filters)
        self.changed()
        return made

    def change(self, name: str, make: MakeFilter) -> Filter:
        """Another filter in the place of the one of that name.

        Raises:
            KeyError: there is none.
        """
        with self._lock:
            index = self._index(name)
            old = self._filters[index][1]
            filters = list(self._filters)
            made = make(old.next)
            filters[index] = (name, made)
            self._link(filters)
        _let_go(old)
        self.changed()
        return made

    def remove(self, name: str) -> None:
        """Take a filter out; what it holds goes on.

        Raises:
            KeyError: there is none.
        """
        with self._lock:
            index = self._index(name)
            old = self._filters[index][1]
            self._link(self._filters[:index] + self._filters[index + 1 :])
        _let_go(old)
        self.changed()

    def _index(self, name: str) -> int:
        names = self.names()
        if name not in names:
            raise KeyError(name)
        return names.index(name)

    def _link(self, filters: list[tuple[str, Filter]]) -> None:
        """From the bottom up, so that each way that an operation can take is complete at any moment."""
        below = self.bottom
        for _, one in reversed(filters):
            one.next = below
            below = one
        self._filters = filters
        self.next = below


def _let_go(old: Filter) -> None:
    resume = getattr(old, "resume", None)
    if resume is not None:
        resume()
