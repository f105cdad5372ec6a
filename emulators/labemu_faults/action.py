"""What a fault does. An emulator takes the actions that mean something to it, and refuses the others when the rule is set."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Final

_P99_NORMAL: Final = 2.3263478740408408
"""The standard normal distribution's 99th percentile."""


class ActionKind(StrEnum):
    """The word of each action."""

    LATENCY = "latency"
    RATE = "rate"
    SENSE = "sense"
    STATUS = "status"
    ERROR = "error"
    READONLY = "readonly"
    SILENCE = "silence"
    PAUSE = "pause"
    DROP = "drop"
    CORRUPT = "corrupt"
    REORDER = "reorder"
    REFUSE = "refuse"


@dataclass(frozen=True, kw_only=True)
class Action:
    """What happens to a command that a rule strikes.

    Args:
        kind: which action; the other fields belong to single kinds.
        average: LATENCY: seconds.
        p99: LATENCY: seconds that one in a hundred exceeds (log-normal); 0 delays each by the average.
        rate: RATE: bytes a second.
        code: SENSE: key, ASC, ASCQ; REFUSE: status class, detail; STATUS: the SCSI status; ERROR: the nfsstat.
        after: DROP: bytes of the connection after which it is dropped.
        received: DROP: count the bytes that came instead of those that were sent.
        what: CORRUPT: header-digest, data-digest or payload.
        reset: SILENCE of a whole target: reset new connections instead of leaving them unanswered.
    """

    kind: ActionKind
    average: float = 0.0
    p99: float = 0.0
    rate: int = 0
    code: tuple[int, ...] = ()
    after: int = 0
    received: bool = False
    what: str = ""
    reset: bool = False

    def latency(self, random: Random) -> float:
        """Seconds of one delay."""
        if self.p99 <= self.average or not self.average:
            return self.average
        sigma = _sigma(self.p99 / self.average)
        return random.lognormvariate(math.log(self.average) - sigma**2 / 2, sigma)


def _sigma(ratio: float) -> float:
    """The log-normal's sigma whose 99th percentile is `ratio` times its mean: z*s - s*s/2 = ln(ratio).

    Beyond exp(z*z/2), about 15 times, no log-normal reaches the ratio; the widest is taken.
    """
    inside = _P99_NORMAL**2 - 2 * math.log(ratio)
    return _P99_NORMAL - math.sqrt(max(inside, 0.0))
