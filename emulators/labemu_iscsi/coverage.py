"""Which bytes of a task's data-out have come, when they may come in any order, twice, or not at all."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from labemu_iscsi.limits import MAX_STRETCHES


class Coverage:
    """A set of bytes, as stretches in their order that neither touch nor overlap; `count` is how many bytes."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        self.count = 0

    def add(self, start: int, end: int) -> bool:
        """Add a stretch; False when there would be more of them than MAX_STRETCHES."""
        first = bisect_left(self._ends, start)  # the first that it touches
        last = bisect_right(self._starts, end)  # the one behind the last that it touches
        touched = slice(first, last)
        merged_start = min([start, *self._starts[touched]])
        merged_end = max([end, *self._ends[touched]])
        old = sum(e - s for s, e in zip(self._starts[touched], self._ends[touched], strict=True))
        self._starts[touched] = [merged_start]
        self._ends[touched] = [merged_end]
        self.count += merged_end - merged_start - old
        return len(self._starts) <= MAX_STRETCHES

    @property
    def end(self) -> int:
        """Where the last stretch ends; 0 when there is none."""
        return self._ends[-1] if self._ends else 0

    def missing(self, start: int, end: int) -> tuple[int, int] | None:
        """The smallest range that holds all that is missing between two places; None when nothing is."""
        first = self._skip(start)
        if first >= end:
            return None
        last = end
        index = bisect_left(self._ends, end)
        if index < len(self._starts) and self._starts[index] < end:
            last = max(self._starts[index], first)
        return first, last

    def _skip(self, place: int) -> int:
        """The first place from here on that is not there."""
        index = bisect_right(self._starts, place) - 1
        return max(place, self._ends[index]) if index >= 0 else place
