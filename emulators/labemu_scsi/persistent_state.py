"""Persistent reservations (SPC-4 5.13): who is registered, who holds, and what that forbids to others.

Registrations belong to initiator and target ports by name, so they outlive sessions. Types 7 and 8 are held by every registrant.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from labemu_scsi.access import Access
from labemu_scsi.nexus import Nexus


class Type(IntEnum):
    """SPC-4 table 62."""

    WRITE_EXCLUSIVE = 1
    EXCLUSIVE_ACCESS = 3
    WRITE_EXCLUSIVE_REGISTRANTS = 5
    EXCLUSIVE_ACCESS_REGISTRANTS = 6
    WRITE_EXCLUSIVE_ALL = 7
    EXCLUSIVE_ACCESS_ALL = 8


ALL_REGISTRANTS = frozenset((Type.WRITE_EXCLUSIVE_ALL, Type.EXCLUSIVE_ACCESS_ALL))
REGISTRANTS_ONLY = frozenset((Type.WRITE_EXCLUSIVE_REGISTRANTS, Type.EXCLUSIVE_ACCESS_REGISTRANTS))
_WRITE_ONLY = frozenset((Type.WRITE_EXCLUSIVE, Type.WRITE_EXCLUSIVE_REGISTRANTS, Type.WRITE_EXCLUSIVE_ALL))


class Registrant(NamedTuple):
    """A nexus by its ports' names."""

    initiator_port: str
    target_port: str
    relative_port: int

    @classmethod
    def of(cls, nexus: Nexus) -> Registrant:
        """The registrant that a nexus is."""
        return cls(nexus.initiator_port, nexus.target_port, nexus.relative_port)


class Holder(NamedTuple):
    """The reservation; of the all-registrants types `registrant` is whoever made it."""

    registrant: Registrant
    type: Type


class PersistentReservations:
    """The registrations and the reservation of a logical unit."""

    def __init__(self) -> None:
        self.generation = 0
        self.keys: dict[Registrant, int] = {}
        self.holder: Holder | None = None

    def is_holder(self, registrant: Registrant) -> bool:
        """Whether it holds the reservation."""
        if self.holder is None:
            return False
        if self.holder.type in ALL_REGISTRANTS:
            return registrant in self.keys
        return self.holder.registrant == registrant

    def forbids(self, nexus: Nexus, access: Access) -> bool:
        """Whether the reservation stands in a command's way (SPC-4 table 54)."""
        if self.holder is None or access is Access.ALWAYS:
            return False
        registrant = Registrant.of(nexus)
        if self.is_holder(registrant):
            return False
        if self.holder.type in REGISTRANTS_ONLY and registrant in self.keys:
            return False
        return not (self.holder.type in _WRITE_ONLY and access is Access.READ)

    def reservation_key(self) -> int:
        """What READ RESERVATION tells: zero for the all-registrants types (SPC-4 6.15.3.2)."""
        if self.holder is None or self.holder.type in ALL_REGISTRANTS:
            return 0
        return self.keys.get(self.holder.registrant, 0)
