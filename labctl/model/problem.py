"""What is wrong with a topology, and where.

A problem is a value, not an exception: a phase collects all of them before it stops, so that a user mends a file in one go.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True, order=True)
class Position:
    """A place in a file; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class Severity(StrEnum):
    """Whether a problem stops the work."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One finding.

    Args:
        path: the keys from the top of the file to the value meant, e.g. `("vm", "web1", "disks", 0, "datastore")`; the loader
            turns it into a position.
        message: what is wrong; does not repeat the resource's name, the rendering puts it in front.
        hint: what to do about it.
    """

    path: tuple[str | int, ...]
    message: str
    hint: str | None = None
    severity: Severity = Severity.ERROR
    position: Position | None = field(default=None)
