"""Waiting for a condition, never for a time.

A test that sleeps is either too slow or too hasty. Here a condition is asked again and again until it holds or a deadline has passed,
and the failure says what was awaited and what the last answer was. The interval grows, so that quick things are noticed at once and
slow ones cost little.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

T = TypeVar("T")

FIRST_INTERVAL = 0.005  # seconds; about what it takes to start a process
LONGEST_INTERVAL = 0.25  # seconds; below what somebody who watches a test run notices
DEFAULT_TIMEOUT = 10.0  # seconds; generous, since it is only spent when a test fails


class Deadline:
    """A moment by which something must be done, shared by several waits.

    Args:
        seconds: the time from now.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    @property
    def seconds(self) -> float:
        """The whole time that was given."""
        return self._seconds

    @property
    def left(self) -> float:
        """Seconds that remain; never negative."""
        return max(0.0, self._end - time.monotonic())

    @property
    def passed(self) -> bool:
        """Whether no time remains."""
        return self.left == 0.0


def _intervals(deadline: Deadline) -> Iterator[float]:
    """How long to pause before each further attempt; the last attempt comes when the deadline has passed."""
    interval = FIRST_INTERVAL
    while not deadline.passed:
        yield min(interval, deadline.left)
        interval = min(interval * 2, LONGEST_INTERVAL)


def _failure(condition: object, what: str | None, deadline: Deadline, last: object) -> AssertionError:
    name = what or getattr(condition, "__name__", repr(condition))
    return AssertionError(f"waited {deadline.seconds:g} s for {name}; the last answer was {last!r}")


def wait_for(condition: Callable[[], T], timeout: float | Deadline = DEFAULT_TIMEOUT, *, what: str | None = None) -> T:
    """Ask `condition` until its answer is true, and return that answer.

    Args:
        condition: asked at once, and then at growing intervals; an exception from it ends the wait.
        timeout: seconds, or a deadline shared with other waits.
        what: what is awaited, for the failure's message.

    Raises:
        AssertionError: the deadline passed first.
    """
    deadline = timeout if isinstance(timeout, Deadline) else Deadline(timeout)
    if answer := condition():
        return answer
    for interval in _intervals(deadline):
        time.sleep(interval)
        if answer := condition():
            return answer
    raise _failure(condition, what, deadline, answer)


async def wait_until(
    condition: Callable[[], Awaitable[T]], timeout: float | Deadline = DEFAULT_TIMEOUT, *, what: str | None = None
) -> T:
    """As `wait_for`, for a condition that is awaited; other tasks run meanwhile.

    Raises:
        AssertionError: the deadline passed first.
    """
    deadline = timeout if isinstance(timeout, Deadline) else Deadline(timeout)
    if answer := await condition():
        return answer
    for interval in _intervals(deadline):
        await asyncio.sleep(interval)
        if answer := await condition():
            return answer
    raise _failure(condition, what, deadline, answer)
