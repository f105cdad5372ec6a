"""Requests and responses put together by their tags, all of a batch at once."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from labctl.trace.files.batch import Integers
from labctl.trace.limits import MAX_OPEN

NEVER: Final = np.iinfo(np.int64).max
"""When what has not ended ends."""


class NotPlainError(Exception):
    """There is something here that a lane does not take."""


def need(condition: Any) -> None:
    """Give up unless this holds, or all of these do."""
    if not (condition if isinstance(condition, bool) else np.all(condition)):
        raise NotPlainError


class Pairs:
    """Which request each response belongs to. Requests are counted: first those from before the batch, then those in it.

    Making one raises NotPlainError where a response has no request, or comes after the last one, or a tag is used again too early.

    Args:
        carried: the tags of requests that were under way before.
        tags: of the new ones; asked: when each came, among all messages of the connection.
        responses: the tags of the responses; answered: when each came.
        ends: which of those are a request's last.

    Attributes:
        count: how many requests there are.
        of: each response's request.
        ended: the requests that ended, in the order in which they did.
        over: which requests that are, as a mask.
        end_at: when each ended, among all messages of the connection; NEVER where it did not.
        depth: how many others were under way when each new one came.
    """

    def __init__(
        self,
        carried: list[int],
        tags: Integers,
        asked: Integers,
        responses: Integers,
        answered: Integers,
        ends: NDArray[np.bool_],
    ) -> None:
        need(len(carried) + len(tags) < MAX_OPEN)
        self._tags = np.concatenate((np.array(carried, dtype=np.int64), tags))
        begun = np.concatenate((np.full(len(carried), -1, dtype=np.int64), asked))
        keys = _keys(self._tags, begun)
        self._order = np.argsort(keys)
        self._keys = keys[self._order]
        self.count = len(self._tags)
        self.of = self.whose(responses, answered)
        self.ended = self.of[ends]
        need(not len(self.ended) or int(np.bincount(self.ended).max()) == 1)
        self.end_at = np.full(self.count, NEVER)
        self.end_at[self.ended] = answered[ends]
        self.over = self.end_at < NEVER
        need(answered <= self.end_at[self.of])
        one, other = self._order[:-1], self._order[1:]
        need((self._tags[one] != self._tags[other]) | (self.end_at[one] < begun[other]))
        self.depth = len(carried) + np.arange(len(tags)) - np.searchsorted(answered[ends], asked)

    def whose(self, tags: Integers, position: Integers) -> Integers:
        """The request of each of these tags at a time: the last one before."""
        place = np.searchsorted(self._keys, _keys(tags, position)) - 1
        need(place >= 0)
        found = self._order[place]
        need(self._tags[found] == tags)
        return found


def _keys(tags: Integers, position: Integers) -> NDArray[np.uint64]:
    """Tag and time in one number, to be sorted."""
    return tags.astype(np.uint64) << np.uint64(32) | (position + 1).astype(np.uint64)


def merged(one: Integers, other: Integers) -> tuple[Integers, Integers]:
    """The places of two ascending sequences, none of whose numbers are in both, in the sequence of all."""
    return np.arange(len(one)) + np.searchsorted(other, one), np.arange(len(other)) + np.searchsorted(one, other)


def counted(places: Integers, size: int, weights: Integers | None = None) -> Integers:
    """How often each number below `size` is among `places`; with weights, what these add up to."""
    return np.bincount(places, weights=weights, minlength=size).astype(np.int64)


def ranks(groups: Integers) -> Integers:
    """For each item, how many of the same group were before it."""
    if not len(groups) or int(np.bincount(groups).max()) == 1:
        return np.zeros_like(groups)
    order = np.argsort(groups, kind="stable")
    sorted_groups = groups[order]
    found = np.empty_like(groups)
    found[order] = np.arange(len(groups)) - np.searchsorted(sorted_groups, sorted_groups)
    return found


def distinct(numbers: Integers) -> tuple[Integers, Integers]:
    """The different ones of small numbers in their order, and which of them each is."""
    counts = np.bincount(numbers)
    found = np.flatnonzero(counts)
    places = np.zeros(len(counts), dtype=np.int64)
    places[found] = np.arange(len(found))
    return found, places[numbers]
