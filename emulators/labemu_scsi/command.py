"""What goes into the device server and what comes out of it.

A transport hands in anything that is shaped like `Command`, so that it needs no object of its own beside its task.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from labemu_faults.gate import Gate
    from labemu_scsi.nexus import Nexus

Buffer = bytes | bytearray | memoryview


class Status(IntEnum):
    """SAM-5 table 43."""

    GOOD = 0x00
    CHECK_CONDITION = 0x02
    CONDITION_MET = 0x04
    BUSY = 0x08
    RESERVATION_CONFLICT = 0x18
    TASK_SET_FULL = 0x28
    TASK_ABORTED = 0x40


class Command(Protocol):
    """A command as the transport received it.

    `data` is the data-out buffer, as much as was sent; it may be gone once `execute` has returned a response.
    """

    @property
    def nexus(self) -> Nexus:
        """Who sends."""

    @property
    def cdb(self) -> bytes:
        """At least 16 bytes."""

    @property
    def data(self) -> Buffer:
        """Data-out."""


class Response(NamedTuple):
    """How a command ended.

    Args:
        status: a Status.
        data: data-in, before the transport cuts it to what the initiator expects.
        sense: sense data, with CHECK CONDITION.
        wanted: bytes of data-out that the CDB called for, from which the transport tells the residual; None is all that came.
    """

    status: int = 0
    data: Buffer = b""
    sense: bytes = b""
    wanted: int | None = None


GOOD = Response()
RESERVATION_CONFLICT = Response(Status.RESERVATION_CONFLICT)


class Deferred(NamedTuple):
    """A command that is legal, and whose work must not be done on the spot.

    Args:
        work: to be called on a thread; raises what handlers raise (`Device.finish` turns that into a response).
        delay: seconds to let pass first.
        blocking: whether the work may wait for a medium; if not, it can be called on the event loop after the delay.
        gate: what it waits at after the delay, where a fault holds it.
        early: the response, if it is sent before the work is done (IMMED); what the work comes to is then told to nobody.
        again: asked on the event loop after the work, for the step that follows; with None, the work's response is the command's.
    """

    work: Callable[[], Response]
    delay: float = 0.0
    blocking: bool = True
    gate: Gate | None = None
    early: Response | None = None
    again: Callable[[], Deferred | None] | None = None


Outcome = Response | Deferred


class Interceptor(Protocol):
    """What stands between a unit and its commands while faults are ordered (labemu_scsi.faults)."""

    def execute(self, name: str, command: Command, run: Callable[[], Outcome]) -> Outcome:
        """Do a command, by calling `run` or in another way; `name` is its operation's. Raises CheckCondition."""
