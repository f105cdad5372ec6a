"""Command descriptor blocks: the shape of the opcode table and the places of common fields.

The table is data: each group of commands declares its rows beside its handlers, `table.py` joins them, and the rows drive dispatch,
reservation checks, and what REPORT SUPPORTED OPERATION CODES tells.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from labemu_scsi.access import Access
from labemu_scsi.command import Command, Outcome

if TYPE_CHECKING:
    from labemu_scsi.unit import LogicalUnit

Handler = Callable[["LogicalUnit", Command], Outcome]

RW6: Final = struct.Struct(">xBHBx")  # bits 20-16 of the LBA, the rest, length
RW10: Final = struct.Struct(">xBIxHx")  # flags, LBA, length
RW12: Final = struct.Struct(">xBIIxx")
RW16: Final = struct.Struct(">xBQIxx")


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandSpec:
    """A row of the opcode table.

    Args:
        opcode: byte 0.
        action: the service action, for opcodes that have them.
        name: the standard's.
        usage: the CDB usage map (SPC-4 6.35.3) in hex, from which the CDB's length follows; byte 0 is the opcode.
        handler: does it.
        access: under reservations.
        attention: a pending unit attention is reported instead of doing it.
        medium: it needs a medium that is there and spinning.
        thin: only thin units have it; its handler refuses it on others.
    """

    opcode: int
    name: str
    usage: str
    handler: Handler
    access: Access
    action: int | None = None
    attention: bool = True
    medium: bool = True
    thin: bool = False

    @property
    def usage_map(self) -> bytes:
        """The usage map's bytes; their number is the CDB's length."""
        return bytes.fromhex(self.usage)


def cut(data: bytes | bytearray, allocation_length: int) -> bytes:
    """Data-in cut to the CDB's allocation length (SPC-4 4.2.5.6)."""
    return bytes(data[:allocation_length])
