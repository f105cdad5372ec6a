"""Thin provisioning as initiators see it: thresholds, log pages, WRITE SAME(10) with UNMAP; and WRITE ATOMIC with its limits."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from labemu_scsi.command import Response, Status
from labemu_scsi.limits import MAX_ATOMIC_BYTES
from labemu_scsi.unit import LogicalUnit
from labemu_store.block import MemoryBlockStore
from labemu_store.block.objects import open_objects

from .conftest import Lab

MIB = 1 << 20
TUR = bytes(6)
GOOD = Status.GOOD
AVAILABLE, USED = 1, 2
REACHED = (6, 0x38, 0x07)


def triple(response: Response) -> tuple[int, int, int]:
    assert response.status == Status.CHECK_CONDITION
    return response.sense[2] & 0x0F, response.sense[12], response.sense[13]


def arm(lab: Lab, *, available: int | None = None, used: int | None = None, single: bool = False) -> Response:
    page = bytearray(bytes(lab.send(b"\x1a\x08\x1c\x02\xff").data)[4:])
    assert page[:4].hex() == "5c02001c"
    page[4] |= single
    for at, count in ((16, available), (24, used)):
        if count is not None:
            page[at] |= 0x80
            page[at + 4 : at + 8] = count.to_bytes(4, "big")
    response = lab.send(b"\x15\x10\0\0\x24", bytes(4) + bytes(page))
    for nexus in (1, 2):
        lab.send(TUR, nexus=nexus)  # takes MODE PARAMETERS CHANGED
    return response


def fill(lab: Lab, mebibytes: int) -> None:
    lab.unit.store.write(0, b"x" * MIB * mebibytes)


def log_page(lab: Lab, code: int, subpage: int = 0) -> bytes:
    return bytes(lab.send(struct.pack(">BBBBxxxHx", 0x4D, 0, 0x40 | code, subpage, 4096)).data)


def test_a_threshold_warns_every_nexus_once_when_used_space_rises_to_it(lab: Lab) -> None:
    assert arm(lab, used=4).status == GOOD
    fill(lab, 3)
    assert lab.send(TUR).status == GOOD
    fill(lab, 4)
    assert [triple(lab.send(TUR, nexus=nexus)) for nexus in range(3)] == [REACHED] * 3
    assert lab.send(TUR).status == GOOD
    fill(lab, 5)
    assert lab.send(TUR).status == GOOD


def test_a_threshold_strikes_again_when_the_space_came_back_in_between(lab: Lab) -> None:
    arm(lab, used=4)
    for _ in range(2):
        fill(lab, 4)
        assert triple(lab.send(TUR)) == REACHED
        lab.unit.store.unmap(0, 4 * MIB)
        assert lab.send(TUR).status == GOOD


def test_a_threshold_warns_when_available_space_falls_to_it(lab: Lab) -> None:
    arm(lab, available=60)
    fill(lab, 3)
    assert lab.send(TUR).status == GOOD
    fill(lab, 4)
    assert triple(lab.send(TUR)) == REACHED


def test_situa_warns_only_the_nexus_that_came_across_it(lab: Lab) -> None:
    arm(lab, used=1, single=True)
    fill(lab, 1)
    assert triple(lab.send(TUR, nexus=1)) == REACHED
    assert lab.send(TUR, nexus=0).status == GOOD


def test_a_unit_without_an_armed_threshold_is_not_guarded(lab: Lab) -> None:
    assert not lab.unit.guarded
    arm(lab, used=1)
    assert lab.unit.guarded
    lab.unit.reset()
    assert not lab.unit.guarded


def test_what_a_threshold_watches_cannot_be_changed(lab: Lab) -> None:
    page = bytearray(bytes(lab.send(b"\x1a\x08\x1c\x02\xff").data)[4:])
    page[17] = USED
    assert triple(lab.send(b"\x15\x10\0\0\x24", bytes(4) + bytes(page))) == (5, 0x26, 0)


def test_subpages_of_mode_sense(make: Callable[..., Lab]) -> None:
    lab, thick = make(), make(thin=False)
    both = bytes(lab.send(b"\x1a\x08\x1c\xff\xff").data)
    assert both[4:6].hex() == "1c0a"
    assert both[16:18].hex() == "5c02"
    assert len(lab.send(b"\x1a\x08\x1c\0\xff").data) == 16
    assert len(lab.send(b"\x1a\x08\x3f\xff\xff").data) == len(lab.send(b"\x1a\x08\x3f\0\xff").data) + 32
    assert triple(thick.send(b"\x1a\x08\x1c\x02\xff")) == (5, 0x24, 0)
    assert triple(lab.send(b"\x1a\x08\x1c\x03\xff")) == (5, 0x24, 0)


def test_the_log_tells_space_in_threshold_sets(lab: Lab) -> None:
    fill(lab, 3)
    assert log_page(lab, 0x0C).hex() == "0c000018" + "00010308" + "0000003d01000000" + "00020308" + "0000000301000000"
    exponent = lab.send(b"\x12\x01\xb2\0\x08").data[4]
    assert 512 << exponent == MIB


def test_the_log_s_pages_are_those_it_lists(make: Callable[..., Lab]) -> None:
    lab, thick = make(), make(thin=False)
    assert log_page(lab, 0x00) == b"\x00\0\0\x04\x00\x0c\x10\x2f"
    assert log_page(lab, 0x00, 0xFF).hex() == "40ff000a" + "0000" + "00ff" + "0c00" + "1000" + "2f00"
    assert log_page(thick, 0x00) == b"\x00\0\0\x03\x00\x10\x2f"
    assert len(log_page(lab, 0x10)) == 4 + 20 * 20
    assert log_page(lab, 0x2F).hex() == "2f000008" + "00000304" + "0000ff00"
    assert triple(thick.send(struct.pack(">BBBBxxxHx", 0x4D, 0, 0x0C, 0, 64))) == (5, 0x24, 0)


@pytest.mark.parametrize(
    "cdb", [b"\x4d\x01\x00", b"\x4d\x02\x00", b"\x4d\x00\x3e", b"\x4d\x00\x0c\x01", b"\x4d\0\0\0\0\0\x01"]
)
def test_a_log_that_is_not_there(lab: Lab, cdb: bytes) -> None:
    assert triple(lab.send(cdb)) == (5, 0x24, 0)


def test_write_same_10_with_unmap_frees_its_blocks_whatever_it_carries(make: Callable[..., Lab]) -> None:
    lab, thick = make(), make(thin=False)
    fill(lab, 1)
    cdb = struct.pack(">BBIxHx", 0x41, 0x08, 0, 2048)
    assert lab.send(b"\x12\x01\xb2\0\x08").data[5] == 0xE4
    assert lab.send(cdb, b"\xff" * 512).status == GOOD
    assert lab.unit.store.allocated() == 0
    assert triple(thick.send(cdb, bytes(512))) == (5, 0x24, 0)


def atomic(lba: int, blocks: int, *, boundary: int = 0, flags: int = 0) -> bytes:
    return struct.pack(">BBQHHxx", 0x9C, flags, lba, boundary, blocks)


def test_an_atomic_write_is_whole_or_refused(lab: Lab) -> None:
    assert lab.send(atomic(7, 2), b"x" * 1024) == Response(GOOD, wanted=1024)
    assert lab.send(atomic(9, 2, flags=0x08), b"y" * 1024) == Response(GOOD, wanted=1024)
    assert bytes(lab.unit.store.read(7 * 512, 2048)) == b"x" * 1024 + b"y" * 1024
    assert triple(lab.send(atomic(7, 2), b"z" * 512)) == (5, 0x0E, 0x03)
    assert bytes(lab.unit.store.read(7 * 512, 512)) == b"x" * 512
    assert lab.send(atomic(131072, 0)).status == GOOD


def test_the_limits_of_an_atomic_write_are_those_of_the_limits_page(lab: Lab) -> None:
    page = bytes(lab.send(b"\x12\x01\xb0\0\xff").data)
    limit, alignment, granularity, bounded, boundary = struct.unpack(">IIIII", page[44:64])
    assert (limit, alignment, granularity, bounded, boundary) == (MAX_ATOMIC_BYTES // 512, 0, 0, 0, 0)
    assert lab.send(atomic(0, limit), bytes(limit * 512)).status == GOOD
    assert triple(lab.send(atomic(0, limit + 1), bytes((limit + 1) * 512))) == (5, 0x24, 0)
    assert triple(lab.send(atomic(0, 1, boundary=8), bytes(512))) == (5, 0x24, 0)
    assert triple(lab.send(atomic(0, 1, flags=0x20), bytes(512))) == (5, 0x24, 0)
    assert triple(lab.send(atomic(131072, 1), bytes(512))) == (5, 0x21, 0)


@pytest.mark.parametrize(
    ("block_size", "physical", "exponent"), [(512, 4096, 3), (512, 512, 0), (4096, 4096, 0), (512, 65536, 7)]
)
def test_read_capacity_tells_the_physical_block(
    make: Callable[..., Lab], block_size: int, physical: int, exponent: int
) -> None:
    lab = make(block_size=block_size, physical_block_size=physical)
    assert lab.send(struct.pack(">BB8xI", 0x9E, 0x10, 32)).data[13] == exponent


@pytest.mark.parametrize(("block_size", "physical"), [(4096, 512), (512, 3000), (512, 0)])
def test_a_physical_block_that_cannot_be(block_size: int, physical: int) -> None:
    with pytest.raises(ValueError, match="physical_block_size is a power of two and no less than block_size"):
        LogicalUnit(MemoryBlockStore(MIB), serial="x", block_size=block_size, physical_block_size=physical)


@pytest.mark.parametrize("place", [0, 1, 511, 512, 131071 * 2])
def test_a_miscompare_names_its_first_byte(lab: Lab, place: int) -> None:
    data = bytearray(512 * 512)
    data[place] = 1
    response = lab.send(struct.pack(">BBIxHx", 0x2F, 0x02, 0, 512), bytes(data))
    assert triple(response) == (0xE, 0x1D, 0)
    assert int.from_bytes(response.sense[3:7], "big") == place


def test_a_disk_in_chunks_gives_space_back_by_the_chunk_and_counts_what_it_holds(make: Callable[..., Lab]) -> None:
    chunk = 64 << 10
    store = open_objects(MemoryFileSystem(), "/test-space/disk", size=64 * MIB, chunk=chunk)
    lab = make(store=store)
    page = bytes(lab.send(b"\x12\x01\xb0\0\xff").data)
    granularity, alignment = struct.unpack(">II", page[28:36])
    assert (granularity, alignment) == (chunk // 512, 0x80000000)
    store.write(0, b"x" * 2 * chunk)
    assert lab.send(b"\x35" + bytes(9)).status == GOOD
    assert arm(lab, used=2).status == GOOD
    assert lab.send(TUR).status == GOOD  # 128 KiB are not yet 2 MiB
    store.write(4 * chunk, b"x" * 28 * chunk)
    store.flush()
    assert triple(lab.send(TUR)) == REACHED
    store.unmap(4 * chunk, 28 * chunk)
    for nexus in (1, 2):
        lab.send(TUR, nexus=nexus)
    status = bytes(lab.send(struct.pack(">BBQI", 0x9E, 0x12, 0, 4096)).data)
    assert struct.unpack_from(">QIB", status, 8) == (0, 2 * chunk // 512, 0)
    unmap = struct.pack(">HH4xQI4x", 22, 16, 0, chunk // 512)
    assert lab.send(struct.pack(">B6xH", 0x42, len(unmap)), unmap).status == GOOD
    assert lab.send(b"\x35" + bytes(9)).status == GOOD
    assert store.allocated() == chunk
    MemoryFileSystem().rm("/test-space", recursive=True)
