"""SANITIZE and FORMAT UNIT (SBC-3 5.30, 5.2): everything on the medium goes.

There is no CRYPTOGRAPHIC ERASE, for nothing is encrypted. BLOCK ERASE unmaps, so only thin units have it.
"""

from __future__ import annotations

from typing import Final

from labemu_scsi.access import Access
from labemu_scsi.cdb import CommandSpec
from labemu_scsi.command import GOOD, Command, Deferred, Outcome, Response
from labemu_scsi.limits import COPY_CHUNK
from labemu_scsi.sense import InvalidField, InvalidParameter, ParameterListLength
from labemu_scsi.unit import LogicalUnit
from labemu_scsi.wipe import Part, Wipe

_SANITIZE, _FORMAT = 0x48, 0x04
_OVERWRITE, _BLOCK_ERASE, _EXIT_FAILURE_MODE = 0x01, 0x02, 0x1F
_IMMED: Final = 0x80
_AUSE: Final = 0x20
_INVERTED: Final = bytes(range(255, -1, -1))
_HEADER: Final = 4


def _begin(unit: LogicalUnit, wipe: Wipe, *, immediate: bool, wanted: int) -> Deferred:
    """The first step; the unit is not ready from now on."""
    unit.wipe = wipe
    unit.update_guard()
    first = _step(unit, wipe, wanted)
    return first._replace(early=Response(0, wanted=wanted)) if immediate else first


def _step(unit: LogicalUnit, wipe: Wipe, wanted: int) -> Deferred:
    def work() -> Response:
        wipe.step()
        if wipe.finished:
            unit.store.flush()
        return Response(0, wanted=wanted)

    def again() -> Deferred | None:
        if wipe.finished:
            unit.wipe = None
            unit.update_guard()
        return None if wipe.finished or wipe.failed else _step(unit, wipe, wanted)

    return Deferred(work, unit.wipe_seconds / wipe.steps, again=again)


def _sanitize(unit: LogicalUnit, command: Command, passes: list[Part], wanted: int) -> Outcome:
    flags = command.cdb[1]
    wipe = Wipe(
        unit.blocks << unit.shift,
        unit.block_size,
        passes,
        underway=(0x04, 0x1B),  # SANITIZE IN PROGRESS
        failure=(0x31, 0x03),  # SANITIZE COMMAND FAILED
        remedies=frozenset((_SANITIZE,)),
        lenient=bool(flags & _AUSE),
    )
    return _begin(unit, wipe, immediate=bool(flags & _IMMED), wanted=wanted)


def _check(unit: LogicalUnit, command: Command) -> int:
    """What all of SANITIZE's actions ask for; the parameter list's length."""
    cdb = command.cdb
    unit.check_writable()
    if cdb[1] & 0x40:
        raise InvalidField(pointer=1, bit=6)
    for index in range(2, 7):
        if cdb[index]:
            raise InvalidField(pointer=index)
    return int.from_bytes(cdb[7:9], "big")


def overwrite(unit: LogicalUnit, command: Command) -> Outcome:
    """SANITIZE, OVERWRITE, SBC-3 5.30.2.2: each block filled with the pattern, as many times over as asked for."""
    length = _check(unit, command)
    if not _HEADER < length <= _HEADER + unit.block_size:
        raise InvalidField(pointer=7)
    data = bytes(command.data[:length])
    if len(data) < length:
        raise ParameterListLength()
    count, size = data[0] & 0x1F, int.from_bytes(data[2:4], "big")
    if not count:
        raise InvalidParameter(pointer=0, bit=4)
    if not 0 < size <= unit.block_size or size != length - _HEADER:
        raise InvalidParameter(pointer=2)
    pattern = data[_HEADER:]
    patterns = (pattern, pattern.translate(_INVERTED)) if data[0] & 0x80 else (pattern, pattern)
    return _sanitize(unit, command, [_fill(unit, patterns[number % 2]) for number in range(count)], length)


def _fill(unit: LogicalUnit, pattern: bytes) -> Part:
    block = (pattern * -(-unit.block_size // len(pattern)))[: unit.block_size]

    def fill(offset: int, length: int) -> None:
        chunk = block * (min(length, COPY_CHUNK) // unit.block_size)
        for start in range(0, length, len(chunk)):
            unit.store.write(offset + start, memoryview(chunk)[: length - start])

    return fill


def block_erase(unit: LogicalUnit, command: Command) -> Outcome:
    """SANITIZE, BLOCK ERASE, SBC-3 5.30.2.3: every block unmapped, so that it reads as zeroes (WABEREQ 01b)."""
    if not unit.thin:
        raise InvalidField(pointer=1, bit=4)
    if _check(unit, command):
        raise InvalidField(pointer=7)
    return _sanitize(unit, command, [unit.store.unmap], 0)


def exit_failure_mode(unit: LogicalUnit, command: Command) -> Outcome:
    """SANITIZE, EXIT FAILURE MODE, SBC-3 5.30.2.5: leave a failure alone, where the command that failed allowed it."""
    if _check(unit, command):
        raise InvalidField(pointer=7)
    if unit.wipe is not None:
        if not unit.wipe.lenient:
            raise InvalidField(pointer=1, bit=4)
        unit.wipe = None
        unit.update_guard()
    return GOOD


def format_unit(unit: LogicalUnit, command: Command) -> Outcome:
    """FORMAT UNIT, SBC-3 5.2: zeroes everywhere, in the block size that there is; there are no defects to manage."""
    flags = command.cdb[1]
    unit.check_writable()
    if flags & 0xC0:  # FMTPINFO: no protection information
        raise InvalidField(pointer=1, bit=7)
    immediate, wanted = False, 0
    if flags & 0x10:  # FMTDATA
        wanted = 8 if flags & 0x20 else 4
        header = bytes(command.data[:wanted])
        if len(header) < wanted:
            raise ParameterListLength()
        if header[0] or header[1] & 0x08 or any(header[2:]):  # protection, a pattern, a list of defects
            raise InvalidParameter(pointer=0)
        immediate = bool(header[1] & 0x02)
    wipe = Wipe(
        unit.blocks << unit.shift,
        unit.block_size,
        [unit.store.unmap if unit.thin else unit.store.write_zeroes],
        underway=(0x04, 0x04),  # FORMAT IN PROGRESS
        failure=(0x31, 0x01),  # FORMAT COMMAND FAILED
        remedies=frozenset((_SANITIZE, _FORMAT)),
    )
    return _begin(unit, wipe, immediate=immediate, wanted=wanted)


_W = Access.WRITE

COMMANDS = (
    CommandSpec(opcode=_FORMAT, name="FORMAT UNIT", usage="04ff00000307", handler=format_unit, access=_W),
    CommandSpec(
        opcode=_SANITIZE,
        action=_OVERWRITE,
        name="SANITIZE OVERWRITE",
        usage="48bf0000000000ffff07",
        handler=overwrite,
        access=_W,
    ),
    CommandSpec(
        opcode=_SANITIZE,
        action=_BLOCK_ERASE,
        name="SANITIZE BLOCK ERASE",
        usage="48bf0000000000ffff07",
        handler=block_erase,
        access=_W,
        thin=True,
    ),
    CommandSpec(
        opcode=_SANITIZE,
        action=_EXIT_FAILURE_MODE,
        name="SANITIZE EXIT FAILURE MODE",
        usage="48bf0000000000ffff07",
        handler=exit_failure_mode,
        access=_W,
    ),
)
