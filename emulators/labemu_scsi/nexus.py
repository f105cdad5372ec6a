"""The I_T nexus (SAM-5 4.7): an initiator port talking to a target port."""

from __future__ import annotations

from collections import deque
from typing import Final

from labemu_scsi.limits import MAX_ATTENTIONS

POWER_ON: Final = (0x29, 0x00)
BUS_RESET: Final = (0x29, 0x02)
DEVICE_RESET: Final = (0x29, 0x03)
NEXUS_LOSS: Final = (0x29, 0x07)
MODE_CHANGED: Final = (0x2A, 0x01)
RESERVATIONS_PREEMPTED: Final = (0x2A, 0x03)
RESERVATIONS_RELEASED: Final = (0x2A, 0x04)
REGISTRATIONS_PREEMPTED: Final = (0x2A, 0x05)
CAPACITY_CHANGED: Final = (0x2A, 0x09)
MEDIUM_CHANGED: Final = (0x28, 0x00)
COMMANDS_CLEARED: Final = (0x2F, 0x00)
LUNS_CHANGED: Final = (0x3F, 0x0E)
_RESETS: Final = frozenset((POWER_ON, BUS_RESET, DEVICE_RESET))


class Nexus:
    """One of them; equality is identity.

    Args:
        initiator_port: its SCSI name, `iqn…,i,0x00023d000001`.
        target_port: its SCSI name, `iqn…,t,0x0001`.
        target_name: the target device's name.
        relative_port: the target port's relative identifier, from 1.
        address: where the initiator is, for faults that select by it.
    """

    __slots__ = ("address", "initiator_port", "relative_port", "target_name", "target_port")

    def __init__(
        self,
        initiator_port: str,
        target_port: str,
        *,
        target_name: str = "",
        relative_port: int = 1,
        address: str = "",
    ) -> None:
        self.initiator_port = initiator_port
        self.target_port = target_port
        self.target_name = target_name or target_port
        self.relative_port = relative_port
        self.address = address


class Attentions:
    """A logical unit's unit attentions (SAM-5 5.14), for each nexus that it knows.

    `pending` holds only nexuses with something to tell, so that asking costs one lookup.
    """

    def __init__(self) -> None:
        self.known: set[Nexus] = set()
        self.pending: dict[Nexus, deque[tuple[int, int]]] = {}

    def attach(self, nexus: Nexus, code: tuple[int, int]) -> None:
        """A new nexus, with what it is to hear first."""
        self.known.add(nexus)
        self.establish(nexus, code)

    def detach(self, nexus: Nexus) -> None:
        """Forget a nexus."""
        self.known.discard(nexus)
        self.pending.pop(nexus, None)

    def establish(self, nexus: Nexus, code: tuple[int, int]) -> None:
        """Queue one; a reset supersedes all that is queued (SAM-5 5.14.4)."""
        queue = self.pending.setdefault(nexus, deque())
        if code in _RESETS or len(queue) >= MAX_ATTENTIONS:
            queue.clear()
        if code not in queue:
            queue.append(code)

    def establish_for_others(self, nexus: Nexus | None, code: tuple[int, int]) -> None:
        """Queue one for each known nexus but `nexus`."""
        for other in self.known:
            if other is not nexus:
                self.establish(other, code)

    def take(self, nexus: Nexus) -> tuple[int, int] | None:
        """The oldest, which is then told."""
        queue = self.pending.get(nexus)
        if queue is None:
            return None
        code = queue.popleft()
        if not queue:
            del self.pending[nexus]
        return code

    def drop(self, nexus: Nexus, code: tuple[int, int]) -> None:
        """Withdraw one that was told in another way."""
        queue = self.pending.get(nexus)
        if queue is not None and code in queue:
            queue.remove(code)
            if not queue:
                del self.pending[nexus]
