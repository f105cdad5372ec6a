"""EXTENDED COPY and RECEIVE COPY RESULTS: what is copied, what is refused, and how that is told."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from typing import Any

import pytest

from labemu_scsi.command import Deferred, Response, Status
from labemu_scsi.device import encode_lun
from labemu_scsi.limits import MAX_COPY_CSCDS, MAX_COPY_SEGMENTS
from labemu_scsi.unit import LogicalUnit
from labemu_store.block import MemoryBlockStore
from labemu_store.block.filters import ErrorFilter

from .conftest import Lab, Sent

MIB = 1 << 20
GOOD = Status.GOOD


def triple(response: Response) -> tuple[int, int, int]:
    assert response.status == Status.CHECK_CONDITION
    return response.sense[2] & 0x0F, response.sense[12], response.sense[13]


def cscd(unit: LogicalUnit, *, kind: int = 0xE4, flags: int = 0, block_length: int | None = None) -> bytes:
    length = unit.block_size if block_length is None else block_length
    head = struct.pack(">BBHBBBB", kind, flags, 0, 1, 3, 0, len(unit.naa))
    return head + unit.naa.ljust(20, b"\0") + length.to_bytes(4, "big")


def segment(source: int, target: int, blocks: int, source_lba: int, target_lba: int, *, flags: int = 0) -> bytes:
    return struct.pack(">BBHHHxxHQQ", 2, flags, 24, source, target, blocks, source_lba, target_lba)


def verify(source: int) -> bytes:
    return struct.pack(">BBHHHBxxx", 7, 0, 8, source, 0, 1)


def order(cscds: list[bytes], segments: list[bytes], *, identifier: int = 1, usage: int = 0) -> tuple[bytes, bytes]:
    ends, body = b"".join(cscds), b"".join(segments)
    data = struct.pack(">BBH4xII", identifier, usage << 3, len(ends), len(body), 0) + ends + body
    return struct.pack(">BB8xIxx", 0x83, 0, len(data)), data


def results(action: int, identifier: int = 1, allocation: int = 256) -> bytes:
    return struct.pack(">BBB7xIxx", 0x84, action, identifier, allocation)


@pytest.fixture
def pair(make: Callable[..., Lab]) -> Lab:
    """A device with a second unit, of 4096-byte blocks, at LUN 1."""
    lab = make()
    other = LogicalUnit(MemoryBlockStore(64 * MIB), serial="serial-2", block_size=4096)
    lab.device.add_unit(1, other)
    for nexus in range(3):
        for lun in range(2):
            while lab.send(bytes(6), nexus=nexus, lun=lun).status != GOOD:
                pass
    return lab


def other(lab: Lab) -> LogicalUnit:
    return lab.device.units[1]


def test_blocks_go_from_one_unit_to_another_of_a_different_block_size(pair: Lab) -> None:
    data = bytes(range(256)) * 16 * 3
    pair.unit.store.write(8 * 512, data)
    ends = [cscd(pair.unit), cscd(other(pair))]
    assert pair.send(*order(ends, [segment(0, 1, 24, 8, 5)])) == Response(GOOD, wanted=16 + 64 + 28)
    assert bytes(other(pair).store.read(5 * 4096, len(data))) == data


def test_the_destination_counts_the_blocks_when_the_segment_says_so(pair: Lab) -> None:
    pair.unit.store.write(0, b"x" * 8192)
    ends = [cscd(pair.unit), cscd(other(pair))]
    assert pair.send(*order(ends, [segment(0, 1, 2, 0, 0, flags=0x02)])).status == GOOD
    assert bytes(other(pair).store.read(0, 8193)) == b"x" * 8192 + b"\0"


@pytest.mark.parametrize(("source", "target"), [(0, 1), (1, 0), (0, 4000), (5000, 3)])
def test_overlapping_ranges_of_one_unit_arrive_whole(lab: Lab, source: int, target: int) -> None:
    blocks = 6 * MIB // 512
    data = b"".join(struct.pack(">Q", number) * 64 for number in range(blocks))
    lab.unit.store.write(source * 512, data)
    assert lab.send(*order([cscd(lab.unit)], [segment(0, 0, blocks, source, target)])).status == GOOD
    assert bytes(lab.unit.store.read(target * 512, len(data))) == data


def test_a_hole_stays_a_hole_and_reads_as_zeroes(pair: Lab) -> None:
    other(pair).store.write(0, b"x" * 2 * MIB)
    ends = [cscd(pair.unit), cscd(other(pair))]
    assert pair.send(*order(ends, [segment(0, 1, 4096, 0, 0)])).status == GOOD
    assert other(pair).store.allocated() == 0


def test_a_copy_leaves_the_event_loop(lab: Lab) -> None:
    cdb, data = order([cscd(lab.unit)], [segment(0, 0, 1, 0, 8)])
    assert isinstance(lab.device.execute(encode_lun(0), Sent(lab.nexuses[0], cdb, data)), Deferred)


@pytest.mark.parametrize(
    ("cscds", "segments", "expected"),
    [
        (MAX_COPY_CSCDS + 1, 1, (5, 0x26, 0x06)),
        (1, MAX_COPY_SEGMENTS + 1, (5, 0x26, 0x08)),
        (MAX_COPY_CSCDS + 1, MAX_COPY_SEGMENTS, (5, 0x1A, 0x00)),
    ],
)
def test_more_than_the_operating_parameters_tell_is_refused(
    lab: Lab, cscds: int, segments: int, expected: tuple[int, int, int]
) -> None:
    ordered = order([cscd(lab.unit)] * cscds, [segment(0, 0, 1, 0, 8)] * segments)
    assert triple(lab.send(*ordered)) == expected


def test_faults_of_the_list_are_told_before_anything_is_copied(lab: Lab) -> None:
    lab.unit.store.write(0, b"x" * 512)
    good, end = segment(0, 0, 1, 0, 8), cscd(lab.unit)
    for ends, segments, options, expected in (
        ([cscd(lab.unit, kind=0xE0)], [good], {}, (5, 0x26, 0x07)),
        ([cscd(lab.unit, flags=0x05)], [good], {}, (5, 0x26, 0x00)),
        ([end], [good, b"\x03" + good[1:]], {}, (5, 0x26, 0x09)),
        ([end], [good, good[:20]], {}, (5, 0x1A, 0x00)),
        ([end], [good], {"usage": 1}, (5, 0x26, 0x00)),
        ([end], [good], {"usage": 3}, (5, 0x26, 0x00)),
    ):
        assert triple(lab.send(*order(ends, segments, **options))) == expected
    assert bytes(lab.unit.store.read(8 * 512, 512)) == bytes(512)
    assert triple(lab.send(results(0x00))) == (5, 0x24, 0)


def test_inline_data_is_refused(lab: Lab) -> None:
    cdb, data = order([], [])
    assert triple(lab.send(cdb, data[:12] + b"\0\0\0\x01")) == (5, 0x26, 0x0B)


def test_nothing_to_copy_is_no_error(lab: Lab) -> None:
    assert lab.send(struct.pack(">BB14x", 0x83, 0)).status == GOOD


@pytest.mark.parametrize(
    ("ends", "segments", "code"),
    [
        (lambda lab: [cscd(lab.unit)], [segment(0, 1, 1, 0, 8)], (0x08, 0x04)),
        (lambda lab: [cscd(lab.unit, flags=0x20)], [segment(0, 0, 1, 0, 8)], (0x0D, 0x02)),
        (lambda lab: [cscd(LogicalUnit(lab.store, serial="no such"))], [verify(0)], (0x0D, 0x02)),
        (lambda lab: [cscd(lab.unit, block_length=4096)], [verify(0)], (0x0D, 0x03)),
        (lambda lab: [cscd(lab.unit)], [segment(0, 0, 8, 0, 131070)], (0x00, 0x00)),
    ],
)
def test_a_segment_that_cannot_be_done_aborts_the_copy(
    lab: Lab, ends: Any, segments: Any, code: tuple[int, int]
) -> None:
    lab.unit.store.write(0, b"x" * 512)
    response = lab.send(*order(ends(lab), [segment(0xFFFF, 0xFFFF, 1, 0, 16), *segments]))
    assert triple(response) == (0xA, *code)
    assert int.from_bytes(response.sense[3:7], "big") == 1  # the first was done
    assert bytes(lab.unit.store.read(16 * 512, 512)) == b"x" * 512
    status = bytes(lab.send(results(0x00)).data)
    assert status.hex() == "00000008" + "02" + "0001" + "01" + "00000000"


def test_a_block_count_that_is_no_whole_number_of_the_others_blocks(pair: Lab) -> None:
    ends = [cscd(pair.unit), cscd(other(pair))]
    assert triple(pair.send(*order(ends, [segment(0, 1, 3, 0, 0)]))) == (0xA, 0x26, 0x0A)


def test_a_copy_has_no_more_rights_than_its_initiator(pair: Lab) -> None:
    ends = [cscd(pair.unit), cscd(other(pair))]
    assert pair.send(b"\x16", nexus=1, lun=1).status == GOOD  # RESERVE(6) by another
    assert triple(pair.send(*order(ends, [segment(0, 1, 8, 0, 0)]))) == (0xA, 0x0D, 0x01)
    assert triple(pair.send(*order(ends, [segment(1, 0, 1, 0, 0)]))) == (0xA, 0x0D, 0x01)
    assert pair.send(*order(ends, [segment(0, 1, 8, 0, 0)]), nexus=1).status == GOOD
    assert pair.send(b"\x16", nexus=2, lun=0).status == GOOD
    assert pair.send(*order(ends, [])).status == Status.RESERVATION_CONFLICT


def test_why_a_segment_failed_is_told_once(make: Callable[..., Lab]) -> None:
    lab = make(store=ErrorFilter(MemoryBlockStore(64 * MIB), code=errno.EIO))
    assert triple(lab.send(*order([cscd(lab.unit)], [segment(0, 0, 8, 0, 8)], identifier=9))) == (0xA, 0x0D, 0x01)
    data = bytes(lab.send(results(0x04, 9)).data)
    length = int.from_bytes(data[58:60], "big")
    assert data[56] == Status.CHECK_CONDITION
    assert (data[62] & 0x0F, data[72]) == (3, 0x0C)
    assert int.from_bytes(data[:4], "big") == 56 + length == len(data) - 4
    assert triple(lab.send(results(0x04, 9))) == (5, 0x24, 0)


def test_an_outcome_is_kept_as_the_list_identifier_asks(lab: Lab) -> None:
    for usage, kept in ((0, True), (2, False)):
        ordered = order([cscd(lab.unit)], [segment(0, 0, 4, 0, 8)], usage=usage)
        assert lab.send(*ordered).status == GOOD
        status = lab.send(results(0x00))
        assert (status.status == GOOD) is kept
        if kept:
            assert bytes(status.data).hex() == "00000008" + "01" + "0001" + "01" + "00000002"
        assert triple(lab.send(results(0x00), nexus=1)) == (5, 0x24, 0)  # another's identifiers are its own
        assert triple(lab.send(results(0x00))) == (5, 0x24, 0)  # told once


def test_a_copy_under_way_keeps_its_identifier_and_is_seen(lab: Lab) -> None:
    cdb, data = order([cscd(lab.unit)], [segment(0, 0, 4, 0, 8)], usage=2)
    command = Sent(lab.nexuses[0], cdb, data)
    running = lab.device.execute(encode_lun(0), command)
    assert isinstance(running, Deferred)
    assert triple(lab.send(cdb, data)) == (5, 0x00, 0x16)
    assert lab.send(results(0x00)).data[4] == 0x00
    assert lab.device.finish(encode_lun(0), command, running.work).status == GOOD
    assert triple(lab.send(results(0x00))) == (5, 0x24, 0)


def test_a_lost_nexus_takes_its_outcomes_along(lab: Lab) -> None:
    assert lab.send(*order([cscd(lab.unit)], [segment(0, 0, 4, 0, 8)])).status == GOOD
    lab.device.detach(lab.nexuses[0])
    lab.device.attach(lab.nexuses[0])
    lab.send(bytes(6))
    assert triple(lab.send(results(0x00))) == (5, 0x24, 0)


def test_what_inquiry_and_the_operating_parameters_say_of_copies(lab: Lab) -> None:
    assert lab.send(b"\x12\0\0\0\x60").data[5] & 0x08
    parameters = bytes(lab.send(results(0x03)).data)
    assert int.from_bytes(parameters[:4], "big") == len(parameters) - 4
    assert struct.unpack(">HH", parameters[8:12]) == (MAX_COPY_CSCDS, MAX_COPY_SEGMENTS)
    assert parameters[43:] == b"\x03\x02\x07\xe4"
    page = bytes(lab.send(b"\x12\x01\x8f\x01\x00").data)
    kinds, at = [], 4
    while at < len(page):
        kind, length = struct.unpack_from(">HH", page, at)
        assert length % 4 == 0
        kinds.append(kind)
        at += 4 + length
    assert at == len(page)
    assert kinds == [0x0001, 0x0004, 0x0008, 0x000C, 0x8001]
    assert page[8:17].hex() == "08" + "830100" + "8403000304"
