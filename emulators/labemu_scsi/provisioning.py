"""Space: UNMAP, WRITE SAME and GET LBA STATUS (SBC-3 4.7); VAAI's zero and reclaim."""

from __future__ import annotations

import struct

from labemu_scsi.access import Access
from labemu_scsi.cdb import RW10, RW16, CommandSpec, cut
from labemu_scsi.command import GOOD, Buffer, Command, Outcome, Response
from labemu_scsi.durable import change
from labemu_scsi.limits import (
    INLINE_WRITE_SAME_BYTES,
    MAX_UNMAP_BLOCKS,
    MAX_UNMAP_DESCRIPTORS,
    MAX_WRITE_SAME_BLOCKS,
)
from labemu_scsi.sense import (
    InvalidDataOut,
    InvalidField,
    InvalidOpcode,
    InvalidParameter,
    OutOfRange,
    ParameterListLength,
)
from labemu_scsi.transfer import check_range
from labemu_scsi.unit import LogicalUnit
from labemu_store.block import Operation

_PROTECT = 0xE0
_ANCHOR = 0x10
_UNMAP = 0x08
_NDOB = 0x01
_UNMAP_DESCRIPTOR = struct.Struct(">QI4x")
_STATUS_DESCRIPTOR = struct.Struct(">QIB3x")
_CHUNK = 1 << 20
_DEALLOCATED = 1


def unmap(unit: LogicalUnit, command: Command) -> Outcome:
    """UNMAP, SBC-3 5.25."""
    if not unit.thin:
        raise InvalidOpcode()
    unit.check_writable()
    if command.cdb[1] & 0x01:  # ANCHOR, which nothing here supports (ANC_SUP 000b)
        raise InvalidField(pointer=1, bit=0)
    length = int.from_bytes(command.cdb[7:9], "big")
    if not length:
        return GOOD
    data = command.data
    if length < 8 or len(data) < 8:
        raise ParameterListLength()
    described = int.from_bytes(data[2:4], "big")
    if described > min(length, len(data)) - 8:
        raise ParameterListLength()
    count = described // 16
    if count > MAX_UNMAP_DESCRIPTORS:
        raise InvalidParameter(pointer=2)
    runs = [_UNMAP_DESCRIPTOR.unpack_from(data, 8 + 16 * index) for index in range(count)]
    for lba, blocks in runs:
        check_range(unit, lba, blocks)
    if sum(blocks for _, blocks in runs) > MAX_UNMAP_BLOCKS:
        raise InvalidParameter(pointer=8)

    def work() -> Response:
        for lba, blocks in runs:
            unit.store.unmap(lba << unit.shift, blocks << unit.shift)
        return Response(0, wanted=length)

    return change(unit, Operation.UNMAP, 0, sum(blocks for _, blocks in runs) << unit.shift, work)


