"""Latency: operations take longer by an average, with a tail when wanted."""

from __future__ import annotations

import math
from dataclasses import replace

from labemu_store.block.api import BlockStore, Capabilities, Operation
from labemu_store.block.filters.base import Filter, Rule

_P99_NORMAL = 2.3263478740408408  # the standard normal distribution's 99th percentile


class DelayFilter(Filter):
    """Adds latency to what the rule strikes.

    Args:
        next_store: the store behind.
        average: seconds.
        p99: seconds that one operation in a hundred exceeds (log-normal); None delays each by the average.
        rule: what it strikes.
    """

    def __init__(
        self, next_store: BlockStore, *, average: float, p99: float | None = None, rule: Rule | None = None
    ) -> None:
        super().__init__(next_store)
        self.rule = rule if rule is not None else Rule()
        self.average = average
        self._sigma = 0.0 if p99 is None or p99 <= average else _sigma(p99 / average)

    @property
    def capabilities(self) -> Capabilities:
        """As behind, with delays."""
        return replace(self.next.capabilities, delays=True)

    def latency(self, operation: Operation, offset: int, length: int) -> float:
        """What is behind adds its own."""
        behind = self.next.latency(operation, offset, length)
        if not self.rule.strikes(operation, offset, length):
            return behind
        if not self._sigma:
            return behind + self.average
        mu = math.log(self.average) - self._sigma**2 / 2  # so that the mean is the average
        return behind + self.rule.random.lognormvariate(mu, self._sigma)


def _sigma(ratio: float) -> float:
    """The log-normal's sigma whose 99th percentile is `ratio` times its mean: z*s - s*s/2 = ln(ratio).

    Beyond exp(z*z/2), about 15 times, no log-normal reaches the ratio; the widest is taken.
    """
    inside = _P99_NORMAL**2 - 2 * math.log(ratio)
    return _P99_NORMAL - math.sqrt(max(inside, 0.0))
