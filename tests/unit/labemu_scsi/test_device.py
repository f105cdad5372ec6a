"""The device server's promises, command by command. The breadth is libiscsi's suite's; here is what it does not ask."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from typing import Any

import pytest

from labemu_scsi.command import Response, Status
from labemu_scsi.report import ROWS
from labemu_store.block import MemoryBlockStore, Operation
from labemu_store.block.filters import ErrorFilter, Rule, StatsFilter

MIB = 1 << 20
TUR = bytes(6)
GOOD, CHECK, CONFLICT = Status.GOOD, Status.CHECK_CONDITION, Status.RESERVATION_CONFLICT


def triple(response: Response) -> tuple[int, int, int]:
    assert response.status == CHECK
    return response.sense[2] & 0x0F, response.sense[12], response.sense[13]


def rw16(opcode: int, lba: int, blocks: int, flags: int = 0) -> bytes:
    return struct.pack(">BBQIxx", opcode, flags, lba, blocks)


def test_every_row_of_the_table_says_its_own_opcode_and_a_length_of_its_group() -> None:
    lengths = {0: 6, 1: 10, 2: 10, 4: 16, 5: 12}
    for row in ROWS:
        assert row.usage_map[0] == row.opcode, row.name
        assert len(row.usage_map) == lengths[row.opcode >> 5], row.name


def test_an_unknown_opcode_and_service_action(lab: Any) -> None:
    assert triple(lab.send(b"\xff")) == (5, 0x20, 0)
    assert triple(lab.send(b"\x9e\x1e")) == (5, 0x24, 0)


def test_a_unit_that_is_not_there(lab: Any) -> None:
    assert lab.send(b"\x12\0\0\0\x60", lun=5).data[0] == 0x7F
    assert triple(lab.send(TUR, lun=5)) == (5, 0x25, 0)


def test_report_luns_lists_what_is_there_and_a_new_unit_is_announced(lab: Any, make: Callable[..., Any]) -> None:
    lab.device.add_unit(300, make().unit)
    assert triple(lab.send(TUR)) == (6, 0x3F, 0x0E)
    assert (
        bytes(lab.send(struct.pack(">B5xI", 0xA0, 256)).data).hex()
        == "0000001000000000" + "00" * 8 + "412c000000000000"
    )
    lab.device.remove_unit(300)
    lab.send(struct.pack(">B5xI", 0xA0, 256))
    assert lab.send(TUR).status == GOOD  # listing them told it


@pytest.mark.parametrize("block_size", [512, 4096])
def test_capacity_of_both_kinds(make: Callable[..., Any], block_size: int) -> None:
    lab = make(block_size=block_size)
    last = 64 * MIB // block_size - 1
    assert struct.unpack(">II", lab.send(b"\x25").data) == (last, block_size)
    sixteen = lab.send(struct.pack(">BB8xI", 0x9E, 0x10, 32)).data
    assert struct.unpack(">QI", sixteen[:12]) == (last, block_size)


def test_a_resize_is_told_and_shows(lab: Any) -> None:
    lab.unit.resize(128 * MIB)
    assert triple(lab.send(TUR)) == (6, 0x2A, 0x09)
    assert struct.unpack(">II", lab.send(b"\x25").data)[0] == 128 * MIB // 512 - 1


@pytest.mark.parametrize("block_size", [512, 4096])
def test_what_write_stored_read_gives_back(make: Callable[..., Any], block_size: int) -> None:
    lab = make(block_size=block_size)
    data = bytes(range(256)) * (3 * block_size // 256)
    assert lab.send(rw16(0x8A, 9, 3), data) == Response(GOOD, wanted=len(data))
    assert bytes(lab.send(rw16(0x88, 9, 3)).data) == data


def test_beyond_the_end_names_the_block(lab: Any) -> None:
    response = lab.send(rw16(0x88, 131071, 2))
    assert triple(response) == (5, 0x21, 0)
    assert int.from_bytes(response.sense[3:7], "big") == 131071


def test_fua_is_not_answered_before_the_flush(make: Callable[..., Any]) -> None:
    store = StatsFilter(MemoryBlockStore(MIB))
    lab = make(store=store)
    lab.send(rw16(0x8A, 0, 1), bytes(512))
    assert store.counters()[Operation.FLUSH].operations == 0
    lab.send(rw16(0x8A, 0, 1, flags=0x08), bytes(512))
    assert store.counters()[Operation.FLUSH].operations == 1


def test_without_a_write_cache_every_write_is_flushed(make: Callable[..., Any]) -> None:
    store = StatsFilter(MemoryBlockStore(MIB))
    lab = make(store=store)
    caching = bytes(4) + b"\x08\x12" + bytes(18)
    assert lab.send(b"\x15\x10\0\0" + bytes((len(caching),)), caching).status == GOOD
    assert store.counters()[Operation.FLUSH].operations == 1  # what was cached until then
    lab.send(rw16(0x8A, 0, 1), bytes(512))
    assert store.counters()[Operation.FLUSH].operations == 2
    assert triple(lab.send(TUR, nexus=1)) == (6, 0x2A, 0x01)


def test_a_flush_that_fails_is_not_a_success(make: Callable[..., Any]) -> None:
    lab = make(store=ErrorFilter(MemoryBlockStore(MIB), rule=Rule(operations=frozenset((Operation.FLUSH,)))))
    assert triple(lab.send(b"\x35")) == (3, 0x0C, 0)


@pytest.mark.parametrize(
    ("code", "cdb", "expected"),
    [
        (errno.EIO, rw16(0x88, 0, 1), (3, 0x11, 0)),
        (errno.EIO, rw16(0x8A, 0, 1), (3, 0x0C, 0)),
        (errno.ENOSPC, rw16(0x8A, 0, 1), (7, 0x27, 7)),
        (errno.EROFS, rw16(0x8A, 0, 1), (7, 0x27, 0)),
        (errno.ETIMEDOUT, rw16(0x88, 0, 1), (2, 0x04, 1)),
        (errno.EBUSY, rw16(0x8A, 0, 1), (2, 0x04, 1)),
        (errno.EACCES, rw16(0x88, 0, 1), (4, 0x44, 0)),
        (errno.EACCES, rw16(0x8A, 0, 1), (4, 0x44, 0)),
    ],
)
def test_the_medium_s_errors_have_their_sense(
    make: Callable[..., Any], code: int, cdb: bytes, expected: tuple[int, int, int]
) -> None:
    lab = make(store=ErrorFilter(MemoryBlockStore(MIB), code=code))
    assert triple(lab.send(cdb, bytes(512))) == expected


def test_compare_and_write_changes_nothing_when_it_differs_and_says_where(lab: Any) -> None:
    lab.send(rw16(0x8A, 0, 1), b"a" * 512)
    cdb = struct.pack(">BxQ3xBxx", 0x89, 0, 1)
    response = lab.send(cdb, b"a" * 100 + b"b" * 412 + b"c" * 512)
    assert triple(response) == (0xE, 0x1D, 0)
    assert int.from_bytes(response.sense[3:7], "big") == 100
    assert bytes(lab.send(rw16(0x88, 0, 1)).data) == b"a" * 512
    assert lab.send(cdb, b"a" * 512 + b"c" * 512).status == GOOD
    assert bytes(lab.send(rw16(0x88, 0, 1)).data) == b"c" * 512


def test_unmap_and_lba_status(lab: Any) -> None:
    lab.send(rw16(0x8A, 0, 64), b"x" * 64 * 512)
    runs = struct.pack(">HH4xQI4x", 22, 16, 16, 16)
    assert lab.send(struct.pack(">B6xH", 0x42, len(runs)), runs).status == GOOD
    data = bytes(lab.send(struct.pack(">BBQI", 0x9E, 0x12, 0, 4096)).data)
    found = [struct.unpack_from(">QIB", data, 8 + 16 * index) for index in range((len(data) - 8) // 16)]
    assert found == [(0, 16, 0), (16, 16, 1), (32, 32, 0), (64, 131072 - 64, 1)]


def test_an_unmap_with_one_bad_run_does_nothing(lab: Any) -> None:
    lab.send(rw16(0x8A, 0, 8), b"x" * 4096)
    runs = struct.pack(">HH4xQI4xQI4x", 38, 32, 0, 8, 131072, 1)
    assert triple(lab.send(struct.pack(">B6xH", 0x42, len(runs)), runs)) == (5, 0x21, 0)
    assert bytes(lab.send(rw16(0x88, 0, 8)).data) == b"x" * 4096


def test_write_same_repeats_its_block_and_unmaps_zeroes(lab: Any) -> None:
    assert lab.send(rw16(0x93, 8, 16), b"p" * 512).status == GOOD
    assert bytes(lab.send(rw16(0x88, 7, 18)).data) == bytes(512) + b"p" * 16 * 512 + bytes(512)
    assert lab.send(rw16(0x93, 8, 16, flags=0x08), bytes(512)).status == GOOD
    assert lab.store.allocated() == 0
    lab.send(rw16(0x93, 8, 16), b"p" * 512)
    assert lab.send(rw16(0x93, 8, 16, flags=0x01)).status == GOOD  # NDOB
    assert bytes(lab.send(rw16(0x88, 8, 16)).data) == bytes(16 * 512)


def test_a_write_protected_unit_says_so(make: Callable[..., Any]) -> None:
    lab = make(read_only=True)
    assert triple(lab.send(rw16(0x8A, 0, 1), bytes(512))) == (7, 0x27, 0)
    assert lab.send(b"\x1a\x08\x3f\0\xff").data[2] & 0x80
    assert lab.send(rw16(0x88, 0, 1)).status == GOOD


def test_descriptor_sense_when_the_control_page_asks_for_it(lab: Any) -> None:
    page = bytearray(bytes(lab.send(b"\x1a\x08\x0a\0\xff").data)[4:])
    page[2] |= 0x04
    assert lab.send(b"\x15\x10\0\0\x10", bytes(4) + bytes(page)).status == GOOD
    assert lab.send(b"\xff").sense[:4].hex() == "72052000"


def test_a_page_that_cannot_be_changed_is_refused_whole(lab: Any) -> None:
    caching = b"\x08\x12" + bytes(18)
    recovery = b"\x01\x0a" + b"\xff" * 10
    data = bytes(4) + caching + recovery
    assert triple(lab.send(b"\x15\x10\0\0" + bytes((len(data),)), data)) == (5, 0x26, 0)
    assert lab.unit.mode.write_cache


def test_identifiers_stay_the_same_over_a_restart(make: Callable[..., Any]) -> None:
    one, two = make(), make()
    page = b"\x12\x01\x83\0\xff"
    assert one.send(page).data == two.send(page).data
    assert one.unit.naa[0] >> 4 == 3


def _out(action: int, key: int, action_key: int, kind: int = 0) -> tuple[bytes, bytes]:
    return struct.pack(">BBBxxI", 0x5F, action, kind, 24), struct.pack(">QQ8x", key, action_key)


@pytest.mark.parametrize(
    ("kind", "other_reads", "other_writes", "registrant_writes"),
    [
        (1, True, False, False),
        (3, False, False, False),
        (5, True, False, True),
        (6, False, False, True),
        (7, True, False, True),
        (8, False, False, True),
    ],
)
def test_each_type_of_persistent_reservation(
    lab: Any, kind: int, other_reads: bool, other_writes: bool, registrant_writes: bool
) -> None:
    lab.send(*_out(0, 0, 0xA), nexus=0)
    lab.send(*_out(0, 0, 0xB), nexus=1)
    assert lab.send(*_out(1, 0xA, 0, kind), nexus=0).status == GOOD
    write, read = rw16(0x8A, 0, 1), rw16(0x88, 0, 1)
    assert lab.send(write, bytes(512), nexus=0).status == GOOD
    assert (lab.send(write, bytes(512), nexus=1).status == GOOD) is registrant_writes
    assert (lab.send(read, nexus=2).status == GOOD) is other_reads
    assert (lab.send(write, bytes(512), nexus=2).status == GOOD) is other_writes
    assert lab.send(TUR, nexus=2).status == GOOD


def test_a_persistent_reservation_outlives_its_session(lab: Any) -> None:
    lab.send(*_out(0, 0, 0xA), nexus=0)
    lab.send(*_out(1, 0xA, 0, 1), nexus=0)
    lab.device.detach(lab.nexuses[0])
    assert lab.send(rw16(0x8A, 0, 1), bytes(512), nexus=1).status == CONFLICT
    lab.device.attach(lab.nexuses[0])
    lab.send(TUR, nexus=0)
    assert lab.send(rw16(0x8A, 0, 1), bytes(512), nexus=0).status == GOOD


def test_preempt_takes_the_reservation_and_tells_the_loser(lab: Any) -> None:
    lab.send(*_out(0, 0, 0xA), nexus=0)
    lab.send(*_out(0, 0, 0xB), nexus=1)
    lab.send(*_out(1, 0xA, 0, 1), nexus=0)
    assert lab.send(*_out(4, 0xB, 0xA, 1), nexus=1).status == GOOD
    assert triple(lab.send(TUR, nexus=0)) == (6, 0x2A, 0x05)
    assert lab.send(rw16(0x8A, 0, 1), bytes(512), nexus=0).status == CONFLICT
    keys = lab.send(struct.pack(">BB5xH", 0x5E, 0, 256)).data
    assert bytes(keys[8:]) == (0xB).to_bytes(8, "big")


def test_reserve6_excludes_others_until_the_nexus_is_lost(lab: Any) -> None:
    assert lab.send(b"\x16", nexus=0).status == GOOD
    assert lab.send(TUR, nexus=1).status == CONFLICT
    assert lab.send(b"\x12\0\0\0\x60", nexus=1).status == GOOD
    lab.device.detach(lab.nexuses[0])
    assert lab.send(TUR, nexus=1).status == GOOD


def test_one_nexus_s_attention_is_not_another_s(lab: Any) -> None:
    lab.unit.reset()
    assert triple(lab.send(TUR, nexus=0)) == (6, 0x29, 0x03)
    assert lab.send(TUR, nexus=0).status == GOOD
    assert triple(lab.send(TUR, nexus=1)) == (6, 0x29, 0x03)


def test_inquiry_leaves_an_attention_standing_and_request_sense_takes_it(lab: Any) -> None:
    lab.unit.reset()
    assert lab.send(b"\x12\0\0\0\x60").status == GOOD
    assert lab.send(b"\x03\0\0\0\x12").data[2] & 0x0F == 6
    assert lab.send(TUR).status == GOOD
