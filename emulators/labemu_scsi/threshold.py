"""Thin provisioning thresholds (SBC-3 4.7.3.7): a warning before space runs out.

An initiator arms them in the logical block provisioning mode page. They are looked at as commands come in, and only while one is
armed: a unit without any pays nothing. One that struck strikes again only after the space came back across it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

AVAILABLE, USED = 0x01, 0x02  # THRESHOLD RESOURCE, SBC-3 table 194; also the parameter codes of log page 0Ch


@dataclass(kw_only=True)
class Threshold:
    """A soft threshold.

    Args:
        resource: AVAILABLE, which warns when it falls to the count, or USED, which warns when it rises to it.
        enabled: whether it is armed.
        count: in threshold sets.
    """

    resource: int
    enabled: bool = False
    count: int = 0
    struck: bool = False

    def reached(self, amount: int) -> bool:
        """Whether that much is too little, or too much."""
        return amount <= self.count if self.resource == AVAILABLE else amount >= self.count


ORDER: Final = (AVAILABLE, USED)
"""The descriptors of the mode page, in this order."""
