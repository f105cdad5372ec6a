"""LOG SENSE (SPC-4 6.6, 7.3): what may be asked of a disk that has no wear and no temperature.

A page is a function of the unit; its parameters are eight bytes or less, so one command tells a page whole.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Final

from labemu_scsi.access import Access
from labemu_scsi.cdb import CommandSpec, cut
from labemu_scsi.command import Command, Outcome, Response
from labemu_scsi.sense import InvalidField
from labemu_scsi.space import resources
from labemu_scsi.unit import LogicalUnit

_SUPPORTED, _PROVISIONING, _SELF_TEST, _EXCEPTIONS = 0x00, 0x0C, 0x10, 0x2F
_ALL_SUBPAGES: Final = 0xFF
_SUBPAGE_FORMAT: Final = 0x40
_LIST: Final = 0x03  # FORMAT AND LINKING: a binary list parameter
_DEDICATED: Final = 0x01
_SELF_TESTS: Final = 20  # parameters of the page, whether or not a test was made (SPC-4 7.3.20)


def _parameter(code: int, value: bytes) -> bytes:
    return struct.pack(">HBB", code, _LIST, len(value)) + value


def _supported(unit: LogicalUnit) -> bytes:
    return bytes(sorted({code for code, _ in _pages_of(unit)}))


def _supported_subpages(unit: LogicalUnit) -> bytes:
    return b"".join(bytes(each) for each in sorted(_pages_of(unit)))


def _provisioning(unit: LogicalUnit) -> bytes:
    """SBC-3 6.4.4: space that is free and in use, in threshold sets, and nobody else's."""
    return b"".join(
        _parameter(code, struct.pack(">IB3x", min(amount, 0xFFFFFFFF), _DEDICATED))
        for code, amount in sorted(resources(unit).items())
    )


def _self_tests(unit: LogicalUnit) -> bytes:
    """SPC-4 7.3.20: no self-test was made."""
    return b"".join(_parameter(number, bytes(16)) for number in range(1, _SELF_TESTS + 1))


def _exceptions(unit: LogicalUnit) -> bytes:
    """SPC-4 7.3.11: nothing to fear, and no thermometer (FFh)."""
    return _parameter(0x0000, b"\0\0\xff\0")


_PAGES: Final[Mapping[tuple[int, int], Callable[[LogicalUnit], bytes]]] = {
    (_SUPPORTED, 0x00): _supported,
    (_SUPPORTED, _ALL_SUBPAGES): _supported_subpages,
    (_PROVISIONING, 0x00): _provisioning,
    (_SELF_TEST, 0x00): _self_tests,
    (_EXCEPTIONS, 0x00): _exceptions,
}


def _pages_of(unit: LogicalUnit) -> list[tuple[int, int]]:
    return [each for each in _PAGES if unit.thin or each[0] != _PROVISIONING]


def log_sense(unit: LogicalUnit, command: Command) -> Outcome:
    """LOG SENSE, SPC-4 6.6; nothing is saved, and there are current cumulative values alone."""
    cdb = command.cdb
    if cdb[1] & 0x03:  # SP, PPC
        raise InvalidField(pointer=1, bit=0)
    code, subpage = cdb[2] & 0x3F, cdb[3]
    if (code, subpage) not in _pages_of(unit):
        raise InvalidField(pointer=3 if (code, 0) in _pages_of(unit) else 2)
    if any(cdb[5:7]):  # PARAMETER POINTER
        raise InvalidField(pointer=5)
    body = _PAGES[code, subpage](unit)
    first = code | (_SUBPAGE_FORMAT if subpage else 0)
    data = struct.pack(">BBH", first, subpage, len(body)) + body
    return Response(0, cut(data, int.from_bytes(cdb[7:9], "big")))


COMMANDS = (
    CommandSpec(
        opcode=0x4D,
        name="LOG SENSE",
        usage="4d00ffff00ffffffff07",
        handler=log_sense,
        access=Access.READ,
        medium=False,
    ),
)
