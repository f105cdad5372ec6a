"""Moving blocks: READ, WRITE, WRITE AND VERIFY, VERIFY, ORWRITE, COMPARE AND WRITE, PRE-FETCH (SBC-3 clause 5).

Data moves as whole blocks. When less data came than the CDB calls for, the whole blocks that came are written, and the transport
reports the residual.
"""

from __future__ import annotations

from labemu_scsi.access import Access
from labemu_scsi.cdb import RW6, RW10, RW12, RW16, CommandSpec
from labemu_scsi.command import GOOD, Buffer, Command, Outcome, Response
from labemu_scsi.durable import FUA, change, flush_then
from labemu_scsi.limits import MAX_COMPARE_BLOCKS, MAX_INLINE_OR_BYTES
from labemu_scsi.sense import InvalidDataOut, InvalidField, Miscompare, OutOfRange
from labemu_scsi.unit import LogicalUnit
from labemu_store.block import Operation

_PROTECT = 0xE0  # RDPROTECT, WRPROTECT, VRPROTECT
_BYTCHK = 0x06


def check_range(unit: LogicalUnit, lba: int, count: int) -> None:
    """SBC-3 4.4: raise OutOfRange unless all of it lies on the medium."""
    if lba + count > unit.blocks:
        raise OutOfRange(information=lba)


def _check(unit: LogicalUnit, flags: int, lba: int, count: int) -> None:
    if flags & _PROTECT:  # no protection information here: SBC-3 table 5 ff.
        raise InvalidField(pointer=1, bit=7)
    if lba + count > unit.blocks:
        raise OutOfRange(information=lba)
    if count > unit.max_transfer:  # SBC-3 6.6.4: MAXIMUM TRANSFER LENGTH
        raise InvalidField(pointer=0)


def _read(unit: LogicalUnit, flags: int, lba: int, count: int) -> Outcome:
    _check(unit, flags, lba, count)
    if not count:
        return GOOD
    offset, length = lba << unit.shift, count << unit.shift
    if unit.inline:
        return Response(0, unit.store.read(offset, length))
    return unit.perform(Operation.READ, offset, length, lambda: Response(0, unit.store.read(offset, length)))


def read6(unit: LogicalUnit, command: Command) -> Outcome:
    """READ(6), SBC-3 5.9."""
    high, low, count = RW6.unpack_from(command.cdb)
    return _read(unit, 0, (high & 0x1F) << 16 | low, count or 256)


def read10(unit: LogicalUnit, command: Command) -> Outcome:
    """READ(10), SBC-3 5.10."""
    return _read(unit, *RW10.unpack_from(command.cdb))


def read12(unit: LogicalUnit, command: Command) -> Outcome:
    """READ(12), SBC-3 5.11."""
    return _read(unit, *RW12.unpack_from(command.cdb))


def read16(unit: LogicalUnit, command: Command) -> Outcome:
    """READ(16), SBC-3 5.12."""
    return _read(unit, *RW16.unpack_from(command.cdb))


def _write(unit: LogicalUnit, data: Buffer, flags: int, lba: int, count: int) -> Outcome:
    unit.check_writable()
    _check(unit, flags, lba, count)
    offset, wanted = lba << unit.shift, count << unit.shift
    have = len(data)
    if have != wanted:
        usable = min(have, wanted) & -unit.block_size
        data = memoryview(data)[:usable]
    if unit.inline:
        unit.store.write(offset, data)
        done = Response(0, wanted=wanted)
        return flush_then(unit, done) if flags & FUA or not unit.mode.write_cache else done
    data = bytes(data)  # the transport's buffer is gone by then

    def work() -> Response:
        with unit.atomic:
            unit.store.write(offset, data)
        return Response(0, wanted=wanted)

    return change(unit, Operation.WRITE, offset, wanted, work, flags=flags)


def write6(unit: LogicalUnit, command: Command) -> Outcome:
    """WRITE(6), SBC-3 5.31."""
    high, low, count = RW6.unpack_from(command.cdb)
    return _write(unit, command.data, 0, (high & 0x1F) << 16 | low, count or 256)


def write10(unit: LogicalUnit, command: Command) -> Outcome:
    """WRITE(10), SBC-3 5.32."""
    return _write(unit, command.data, *RW10.unpack_from(command.cdb))


