"""EXTENDED COPY (LID1) and RECEIVE COPY RESULTS (SPC-4 6.4, 6.18 to 6.21): VAAI's XCOPY, between any two units of a device.

A copy runs on a thread, a chunk at a time, so that other commands come between; holes of the source stay holes. What stops a segment
is told as COPY ABORTED with the number of segments that were done, and in full by RECEIVE COPY RESULTS.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from labemu_scsi.access import Access
from labemu_scsi.cdb import CommandSpec, cut
from labemu_scsi.command import GOOD, Command, Deferred, Outcome, Response, Status
from labemu_scsi.copy_list import CopyList, Cscd, Segment, parse
from labemu_scsi.copy_log import COMPLETED, FAILED, CopyRecord
from labemu_scsi.copy_page import (
    COPY_STATUS,
    EXTENDED_COPY,
    FAILED_SEGMENT,
    LID1,
    OPERATING_PARAMETERS,
    RECEIVE_COPY_RESULTS,
    THIS_UNIT,
    operating_parameters,
)
from labemu_scsi.limits import COPY_CHUNK
from labemu_scsi.nexus import Nexus
from labemu_scsi.sense import (
    CheckCondition,
    CopyAborted,
    InvalidField,
    MediumNotPresent,
    OutOfRange,
    ParameterListLength,
    from_os_error,
)
from labemu_scsi.unit import LogicalUnit
from labemu_scsi.vpd import PAGES
from labemu_store.block import Operation

_THIRD_PARTY_FAILURE: Final = (0x0D, 0x01)
_NOT_REACHABLE: Final = (0x0D, 0x02)
_UNREACHABLE: Final = (0x08, 0x04)
_WRONG_TYPE: Final = (0x0D, 0x03)
_GRANULARITY: Final = (0x26, 0x0A)
_IDENTIFICATION_PAGE: Final = 0x83


class _Stretch(NamedTuple):
    """Bytes to move from one unit to another, or within one."""

    source: LogicalUnit
    destination: LogicalUnit
    source_offset: int
    destination_offset: int
    length: int


def extended_copy(unit: LogicalUnit, command: Command) -> Outcome:
    """EXTENDED COPY (LID1), SPC-4 6.4."""
    length = int.from_bytes(command.cdb[10:14], "big")
    if not length:
        return GOOD
    data = bytes(command.data[:length])
    if len(data) < length:
        raise ParameterListLength()
    copy = parse(data)
    nexus = command.nexus
    record = CopyRecord(hold=False)
    if copy.identifier is not None:
        record = unit.copies.begin(nexus, copy.identifier, hold=copy.hold)

    def work() -> Response:
        state = FAILED
        try:
            for segment in copy.segments:
                _segment(unit, nexus, copy, segment, record)
                record.segments += 1
            state = COMPLETED
        except CopyAborted as error:
            record.status = Status.CHECK_CONDITION
            if not record.sense:
                record.sense = error.sense()
            raise
        finally:
            if copy.identifier is not None:
                unit.copies.end(nexus, copy.identifier, record, state)
        return Response(0, wanted=length)

    return Deferred(work, _latency(unit, copy))


def _latency(unit: LogicalUnit, copy: CopyList) -> float:
    return unit.store.latency(Operation.WRITE, 0, 0) if unit.delays and copy.segments else 0.0


def _segment(unit: LogicalUnit, nexus: Nexus, copy: CopyList, segment: Segment, record: CopyRecord) -> None:
    """One of them; raises CopyAborted."""
    done = record.segments
    source = _find(unit, nexus, copy.cscds, segment.source, done)
    if segment.verify:
        return
    destination = _find(unit, nexus, copy.cscds, segment.destination, done)
    try:
        _may(source, nexus, Access.READ, done)
        _may(destination, nexus, Access.WRITE, done)
        stretch = _stretch(source, destination, segment, done)
        for moved in _move(stretch):
            record.transferred += moved
        if not destination.mode.write_cache:
            destination.store.flush()
    except CopyAborted:
        raise
    except (CheckCondition, OSError) as error:
        condition = error if isinstance(error, CheckCondition) else from_os_error(error, writing=True)
        record.sense = condition.sense()
        code = (0x00, 0x00) if isinstance(error, OutOfRange) else _THIRD_PARTY_FAILURE
        raise CopyAborted(done, code) from error


def _find(unit: LogicalUnit, nexus: Nexus, cscds: list[Cscd], index: int, done: int) -> LogicalUnit:
    """The unit that a segment's CSCD index leads to."""
    if index == THIS_UNIT:
        return unit
    if index >= len(cscds):
        raise CopyAborted(done, _UNREACHABLE)
    cscd = cscds[index]
    homes = [home for home in unit.attentions.homes if nexus in home.nexuses]
    for each in [each for home in homes for each in home.units.values() if isinstance(each, LogicalUnit)]:
        if cscd.designator in set(_designators(each, nexus)):
            if cscd.block_length not in (0, each.block_size):
                raise CopyAborted(done, _WRONG_TYPE)
            return each
    raise CopyAborted(done, _NOT_REACHABLE)


def _designators(unit: LogicalUnit, nexus: Nexus) -> Iterator[tuple[int, int, bytes]]:
    """The designators of the unit itself in its identification page: code set, type, value (SPC-4 7.8.6)."""
    page = PAGES[_IDENTIFICATION_PAGE](unit, nexus)
    at = 0
    while at < len(page):
        end = at + 4 + page[at + 3]
        if not page[at + 1] & 0x30:
            yield page[at] & 0x0F, page[at + 1] & 0x0F, page[at + 4 : end]
        at = end


