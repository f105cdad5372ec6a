"""Bandwidth: operations wait for tokens, of bytes and of operations a second."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from labemu_store.block.api import BlockStore, Capabilities, Operation
from labemu_store.block.filters.base import Filter, Rule


class TokenBucket:
    """A rate that allows a burst. A taker may go into debt, and waits until it is paid: nobody overtakes.

    Args:
        rate: tokens a second; above 0.
        burst: tokens that are there after idleness.
        now: a monotonic clock, in seconds.
    """

    def __init__(self, rate: float, burst: float, now: Callable[[], float]) -> None:
        if rate <= 0 or burst < 0:
            raise ValueError("a rate is above 0, and a burst no less")
        self._rate, self._burst, self._now = rate, burst, now
        self._tokens, self._at = burst, now()

    def take(self, tokens: float) -> float:
        """Seconds until these tokens are there."""
        now = self._now()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate) - tokens
        self._at = now
        return max(0.0, -self._tokens / self._rate)


class RateFilter(Filter):
    """Lets through so many bytes and operations a second of what the rule strikes.

    Args:
        next_store: the store behind.
        bytes_per_second: of reads and writes together; None is any.
        operations_per_second: None is any.
        burst: seconds' worth that may pass at once after idleness.
        rule: what it strikes.
        now: a monotonic clock, in seconds.

    Raises:
        ValueError: a rate is not above 0.
    """

    def __init__(
        self,
        next_store: BlockStore,
        *,
        bytes_per_second: float | None = None,
        operations_per_second: float | None = None,
        burst: float = 0.1,
        rule: Rule | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(next_store)
        self.rule = rule if rule is not None else Rule()
        self._lock = threading.Lock()
        self._bytes = _bucket(bytes_per_second, burst, now)
        self._operations = _bucket(operations_per_second, burst, now)

    @property
    def capabilities(self) -> Capabilities:
        """As behind, with delays."""
        return replace(self.next.capabilities, delays=True)

    def latency(self, operation: Operation, offset: int, length: int) -> float:
        """What is behind adds its own."""
        behind = self.next.latency(operation, offset, length)
        if not self.rule.strikes(operation, offset, length):
            return behind
        moved = length if operation in (Operation.READ, Operation.WRITE) else 0
        with self._lock:
            wait = self._bytes.take(moved) if self._bytes is not None else 0.0
            if self._operations is not None:
                wait = max(wait, self._operations.take(1))
        return behind + wait


def _bucket(rate: float | None, burst: float, now: Callable[[], float]) -> TokenBucket | None:
    return None if rate is None else TokenBucket(rate, rate * burst, now)
