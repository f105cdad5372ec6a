"""Target ports and their groups (SPC-4 5.15): by which way a unit is reached, and how well."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final


class AccessState(IntEnum):
    """Asymmetric access states, SPC-4 table 308."""

    ACTIVE_OPTIMIZED = 0x0
    ACTIVE_NON_OPTIMIZED = 0x1
    STANDBY = 0x2
    UNAVAILABLE = 0x3
    OFFLINE = 0xE
    TRANSITIONING = 0xF

    @property
    def active(self) -> bool:
        """Whether every command is done."""
        return self <= AccessState.ACTIVE_NON_OPTIMIZED


class Cause(IntEnum):
    """What changed a state last: the status code of SPC-4 table 309."""

    NONE = 0
    EXPLICIT = 1
    IMPLICIT = 2


SETTABLE: Final = frozenset(AccessState) - {AccessState.TRANSITIONING}
"""What SET TARGET PORT GROUPS may ask for (SPC-4 table 328)."""


@dataclass(frozen=True)
class TargetPort:
    """A target port.

    Args:
        name: its SCSI name.
        device: the target device's name.
        relative: its relative identifier, unique among all ports that reach a unit.
    """

    name: str
    device: str
    relative: int


@dataclass(eq=False)
class PortGroup:
    """A target port group.

    Args:
        identifier: 1 to 65535, unique among all groups that reach a unit.
        ports: its ports.
        state: its asymmetric access state.
        preferred: the PREF bit.
    """

    identifier: int
    ports: list[TargetPort] = field(default_factory=list)
    state: AccessState = AccessState.ACTIVE_OPTIMIZED
    preferred: bool = False
    cause: Cause = Cause.NONE
