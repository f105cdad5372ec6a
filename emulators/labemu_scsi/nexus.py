"""The I_T nexus (SAM-5 4.7): an initiator port talking to a target port."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Set
from typing import Final, Protocol

from labemu_scsi.limits import MAX_ATTENTIONS
from labemu_scsi.ports import AccessState, Cause, PortGroup

POWER_ON: Final = (0x29, 0x00)
BUS_RESET: Final = (0x29, 0x02)
DEVICE_RESET: Final = (0x29, 0x03)
NEXUS_LOSS: Final = (0x29, 0x07)
MODE_CHANGED: Final = (0x2A, 0x01)
RESERVATIONS_PREEMPTED: Final = (0x2A, 0x03)
RESERVATIONS_RELEASED: Final = (0x2A, 0x04)
REGISTRATIONS_PREEMPTED: Final = (0x2A, 0x05)
ACCESS_STATE_CHANGED: Final = (0x2A, 0x06)
CAPACITY_CHANGED: Final = (0x2A, 0x09)
MEDIUM_CHANGED: Final = (0x28, 0x00)
SOFT_THRESHOLD: Final = (0x38, 0x07)
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
        group: the target port group of its target port; None where a device has no groups.

    `first` is what a unit tells it before anything else; `seen` are the attentions of the units that know it, which are those that it
    spoke to and those where something happened since.
    """

    __slots__ = ("address", "first", "group", "initiator_port", "relative_port", "seen", "target_name", "target_port")

    def __init__(
        self,
        initiator_port: str,
        target_port: str,
        *,
        target_name: str = "",
        relative_port: int = 1,
        address: str = "",
        group: PortGroup | None = None,
    ) -> None:
        self.initiator_port = initiator_port
        self.target_port = target_port
        self.target_name = target_name or target_port
        self.relative_port = relative_port
        self.address = address
        self.group = group
        self.first: tuple[int, int] = POWER_ON
        self.seen: set[Attentions] = set()

    @property
    def accessible(self) -> bool:
        """Whether its target port lets every command through to the medium (SPC-4 5.15.2.4)."""
        return self.group is None or self.group.state.active


class Home(Protocol):
    """Where a unit is to be reached: a device."""

    @property
    def nexuses(self) -> set[Nexus]:
        """All of the device."""

    @property
    def units(self) -> Mapping[int, object]:
        """The device's logical units, by number; a unit knows itself by these attentions, not the other way round."""

    @property
    def groups(self) -> dict[int, PortGroup]:
        """Its target port groups by identifier."""

    def change_access(self, group: PortGroup, state: AccessState, cause: Cause, nexus: Nexus | None) -> None:
        """Bring one of its groups into a state, and tell all but `nexus`."""

    def abort_tasks(self, attentions: Attentions, nexuses: Set[Nexus]) -> set[Nexus]:
        """End what these nexuses have under way at the unit with these attentions; returns those that no status tells of it."""


class Attentions:
    """A logical unit's unit attentions (SAM-5 5.14), for each nexus of the devices that it is in. `lost` is called where one is lost.

    A nexus comes to be in one step, however many units its device has: a unit takes note of it when it first speaks, or when
    something happens that it must hear of. `quiet` holds those with nothing to tell and nothing in their way, so that the fast path asks
    one question; `pending` those with something to tell.
    """

    def __init__(self, lost: Callable[[Nexus], None] = lambda _: None) -> None:
        self._lost = lost
        self.homes: list[Home] = []
        self.known: set[Nexus] = set()
        self.quiet: set[Nexus] = set()
        self.pending: dict[Nexus, deque[tuple[int, int]]] = {}

    def nexuses(self) -> Iterator[Nexus]:
        """All that reach the unit, through whatever device."""
        for home in self.homes:
            yield from home.nexuses

    def meet(self, nexus: Nexus) -> None:
        """Take note of a nexus, with what it is to hear first."""
        if nexus not in self.known:
            self.known.add(nexus)
            nexus.seen.add(self)
            self._queue(nexus, nexus.first)

    def detach(self, nexus: Nexus) -> None:
        """Forget a nexus."""
        self.known.discard(nexus)
        self.quiet.discard(nexus)
        self.pending.pop(nexus, None)
        nexus.seen.discard(self)

    def lost(self, nexus: Nexus) -> None:
        """A nexus is lost: the unit lets go what hung on it."""
        self._lost(nexus)
        self.detach(nexus)

    def settle(self, nexus: Nexus) -> None:
        """Put a known nexus among the quiet ones, or take it out."""
        if nexus not in self.pending and nexus.accessible:
            self.quiet.add(nexus)
        else:
            self.quiet.discard(nexus)

    def establish(self, nexus: Nexus, code: tuple[int, int]) -> None:
        """Queue one; a reset supersedes all that is queued (SAM-5 5.14.4)."""
        self.meet(nexus)
        self._queue(nexus, code)

    def _queue(self, nexus: Nexus, code: tuple[int, int]) -> None:
        queue = self.pending.setdefault(nexus, deque())
        if code in _RESETS or len(queue) >= MAX_ATTENTIONS:
            queue.clear()
        if code not in queue:
            queue.append(code)
        self.quiet.discard(nexus)

    def establish_for_others(self, nexus: Nexus | None, code: tuple[int, int]) -> None:
        """Queue one for each nexus but `nexus`."""
        for other in list(self.nexuses()):
            if other is not nexus:
                self.establish(other, code)

    def establish_for_known(self, nexus: Nexus | None, code: tuple[int, int]) -> None:
        """Queue one for each nexus that the unit met, but `nexus`; the rest learn it when they look around first."""
        for other in self.known:
            if other is not nexus:
                self._queue(other, code)

    def waits(self, nexus: Nexus) -> bool:
        """Whether there is something to tell."""
        self.meet(nexus)
        return nexus in self.pending

    def take(self, nexus: Nexus) -> tuple[int, int] | None:
        """The oldest, which is then told."""
        self.meet(nexus)
        queue = self.pending.get(nexus)
        if queue is None:
            return None
        code = queue.popleft()
        if not queue:
            del self.pending[nexus]
            self.settle(nexus)
        return code

    def drop(self, nexus: Nexus, code: tuple[int, int]) -> None:
        """Withdraw one that was told in another way."""
        queue = self.pending.get(nexus)
        if queue is not None and code in queue:
            queue.remove(code)
            if not queue:
                del self.pending[nexus]
                self.settle(nexus)