def write12(unit: LogicalUnit, command: Command) -> Outcome:
    """WRITE(12), SBC-3 5.33."""
    return _write(unit, command.data, *RW12.unpack_from(command.cdb))


def write16(unit: LogicalUnit, command: Command) -> Outcome:
    """WRITE(16), SBC-3 5.34."""
    return _write(unit, command.data, *RW16.unpack_from(command.cdb))


def _write_verify(unit: LogicalUnit, data: Buffer, flags: int, lba: int, count: int) -> Outcome:
    if flags & _BYTCHK not in (0x00, 0x02):  # SBC-3 5.36: only 00b and 01b are defined
        raise InvalidField(pointer=1, bit=2)
    return _write(unit, data, flags | FUA, lba, count)  # verified is what the medium holds


def write_verify10(unit: LogicalUnit, command: Command) -> Outcome:
    """WRITE AND VERIFY(10), SBC-3 5.36."""
    return _write_verify(unit, command.data, *RW10.unpack_from(command.cdb))


def write_verify12(unit: LogicalUnit, command: Command) -> Outcome:
    """WRITE AND VERIFY(12), SBC-3 5.37."""
    return _write_verify(unit, command.data, *RW12.unpack_from(command.cdb))


def write_verify16(unit: LogicalUnit, command: Command) -> Outcome:
    """WRITE AND VERIFY(16), SBC-3 5.38."""
    return _write_verify(unit, command.data, *RW16.unpack_from(command.cdb))


def compare(expected: Buffer, found: Buffer) -> None:
    """Raise Miscompare, with the offset of the first difference, unless they are equal."""
    if expected == found:
        return
    raise Miscompare(information=_first_difference(bytes(expected), bytes(found)))


def _first_difference(one: bytes, other: bytes) -> int:
    """Where two buffers that differ do so first; by halves, since a step a byte takes 50 ms a megabyte."""
    low, high = 0, len(one)
    while high - low > 1:
        middle = (low + high) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle
    return low


def _verify(unit: LogicalUnit, data: Buffer, flags: int, lba: int, count: int) -> Outcome:
    _check(unit, flags, lba, count)
    check = flags & _BYTCHK
    if check == 0x04:  # 10b is reserved
        raise InvalidField(pointer=1, bit=2)
    if not count or not check:
        return GOOD
    wanted = unit.block_size if check == 0x06 else count << unit.shift
    if len(data) < wanted:
        raise InvalidDataOut()
    expected = bytes(memoryview(data)[:wanted]) * (count if check == 0x06 else 1)
    offset, length = lba << unit.shift, count << unit.shift

    def work() -> Response:
        compare(expected, unit.store.read(offset, length))
        return Response(0, wanted=wanted)

    return unit.perform(Operation.READ, offset, length, work)


def verify10(unit: LogicalUnit, command: Command) -> Outcome:
    """VERIFY(10), SBC-3 5.27."""
    return _verify(unit, command.data, *RW10.unpack_from(command.cdb))


def verify12(unit: LogicalUnit, command: Command) -> Outcome:
    """VERIFY(12), SBC-3 5.28."""
    return _verify(unit, command.data, *RW12.unpack_from(command.cdb))


def verify16(unit: LogicalUnit, command: Command) -> Outcome:
    """VERIFY(16), SBC-3 5.29."""
    return _verify(unit, command.data, *RW16.unpack_from(command.cdb))


def orwrite(unit: LogicalUnit, command: Command) -> Outcome:
    """ORWRITE(16), SBC-3 5.7: old OR new."""
    flags, lba, count = RW16.unpack_from(command.cdb)
    unit.check_writable()
    _check(unit, flags, lba, count)
    offset, wanted = lba << unit.shift, count << unit.shift
    if len(command.data) < wanted:
        raise InvalidDataOut()
    mask = int.from_bytes(memoryview(command.data)[:wanted], "little")

    def work() -> Response:
        with unit.atomic:
            old = int.from_bytes(unit.store.read(offset, wanted), "little")
            unit.store.write(offset, (old | mask).to_bytes(wanted, "little"))
        return Response(0, wanted=wanted)

    if not wanted:
        return GOOD
    return change(unit, Operation.WRITE, offset, wanted, work, flags=flags, long=wanted > MAX_INLINE_OR_BYTES)


