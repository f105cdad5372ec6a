"""SANITIZE and FORMAT UNIT: what is on the medium afterwards, and what the unit says meanwhile."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable

import pytest

from labemu_scsi.command import Deferred, Response, Status
from labemu_scsi.device import encode_lun
from labemu_scsi.limits import WIPE_STEPS
from labemu_store.block import MemoryBlockStore, Operation
from labemu_store.block.filters import ErrorFilter, Rule

from .conftest import Lab, Sent

MIB = 1 << 20
TUR = bytes(6)
GOOD = Status.GOOD
OVERWRITE, BLOCK_ERASE, CRYPTO_ERASE, EXIT = 1, 2, 3, 0x1F
IMMED, AUSE = 0x80, 0x20


def triple(response: Response) -> tuple[int, int, int]:
    assert response.status == Status.CHECK_CONDITION
    return response.sense[2] & 0x0F, response.sense[12], response.sense[13]


def sanitize(action: int, data: bytes = b"", *, flags: int = 0) -> tuple[bytes, bytes]:
    return struct.pack(">BB5xHx", 0x48, flags | action, len(data)), data


def pattern(value: bytes, *, count: int = 1, invert: bool = False) -> bytes:
    return struct.pack(">BxH", (0x80 if invert else 0) | count, len(value)) + value


@pytest.mark.parametrize("value", [b"\xaa" * 512, b"abc", b"0123"])
def test_overwrite_fills_each_block_with_the_pattern(lab: Lab, value: bytes) -> None:
    assert lab.send(*sanitize(OVERWRITE, pattern(value))).status == GOOD
    block = (value * 512)[:512]
    for lba in (0, 1, 70000, 131071):
        assert bytes(lab.unit.store.read(lba * 512, 512)) == block
    assert lab.send(TUR).status == GOOD


@pytest.mark.parametrize(("count", "last"), [(1, 0x0F), (2, 0xF0), (3, 0x0F)])
def test_invert_turns_the_pattern_over_with_each_pass(make: Callable[..., Lab], count: int, last: int) -> None:
    lab = make(MIB)
    lab.send(*sanitize(OVERWRITE, pattern(b"\x0f", count=count, invert=True)))
    assert set(bytes(lab.unit.store.read(0, MIB))) == {last}


def test_block_erase_leaves_nothing_allocated_and_is_for_thin_units(make: Callable[..., Lab]) -> None:
    lab = make()
    lab.unit.store.write(5 * MIB, b"x" * MIB)
    assert lab.send(*sanitize(BLOCK_ERASE)).status == GOOD
    assert lab.unit.store.allocated() == 0
    thick = make(thin=False)
    assert triple(thick.send(*sanitize(BLOCK_ERASE))) == (5, 0x24, 0)
    one = struct.pack(">BBBBHI", 0xA3, 0x0C, 0x03, 0x48, BLOCK_ERASE, 64)
    assert (lab.send(one).data[1], thick.send(one).data[1]) == (0x03, 0x01)
    characteristics = b"\x12\x01\xb1\0\x40"
    assert (lab.send(characteristics).data[7], thick.send(characteristics).data[7]) == (0x40, 0x00)


def test_there_is_no_crypto_erase(lab: Lab) -> None:
    assert triple(lab.send(*sanitize(CRYPTO_ERASE))) == (5, 0x24, 0)


@pytest.mark.parametrize(
    ("ordered", "asc"),
    [
        (sanitize(OVERWRITE, bytes(4)), 0x24),
        (sanitize(OVERWRITE, bytes(517)), 0x24),
        (sanitize(OVERWRITE, pattern(b"a", count=0)), 0x26),
        (sanitize(OVERWRITE, pattern(b"")[:4] + b"abcd"), 0x26),
        (sanitize(BLOCK_ERASE, bytes(8)), 0x24),
        (sanitize(EXIT, bytes(8)), 0x24),
        (sanitize(BLOCK_ERASE, flags=0x40), 0x24),
    ],
)
def test_what_is_ordered_wrongly_wipes_nothing(lab: Lab, ordered: tuple[bytes, bytes], asc: int) -> None:
    lab.unit.store.write(0, b"x")
    assert triple(lab.send(*ordered))[:2] == (5, asc)
    assert bytes(lab.unit.store.read(0, 1)) == b"x"


def test_a_write_protected_unit_is_not_wiped(make: Callable[..., Lab]) -> None:
    lab = make(read_only=True)
    for ordered in (sanitize(OVERWRITE, pattern(b"x")), sanitize(BLOCK_ERASE), (b"\x04", b"")):
        assert triple(lab.send(*ordered)) == (7, 0x27, 0)


def test_immed_is_answered_first_and_the_unit_is_not_ready_until_it_is_done(lab: Lab) -> None:
    lab.unit.wipe_seconds = 64.0
    command = Sent(lab.nexuses[0], sanitize(BLOCK_ERASE, flags=IMMED)[0].ljust(16, b"\0"))
    step = lab.device.execute(encode_lun(0), command)
    assert isinstance(step, Deferred)
    assert step.early == Response(GOOD, wanted=0)
    seen = []
    while step is not None:
        assert step.delay == 64.0 / WIPE_STEPS
        assert triple(lab.send(TUR)) == (2, 0x04, 0x1B)
        assert triple(lab.send(b"\x28" + bytes(9))) == (2, 0x04, 0x1B)
        assert lab.send(b"\x12\0\0\0\x60").status == GOOD
        sense = bytes(lab.send(b"\x03\0\0\0\x12").data)
        assert (sense[2], sense[12], sense[13], sense[15]) == (2, 0x04, 0x1B, 0x80)
        seen.append(int.from_bytes(sense[16:18], "big"))
        lab.device.finish(encode_lun(0), command, step.work)
        assert step.again is not None
        step = step.again()
    assert seen == [number * 0x10000 // WIPE_STEPS for number in range(WIPE_STEPS)]
    assert lab.send(TUR).status == GOOD
    assert lab.send(b"\x03\0\0\0\x12").data[2] == 0


def test_a_reset_and_a_lost_nexus_do_not_end_it(lab: Lab) -> None:
    command = Sent(lab.nexuses[0], sanitize(BLOCK_ERASE)[0].ljust(16, b"\0"))
    step = lab.device.execute(encode_lun(0), command)
    assert isinstance(step, Deferred)
    lab.unit.reset()
    lab.device.detach(lab.nexuses[0])
    assert triple(lab.send(TUR, nexus=1)) == (6, 0x29, 0x03)
    assert triple(lab.send(TUR, nexus=1)) == (2, 0x04, 0x1B)


@pytest.fixture
def failing(make: Callable[..., Lab]) -> Lab:
    """A unit whose 30th MiB cannot be unmapped."""
    rule = Rule(operations=frozenset((Operation.UNMAP,)), start=30 * MIB, end=31 * MIB)
    return make(store=ErrorFilter(MemoryBlockStore(64 * MIB), code=errno.EIO, rule=rule))


def test_a_failure_stays_until_another_try_succeeds(failing: Lab) -> None:
    assert triple(failing.send(*sanitize(BLOCK_ERASE)))[0] == 3
    assert triple(failing.send(TUR)) == (3, 0x31, 0x03)
    assert triple(failing.send(*sanitize(EXIT))) == (5, 0x24, 0)  # without AUSE there is no way out
    assert failing.send(*sanitize(OVERWRITE, pattern(b"x"))).status == GOOD
    assert failing.send(TUR).status == GOOD


def test_a_failure_may_be_left_where_that_was_allowed(failing: Lab) -> None:
    assert triple(failing.send(*sanitize(BLOCK_ERASE, flags=AUSE)))[0] == 3
    assert failing.send(*sanitize(EXIT)).status == GOOD
    assert failing.send(TUR).status == GOOD


def test_without_a_failure_there_is_none_to_leave(lab: Lab) -> None:
    assert lab.send(*sanitize(EXIT)).status == GOOD


@pytest.mark.parametrize("thin", [True, False])
def test_format_unit_leaves_zeroes(make: Callable[..., Lab], thin: bool) -> None:
    lab = make(MIB, thin=thin)
    lab.unit.store.write(0, b"x" * MIB)
    assert lab.send(b"\x04").status == GOOD
    assert bytes(lab.unit.store.read(0, MIB)) == bytes(MIB)
    assert (lab.unit.store.allocated() == 0) is thin


def test_format_unit_with_immed_shows_its_progress(lab: Lab) -> None:
    command = Sent(lab.nexuses[0], b"\x04\x10".ljust(16, b"\0"), b"\0\x02\0\0")
    step = lab.device.execute(encode_lun(0), command)
    assert isinstance(step, Deferred)
    assert step.early == Response(GOOD, wanted=4)
    assert triple(lab.send(TUR)) == (2, 0x04, 0x04)


@pytest.mark.parametrize(
    ("cdb", "data", "expected"),
    [
        (b"\x04\x80", b"", (5, 0x24, 0)),
        (b"\x04\x10", b"\0\0", (5, 0x1A, 0)),
        (b"\x04\x10", b"\0\x08\0\0", (5, 0x26, 0)),
        (b"\x04\x30", b"\0\0\0\0\0\0\0\x08", (5, 0x26, 0)),
    ],
)
def test_format_unit_knows_no_protection_pattern_or_defects(
    lab: Lab, cdb: bytes, data: bytes, expected: tuple[int, int, int]
) -> None:
    assert triple(lab.send(cdb, data)) == expected
