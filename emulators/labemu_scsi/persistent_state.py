"""Persistent reservations (SPC-4 5.13): who is registered, who holds, and what that forbids to others.

Registrations belong to initiator and target ports by name, so they outlive sessions. Types 7 and 8 are held by every registrant.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple, Protocol

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


@dataclass(frozen=True)
class Registrant:
    """A nexus by its ports' names (SPC-4 5.13.1): for iSCSI the initiator's name with its ISID, and the target's with its tag.

    `relative_port` is told, and is no part of the identity: it may be another after the targets were set up anew.
    """

    initiator_port: str
    target_port: str
    relative_port: int = field(compare=False)

    @classmethod
    def of(cls, nexus: Nexus) -> Registrant:
        """The registrant that a nexus is."""
        return cls(nexus.initiator_port, nexus.target_port, nexus.relative_port)


class Holder(NamedTuple):
    """The reservation; of the all-registrants types `registrant` is whoever made it."""

    registrant: Registrant
    type: Type


class StateStore(Protocol):
    """Where a unit's reservations are kept through a loss of power; the transport's side supplies it."""

    def load(self) -> bytes | None:
        """What was saved last, or None."""

    def save(self, data: bytes) -> None:
        """Keep it; on return it is durable, whole or, after an OSError, not at all."""


class DamagedState(ValueError):  # noqa: N818 - says what is the matter
    """What was kept of the reservations cannot be understood: serving the unit without them would let others write."""


class PersistentReservations:
    """The registrations and the reservation of a logical unit.

    Args:
        store: where they are kept when an initiator asks for that (APTPL); None keeps nothing.

    Raises:
        DamagedState: what was kept cannot be understood.
    """

    def __init__(self, store: StateStore | None = None) -> None:
        self.generation = 0
        self.keys: dict[Registrant, int] = {}
        self.holder: Holder | None = None
        self.store = store
        self.activated = False  # PTPL_A
        self._saving = threading.Lock()
        self._changes = 0
        self._saved = 0
        saved = None if store is None else store.load()
        if saved:
            self._restore(saved)

    def _restore(self, saved: bytes) -> None:
        try:
            state = json.loads(saved)
            ports = [Registrant(str(i), str(t), int(r)) for i, t, r, _ in state["registrations"]]
            self.keys = dict(zip(ports, (int(key) for *_, key in state["registrations"]), strict=True))
            holder = state["holder"]
            if holder is not None:
                self.holder = Holder(ports[holder["registration"]], Type(holder["type"]))
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise DamagedState("the persistent reservations that were kept are damaged") from error
        self.activated = True

    def _encode(self) -> bytes:
        if not self.activated:
            return b""
        ports = list(self.keys)
        holder = None
        if self.holder is not None:  # of the all-registrants types, whoever made it may have left
            place = ports.index(self.holder.registrant) if self.holder.registrant in self.keys else 0
            holder = {"registration": place, "type": int(self.holder.type)}
        rows = [(each.initiator_port, each.target_port, each.relative_port, key) for each, key in self.keys.items()]
        return json.dumps({"registrations": rows, "holder": holder}).encode()

    def save_later(self) -> Callable[[], None]:
        """What must be called before the change made last is acknowledged; it may be called on any thread.

        Several changes may wait at once: the newest is kept, whichever comes first, and an older one never replaces it.
        """
        store, data = self.store, self._encode()
        self._changes += 1
        change = self._changes

        def save() -> None:
            with self._saving:
                if store is not None and change > self._saved:
                    store.save(data)
                    self._saved = change

        return save

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