def compare_and_write(unit: LogicalUnit, command: Command) -> Outcome:
    """COMPARE AND WRITE, SBC-3 5.2: VAAI's ATS. Half of the data is compared, the other half written if they are equal."""
    cdb = command.cdb
    flags, lba, _ = RW16.unpack_from(cdb)
    count = cdb[13]
    unit.check_writable()
    _check(unit, flags, lba, count)
    if count > MAX_COMPARE_BLOCKS:
        raise InvalidField(pointer=13)
    offset, length = lba << unit.shift, count << unit.shift
    if len(command.data) != 2 * length:
        raise InvalidField(pointer=13)
    if not count:
        return GOOD
    expected, new = bytes(command.data[:length]), bytes(command.data[length:])

    def work() -> Response:
        with unit.atomic:
            compare(expected, unit.store.read(offset, length))
            unit.store.write(offset, new)
        return Response(0, wanted=2 * length)

    return change(unit, Operation.WRITE, offset, length, work, flags=flags)


def prefetch10(unit: LogicalUnit, command: Command) -> Outcome:
    """PRE-FETCH(10), SBC-3 5.8: the page cache reads ahead by itself."""
    _, lba, count = RW10.unpack_from(command.cdb)
    check_range(unit, lba, count)
    return GOOD


def prefetch16(unit: LogicalUnit, command: Command) -> Outcome:
    """PRE-FETCH(16), SBC-3 5.9."""
    _, lba, count = RW16.unpack_from(command.cdb)
    check_range(unit, lba, count)
    return GOOD


_R, _W = Access.READ, Access.WRITE

COMMANDS = (
    CommandSpec(opcode=0x08, name="READ(6)", usage="081fffffff07", handler=read6, access=_R),
    CommandSpec(opcode=0x28, name="READ(10)", usage="28f8ffffffff1fffff07", handler=read10, access=_R),
    CommandSpec(opcode=0xA8, name="READ(12)", usage="a8f8ffffffffffffffff1f07", handler=read12, access=_R),
    CommandSpec(opcode=0x88, name="READ(16)", usage="88f8ffffffffffffffffffffffff1f07", handler=read16, access=_R),
    CommandSpec(opcode=0x0A, name="WRITE(6)", usage="0a1fffffff07", handler=write6, access=_W),
    CommandSpec(opcode=0x2A, name="WRITE(10)", usage="2af8ffffffff1fffff07", handler=write10, access=_W),
    CommandSpec(opcode=0xAA, name="WRITE(12)", usage="aaf8ffffffffffffffff1f07", handler=write12, access=_W),
    CommandSpec(opcode=0x8A, name="WRITE(16)", usage="8af8ffffffffffffffffffffffff1f07", handler=write16, access=_W),
    CommandSpec(
        opcode=0x2E, name="WRITE AND VERIFY(10)", usage="2ef2ffffffff1fffff07", handler=write_verify10, access=_W
    ),
    CommandSpec(
        opcode=0xAE, name="WRITE AND VERIFY(12)", usage="aef2ffffffffffffffff1f07", handler=write_verify12, access=_W
    ),
    CommandSpec(
        opcode=0x8E,
        name="WRITE AND VERIFY(16)",
        usage="8ef2ffffffffffffffffffffffff1f07",
        handler=write_verify16,
        access=_W,
    ),
    CommandSpec(opcode=0x2F, name="VERIFY(10)", usage="2ff6ffffffff1fffff07", handler=verify10, access=_R),
    CommandSpec(opcode=0xAF, name="VERIFY(12)", usage="aff6ffffffffffffffff1f07", handler=verify12, access=_R),
    CommandSpec(opcode=0x8F, name="VERIFY(16)", usage="8ff6ffffffffffffffffffffffff1f07", handler=verify16, access=_R),
    CommandSpec(opcode=0x8B, name="ORWRITE(16)", usage="8bf8ffffffffffffffffffffffff1f07", handler=orwrite, access=_W),
    CommandSpec(
        opcode=0x89,
        name="COMPARE AND WRITE",
        usage="89f8ffffffffffffffff000000ff1f07",
        handler=compare_and_write,
        access=_W,
    ),
    CommandSpec(opcode=0x34, name="PRE-FETCH(10)", usage="3402ffffffff1fffff07", handler=prefetch10, access=_R),
    CommandSpec(
        opcode=0x90, name="PRE-FETCH(16)", usage="9002ffffffffffffffffffffffff1f07", handler=prefetch16, access=_R
    ),
)
