"""When a change must be on the medium before it is answered: with FUA, and whenever the write cache is off (SBC-3 4.15, 6.5.5)."""

from __future__ import annotations

from collections.abc import Callable

from labemu_scsi.command import Deferred, Outcome, Response
from labemu_scsi.unit import LogicalUnit
from labemu_store.block import Operation

FUA = 0x08
"""In byte 1 of the commands that have it."""


def flush_then(unit: LogicalUnit, response: Response) -> Outcome:
    """The response, once all that was written is durable."""

    def work() -> Response:
        unit.store.flush()
        return response

    return unit.perform(Operation.FLUSH, 0, 0, work)


def change(
    unit: LogicalUnit,
    operation: Operation,
    offset: int,
    length: int,
    work: Callable[[], Response],
    *,
    flags: int = 0,
    long: bool = False,
) -> Outcome:
    """Change the medium, and flush before the answer where that is wanted.

    Args:
        unit: the unit.
        operation: for the store's latency.
        offset: where, in bytes.
        length: likewise.
        work: makes the change.
        flags: byte 1 of the CDB, for its FUA bit.
        long: too much to be done on the spot.
    """
    durable = flags & FUA or not unit.mode.write_cache
    if not durable:
        return Deferred(work) if long and unit.inline else unit.perform(operation, offset, length, work)
    if unit.inline and not long:
        return flush_then(unit, work())

    def both() -> Response:
        response = work()
        unit.store.flush()
        return response

    delay = unit.store.latency(operation, offset, length) if unit.delays else 0.0
    return Deferred(both, delay)
