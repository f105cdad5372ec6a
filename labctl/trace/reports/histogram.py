"""Latencies counted in buckets of a fixed ratio, so that percentiles of any number of them take constant memory."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

PER_OCTAVE: Final = 64
"""Buckets for each doubling: a percentile is off by half a bucket at most, 0.55 %."""


class Histogram:
    """Counts of nanoseconds."""

    __slots__ = ("_buckets", "count", "largest", "total")

    def __init__(self) -> None:
        self._buckets: dict[int, int] = {}
        self.count = 0
        self.total = 0
        self.largest = 0

    def add(self, nanoseconds: int) -> None:
        """Count one."""
        bucket = int(math.log2(nanoseconds) * PER_OCTAVE) if nanoseconds > 0 else 0
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1
        self.count += 1
        self.total += nanoseconds
        self.largest = max(self.largest, nanoseconds)

    def add_all(self, nanoseconds: NDArray[np.int64]) -> None:
        """Count many."""
        if not len(nanoseconds):
            return
        places = (np.log2(np.maximum(nanoseconds, 1)) * PER_OCTAVE).astype(np.int64)
        counts = np.bincount(places)
        for bucket in np.flatnonzero(counts).tolist():
            self._buckets[bucket] = self._buckets.get(bucket, 0) + int(counts[bucket])
        self.count += len(nanoseconds)
        self.total += int(nanoseconds.sum())
        self.largest = max(self.largest, int(nanoseconds.max()))

    def percentile(self, share: float) -> int | None:
        """The latency that so much of them stays within, `0.95` for 95 %; None where there is none."""
        if not self.count:
            return None
        rank = math.ceil(self.count * share)
        for bucket in sorted(self._buckets):
            rank -= self._buckets[bucket]
            if rank <= 0:
                return min(int(2 ** ((bucket + 0.5) / PER_OCTAVE)), self.largest)
        return self.largest

    @property
    def mean(self) -> int | None:
        """Their mean."""
        return self.total // self.count if self.count else None
