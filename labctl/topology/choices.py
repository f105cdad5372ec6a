"""Choices that stay: an address, a port, a host, once handed out, is kept for as long as its taker is in the topology.

A value that some other key held in the last compilation is handed out to a newcomer only when nothing else is free; so adding a VM at
the top of a file never renumbers the ones below it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from labctl.errors import LabError

ChoiceKey = tuple[str, str]
"""(pool, key)."""


class Choices:
    """The choices of one compilation, seeded with those of the one before."""

    def __init__(self, prior: Mapping[ChoiceKey, str]) -> None:
        self._prior = prior
        self._made: dict[ChoiceKey, str] = {}
        self._holders: dict[str, dict[str, str]] = {}  # pool → value → key, for unique values
        self._claimed: dict[str, set[str]] = {}
        for (pool, _), value in prior.items():
            self._claimed.setdefault(pool, set()).add(value)

    @property
    def made(self) -> Mapping[ChoiceKey, str]:
        """All choices of this compilation, for the journal."""
        return dict(self._made)

    def choose(self, pool: str, key: str, candidates: Iterable[str], valid: Callable[[str], bool]) -> str:
        """See CompileView.choose."""
        made = self._made.get((pool, key))
        if made is not None:
            return made
        holders = self._holders.setdefault(pool, {})
        earlier = self._prior.get((pool, key))
        if earlier is not None and earlier not in holders and valid(earlier):
            return self._take(pool, key, earlier)
        claimed = self._claimed.get(pool, set())
        fallback: str | None = None
        for candidate in candidates:
            if candidate in holders:
                continue
            if candidate not in claimed:
                return self._take(pool, key, candidate)
            fallback = fallback or candidate
        if fallback is None:
            raise LabError(f"nothing is left in {pool} for {key}", hint="make the pool larger, or use fewer of it")
        return self._take(pool, key, fallback)

    def reserve(self, pool: str, key: str, value: str) -> None:
        """See CompileView.reserve."""
        holder = self._holders.setdefault(pool, {}).get(value)
        if holder is not None and holder != key:
            raise LabError(f"{value} is taken by {holder}", hint=f"values of {pool} must differ")
        self._take(pool, key, value)

    def place(self, pool: str, key: str, candidates: Sequence[str]) -> str:
        """See CompileView.place."""
        made = self._made.get((pool, key))
        if made is not None and made in candidates:
            return made
        if not candidates:
            raise LabError(f"there is nowhere to place {key}", hint=f"{pool} offers no place at all")
        earlier = self._prior.get((pool, key))
        self._made[pool, key] = earlier if earlier in candidates and earlier is not None else candidates[0]
        return self._made[pool, key]

    def _take(self, pool: str, key: str, value: str) -> str:
        self._made[pool, key] = value
        self._holders.setdefault(pool, {})[value] = key
        return value