def _write_same(unit: LogicalUnit, data: Buffer, flags: int, lba: int, count: int) -> Outcome:
    unit.check_writable()
    if flags & _PROTECT:
        raise InvalidField(pointer=1, bit=7)
    if flags & _ANCHOR or (flags & _UNMAP and not unit.thin):
        raise InvalidField(pointer=1, bit=4 if flags & _ANCHOR else 3)
    check_range(unit, lba, count)
    if lba >= unit.blocks:
        raise OutOfRange(information=lba)
    count = count or unit.blocks - lba  # SBC-3 5.40: zero is up to the end
    if count > MAX_WRITE_SAME_BLOCKS:
        raise InvalidField(pointer=0)
    wanted = 0 if flags & _NDOB else unit.block_size
    if len(data) != wanted:
        raise InvalidDataOut()
    offset, length = lba << unit.shift, count << unit.shift
    zero = not any(data)
    operation = (Operation.UNMAP if flags & _UNMAP else Operation.ZERO) if zero else Operation.WRITE
    pattern = b"" if zero else bytes(data) * (min(length, _CHUNK) // unit.block_size)

    def work() -> Response:
        if operation is Operation.UNMAP:
            unit.store.unmap(offset, length)
        elif operation is Operation.ZERO:
            unit.store.write_zeroes(offset, length)
        else:
            _repeat(unit, pattern, offset, length)
        return Response(0, wanted=wanted)

    return change(unit, operation, offset, length, work, long=not zero and length > INLINE_WRITE_SAME_BYTES)


def _repeat(unit: LogicalUnit, pattern: bytes, offset: int, length: int) -> None:
    for start in range(0, length, len(pattern)):
        part = pattern if length - start >= len(pattern) else pattern[: length - start]
        unit.store.write(offset + start, part)


def write_same10(unit: LogicalUnit, command: Command) -> Outcome:
    """WRITE SAME(10), SBC-3 5.39.

    With UNMAP it unmaps whatever the block holds, as Linux's target and tgt do: initiators and libiscsi's suite send garbage along, and
    expect zeroes afterwards. WRITE SAME(16) takes the standard's word, and writes data that an unmapped block would not read as.
    """
    flags, lba, count = RW10.unpack_from(command.cdb)
    data = command.data
    if flags & _UNMAP and len(data) == unit.block_size:
        data = bytes(unit.block_size)
    return _write_same(unit, data, flags & ~_NDOB, lba, count)


def write_same16(unit: LogicalUnit, command: Command) -> Outcome:
    """WRITE SAME(16), SBC-3 5.40."""
    return _write_same(unit, command.data, *RW16.unpack_from(command.cdb))


def get_lba_status(unit: LogicalUnit, command: Command) -> Outcome:
    """GET LBA STATUS, SBC-3 5.6: runs of blocks that are mapped or not, as many as there is room for."""
    cdb = command.cdb
    lba = int.from_bytes(cdb[2:10], "big")
    allocation = int.from_bytes(cdb[10:14], "big")
    if lba >= unit.blocks:
        raise OutOfRange(information=lba)
    room = max(1, (allocation - 8) // 16)

    def work() -> Response:
        body = b"".join(
            _STATUS_DESCRIPTOR.pack(start, count, 0 if mapped else _DEALLOCATED)
            for start, count, mapped in _runs(unit, lba, room)
        )
        return Response(0, cut((len(body) + 4).to_bytes(4, "big") + bytes(4) + body, allocation))

    return unit.perform(Operation.READ, lba << unit.shift, unit.block_size, work)


def _runs(unit: LogicalUnit, lba: int, room: int) -> list[tuple[int, int, bool]]:
    """At most `room` runs (LBA, blocks, mapped) from `lba` on; a block with any data in it is mapped."""
    runs: list[tuple[int, int, bool]] = []
    end = unit.blocks
    for extent in unit.store.extents(lba << unit.shift, (end - lba) << unit.shift):
        last = extent.offset + extent.length
        if extent.is_data:  # rounded outwards
            last += -last % unit.block_size
        stop = last >> unit.shift
        count = min(stop - lba, 0xFFFFFFFF)
        if count <= 0:
            continue
        if runs and runs[-1][2] == extent.is_data and runs[-1][1] + count <= 0xFFFFFFFF:
            runs[-1] = (runs[-1][0], runs[-1][1] + count, extent.is_data)
        elif len(runs) == room:
            break
        else:
            runs.append((lba, count, extent.is_data))
        lba += count
    return runs


COMMANDS = (
    CommandSpec(opcode=0x42, name="UNMAP", usage="42010000000000ffff07", handler=unmap, access=Access.WRITE, thin=True),
    CommandSpec(
        opcode=0x41, name="WRITE SAME(10)", usage="41f8ffffffff1fffff07", handler=write_same10, access=Access.WRITE
    ),
    CommandSpec(
        opcode=0x93,
        name="WRITE SAME(16)",
        usage="93fbffffffffffffffffffffffff1f07",
        handler=write_same16,
        access=Access.WRITE,
    ),
    CommandSpec(
        opcode=0x9E,
        action=0x12,
        name="GET LBA STATUS",
        usage="9e1fffffffffffffffffffffffff0007",
        handler=get_lba_status,
        access=Access.ALWAYS,
    ),
)
