"""WRITE ATOMIC(16) (SBC-4 5.48): all of it or nothing, in the eyes of every other command and of whoever reads after a crash.

It is one write of the store, made while no other command reads and changes blocks; a store that can tear a write tears this one too.
"""

from __future__ import annotations

import struct
from typing import Final

from labemu_scsi.access import Access
from labemu_scsi.cdb import CommandSpec
from labemu_scsi.command import GOOD, Command, Outcome, Response
from labemu_scsi.durable import change
from labemu_scsi.limits import MAX_ATOMIC_BYTES
from labemu_scsi.sense import InvalidDataOut, InvalidField
from labemu_scsi.transfer import check_range
from labemu_scsi.unit import LogicalUnit
from labemu_store.block import Operation

_CDB: Final = struct.Struct(">xBQHHxx")
_PROTECT: Final = 0xE0


def write_atomic16(unit: LogicalUnit, command: Command) -> Outcome:
    """WRITE ATOMIC(16), SBC-4 5.48."""
    flags, lba, boundary, count = _CDB.unpack_from(command.cdb)
    unit.check_writable()
    if flags & _PROTECT:
        raise InvalidField(pointer=1, bit=7)
    check_range(unit, lba, count)
    offset, wanted = lba << unit.shift, count << unit.shift
    if boundary:  # MAXIMUM ATOMIC BOUNDARY SIZE is zero: none is supported
        raise InvalidField(pointer=10)
    if wanted > MAX_ATOMIC_BYTES:
        raise InvalidField(pointer=12)
    if not count:
        return GOOD
    if len(command.data) != wanted:  # a part of it would not be atomic
        raise InvalidDataOut()
    data = bytes(command.data)

    def work() -> Response:
        with unit.atomic:
            unit.store.write(offset, data)
        return Response(0, wanted=wanted)

    return change(unit, Operation.WRITE, offset, wanted, work, flags=flags)


COMMANDS = (
    CommandSpec(
        opcode=0x9C,
        name="WRITE ATOMIC(16)",
        usage="9cf8ffffffffffffffff0000ffff1f07",
        handler=write_atomic16,
        access=Access.WRITE,
    ),
)