def _may(unit: LogicalUnit, nexus: Nexus, access: Access, done: int) -> None:
    """A copy has no more rights than a command of its initiator's would have."""
    if unit.reserved_by not in (None, nexus) or unit.persistent.forbids(nexus, access):
        raise CopyAborted(done, _THIRD_PARTY_FAILURE)
    if not unit.loaded:
        raise MediumNotPresent()
    if access is Access.WRITE:
        unit.check_writable()


def _stretch(source: LogicalUnit, destination: LogicalUnit, segment: Segment, done: int) -> _Stretch:
    counted = destination if segment.counts_destination else source
    length = segment.blocks << counted.shift
    if length % source.block_size or length % destination.block_size:
        raise CopyAborted(done, _GRANULARITY)
    for unit, lba in ((source, segment.source_lba), (destination, segment.destination_lba)):
        if lba + (length >> unit.shift) > unit.blocks:
            raise OutOfRange(information=lba)
    return _Stretch(
        source,
        destination,
        segment.source_lba << source.shift,
        segment.destination_lba << destination.shift,
        length,
    )


def _move(stretch: _Stretch) -> Iterator[int]:
    """Copy chunk by chunk, and say how much each was; from the end backwards where the two overlap that way."""
    starts = range(0, stretch.length, COPY_CHUNK)
    ahead = 0 < stretch.destination_offset - stretch.source_offset < stretch.length
    backwards = stretch.source is stretch.destination and ahead
    for start in reversed(starts) if backwards else starts:
        size = min(COPY_CHUNK, stretch.length - start)
        with stretch.destination.atomic:
            _move_chunk(stretch, start, size)
        yield size


def _move_chunk(stretch: _Stretch, start: int, size: int) -> None:
    source, destination = stretch.source.store, stretch.destination.store
    offset, target = stretch.source_offset + start, stretch.destination_offset + start
    if any(extent.is_data for extent in source.extents(offset, size)):
        destination.write(target, source.read(offset, size))
    elif stretch.destination.thin:
        destination.unmap(target, size)
    else:
        destination.write_zeroes(target, size)


def copy_status(unit: LogicalUnit, command: Command) -> Outcome:
    """RECEIVE COPY RESULTS, COPY STATUS (SPC-4 6.18): how far it is; an outcome is told once."""
    record = _record(unit, command)
    kibibytes = min(record.transferred >> 10, 0xFFFFFFFF)
    body = bytes((record.state,)) + record.segments.to_bytes(2, "big") + b"\x01" + kibibytes.to_bytes(4, "big")
    if record.state == COMPLETED:
        unit.copies.drop(command.nexus, command.cdb[2])
    return _answer(command, (8).to_bytes(4, "big") + body)


def failed_segment(unit: LogicalUnit, command: Command) -> Outcome:
    """RECEIVE COPY RESULTS, FAILED SEGMENT DETAILS (SPC-4 6.21): why a copy failed; told once."""
    record = _record(unit, command)
    if record.state != FAILED:
        return _answer(command, bytes(4))
    body = bytes(52) + bytes((record.status, 0)) + len(record.sense).to_bytes(2, "big") + record.sense
    unit.copies.drop(command.nexus, command.cdb[2])
    return _answer(command, len(body).to_bytes(4, "big") + body)


def copy_parameters(unit: LogicalUnit, command: Command) -> Outcome:
    """RECEIVE COPY RESULTS, OPERATING PARAMETERS (SPC-4 6.20)."""
    return _answer(command, operating_parameters())


def _record(unit: LogicalUnit, command: Command) -> CopyRecord:
    record = unit.copies.find(command.nexus, command.cdb[2])
    if record is None:  # SPC-4 6.18: no such list identifier
        raise InvalidField(pointer=2)
    return record


def _answer(command: Command, data: bytes) -> Response:
    return Response(0, cut(data, int.from_bytes(command.cdb[10:14], "big")))


_RESULTS_USAGE: Final = "841fff00000000000000ffffffff0007"

COMMANDS = (
    CommandSpec(
        opcode=EXTENDED_COPY,
        action=LID1,
        name="EXTENDED COPY(LID1)",
        usage="831f0000000000000000ffffffff0007",
        handler=extended_copy,
        access=Access.WRITE,
    ),
    CommandSpec(
        opcode=RECEIVE_COPY_RESULTS,
        action=COPY_STATUS,
        name="RECEIVE COPY STATUS(LID1)",
        usage=_RESULTS_USAGE,
        handler=copy_status,
        access=Access.ALWAYS,
        medium=False,
    ),
    CommandSpec(
        opcode=RECEIVE_COPY_RESULTS,
        action=OPERATING_PARAMETERS,
        name="RECEIVE COPY OPERATING PARAMETERS",
        usage=_RESULTS_USAGE,
        handler=copy_parameters,
        access=Access.ALWAYS,
        medium=False,
    ),
    CommandSpec(
        opcode=RECEIVE_COPY_RESULTS,
        action=FAILED_SEGMENT,
        name="RECEIVE COPY FAILURE DETAILS(LID1)",
        usage=_RESULTS_USAGE,
        handler=failed_segment,
        access=Access.ALWAYS,
        medium=False,
    ),
)
