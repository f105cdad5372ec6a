"""The fast lane and the general engine, given the same streams, answer with the same bytes and leave the same blocks."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labemu_iscsi import limits
from labemu_iscsi.connection import TargetConnection
from labemu_iscsi.events import LoggedIn
from labemu_iscsi.framing import digest
from labemu_iscsi.negotiation import format_text
from labemu_iscsi.node import Node
from labemu_iscsi.pdu import LoginRequest, NopOut
from labemu_iscsi.service import Service
from labemu_iscsi.session import Target
from labemu_scsi.command import Deferred, Response
from labemu_scsi.nexus import CAPACITY_CHANGED
from labemu_scsi.unit import LogicalUnit
from labemu_store.block import FileBlockStore, MemoryBlockStore
from labemu_store.block.filters import DelayFilter, ErrorFilter, ReadonlyFilter, Stack
from labemu_store.block.snapshots import SnapshotTree

TARGET = "iqn.2026-11.lab:t1"
SIZE = 1 << 20
BLOCK = 512
READ, WRITE = 0xC1, 0xA1
DIGESTS = {"HeaderDigest": "CRC32C", "DataDigest": "CRC32C"}


@dataclass
class Side:
    """A target with one disk, and a connection that has logged in."""

    fast: bool
    keys: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        node = Node(entropy=bytes)
        self.store = MemoryBlockStore(SIZE)
        self.store.write(0, b"".join(block.to_bytes(2, "big") * (BLOCK // 2) for block in range(SIZE // BLOCK)))
        self.unit = LogicalUnit(self.store, serial="unit0")
        target = Target(name=TARGET)
        target.device.add_unit(0, self.unit)
        node.targets[TARGET] = target
        self.connection = TargetConnection(node, fast=self.fast)
        self.service = Service(self.connection, _at_once, lambda: None)
        self.events = 0
        pairs = [("InitiatorName", "iqn.2026-11.lab:i"), ("TargetName", TARGET), *self.keys.items()]
        login = LoginRequest(immediate=True, flags=0x87, lun=b"\x80\0\0\0\0\x01\0\0", cmd_sn=1)
        self.feed([login.encode(format_text(pairs))])
        assert self.connection.session is not None, self.connection.error
        assert self.connection.session.nexus is not None
        self.unit.attentions.take(self.connection.session.nexus)
        self.events = 0

    def feed(self, chunks: Sequence[bytes]) -> bytes:
        """Receive the chunks as a driver does; all that is answered."""
        out = bytearray()
        for chunk in chunks:
            view = memoryview(chunk)
            while view and not self.connection.closed:
                room = self.connection.receive_buffer()
                count = min(len(room), len(view))
                room[:count] = view[:count]
                view = view[count:]
                events = self.connection.received(count, 0.0)
                while True:
                    for event in events:
                        self.events += not isinstance(event, LoggedIn)
                        self.service.handle(event)
                    out += b"".join(map(bytes, self.connection.data_to_send()))
                    if not self.connection.more:
                        break
                    events = self.connection.proceed()
        return bytes(out)

    def contents(self) -> bytes:
        return bytes(self.store.read(0, self.store.size))


def _at_once(deferred: Deferred, work: Callable[[], Response], done: Callable[[Response], None]) -> None:
    done(work())


def pdu(
    opcode: int,
    lba: int,
    count: int,
    *,
    sn: int,
    data: bytes = b"",
    flags: int | None = None,
    expected: int | None = None,
    first: int = 0x01,
    lun: int = 0,
    cdb_flags: int = 0,
    group: int = 0,
    control: int = 0,
    keys: dict[str, str] | None = None,
    ahs: bytes = b"",
) -> bytes:
    """A SCSI command with its immediate data and the digests that `keys` call for."""
    if opcode in (0x88, 0x8A):
        cdb = struct.pack(">BBQIBB", opcode, cdb_flags, lba, count, group, control)
    else:
        cdb = struct.pack(">BBIBHB6x", opcode, cdb_flags, lba, group, count, control)
    if flags is None:
        flags = WRITE if opcode in (0x2A, 0x8A) else READ
    if expected is None:
        expected = count * BLOCK
    lengths = len(data) | len(ahs) // 4 << 24
    head = struct.pack(">BBxxI8sIIII", first, flags, lengths, lun.to_bytes(2, "big") + bytes(6), sn, expected, sn, 0)
    parts = [head + cdb + ahs]
    keys = keys or {}
    if "HeaderDigest" in keys:
        parts.append(digest(parts[0]))
    if data:
        padded = data + bytes(-len(data) % 4)
        parts.append(padded)
        if "DataDigest" in keys:
            parts.append(digest(padded))
    return b"".join(parts)


def both(pdus: Sequence[bytes], *, keys: dict[str, str] | None = None, cuts: Sequence[int] = ()) -> tuple[Side, Side]:
    """Drive the general engine PDU by PDU, and the fast lane in any chunks; both must agree."""
    general, fast = Side(fast=False, keys=keys or {}), Side(fast=True, keys=keys or {})
    stream = b"".join(pdus)
    edges = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    chunks = [stream[start:end] for start, end in pairwise(edges)]
    assert fast.feed(chunks) == general.feed(pdus)
    assert fast.contents() == general.contents()
    assert fast.connection.closed == general.connection.closed
    if fast.connection.session is not None and general.connection.session is not None:
        assert fast.connection.session.exp_cmd_sn == general.connection.session.exp_cmd_sn
        assert fast.connection.session.commands == general.connection.session.commands
    return general, fast


def plain(sn: int, choice: tuple[bool, bool, int, int], keys: dict[str, str]) -> bytes:
    write, wide, lba, count = choice
    opcode = {(False, False): 0x28, (False, True): 0x88, (True, False): 0x2A, (True, True): 0x8A}[write, wide]
    data = sn.to_bytes(2, "big") * (count * BLOCK // 2) if write else b""
    return pdu(opcode, lba, count, sn=sn, data=data, keys=keys)


CHOICES = st.tuples(st.booleans(), st.booleans(), st.integers(0, 60), st.integers(1, 40))
KEYS = st.sampled_from([{}, DIGESTS, {"HeaderDigest": "CRC32C"}, {"DataDigest": "CRC32C"}])


@settings(max_examples=60, deadline=None)
@given(
    choices=st.lists(CHOICES, min_size=1, max_size=40), keys=KEYS, cuts=st.lists(st.integers(0, 1 << 20), max_size=8)
)
def test_plain_commands_in_any_chunks_are_answered_alike(
    choices: list[tuple[bool, bool, int, int]], keys: dict[str, str], cuts: list[int]
) -> None:
    keys = {"MaxRecvDataSegmentLength": "65536", **keys}
    _, fast = both([plain(sn, choice, keys) for sn, choice in enumerate(choices, 1)], keys=keys, cuts=cuts)
    assert fast.events == 0


ODD: dict[str, dict[str, Any]] = {
    "fua": {"cdb_flags": 0x08},
    "dpo": {"cdb_flags": 0x10},
    "protection": {"cdb_flags": 0x20},
    "group": {"group": 1},
    "control": {"control": 4},
    "nothing": {"count": 0},
    "out of range": {"lba": SIZE // BLOCK - 1, "count": 2},
    "underflow": {"expected": 4096},
    "overflow": {"expected": 512},
    "no lun": {"lun": 5},
    "flat lun": {"lun": 0x4000},
    "immediate": {"first": 0x41},
    "head of queue": {"flags": 0xC3},
    "untagged": {"flags": 0xC0},
    "not final": {"flags": 0x41},
    "bidirectional": {"flags": 0xE1},
    "no data wanted": {"flags": 0x81},
    "ahs": {"ahs": b"\0\x01\x01\0"},
    "unknown": {"opcode": 0xFF},
    "test unit ready": {"opcode": 0x00, "flags": 0x81, "expected": 0, "lba": 0, "count": 0},
    "write": {"opcode": 0x2A, "data": bytes(2 * BLOCK)},
    "write fua": {"opcode": 0x2A, "data": bytes(2 * BLOCK), "cdb_flags": 0x08},
    "write, less data": {"opcode": 0x2A, "data": bytes(BLOCK)},
    "write, more data": {"opcode": 0x2A, "data": bytes(3 * BLOCK)},
    "write, part immediate": {"opcode": 0x2A, "data": bytes(BLOCK), "count": 8},
    "write, half a block more": {"opcode": 0x2A, "data": bytes(2 * BLOCK + 100), "expected": 2 * BLOCK + 100},
}


@settings(max_examples=120, deadline=None)
@given(names=st.lists(st.sampled_from(sorted(ODD)) | st.just("plain"), min_size=1, max_size=12))
def test_what_is_not_plain_is_answered_by_the_general_engine(names: list[str]) -> None:
    keys = {"MaxRecvDataSegmentLength": "65536", "InitialR2T": "No"}
    sides = [Side(fast=fast, keys=keys) for fast in (False, True)]
    sn = 1
    for name in names:
        fields = {"opcode": 0x28, "lba": 3, "count": 2, **ODD.get(name, {})}
        sent = pdu(**fields, sn=sn, keys=keys)
        sn += not fields.get("first")
        answers = [side.feed([sent]) for side in sides]
        assert answers[0] == answers[1], name
    assert sides[0].contents() == sides[1].contents()
    assert sides[0].connection.error == sides[1].connection.error


@pytest.mark.parametrize(
    "keys", [{"ImmediateData": "No"}, {"FirstBurstLength": "512"}, {"MaxRecvDataSegmentLength": "512"}]
)
def test_negotiated_limits_hold(keys: dict[str, str]) -> None:
    both([pdu(0x28, 0, 4, sn=1, keys=keys)], keys=keys)
    both([pdu(0x2A, 0, 4, sn=1, keys=keys, data=bytes(4 * BLOCK))], keys=keys)


@pytest.mark.parametrize("at", [20, 49, 60, -1], ids=["header", "header digest", "data", "data digest"])
def test_a_damaged_pdu_amid_plain_ones_is_rejected_alike(at: int) -> None:
    pdus = [pdu(0x2A, sn, 1, sn=sn, data=bytes(BLOCK), keys=DIGESTS) for sn in range(1, 4)]
    damaged = bytearray(pdus[1])
    damaged[at] ^= 1
    stream = [pdus[0], bytes(damaged), pdus[2]]
    one_by_one, whole = (Side(fast=False, keys=DIGESTS).feed(chunks) for chunks in (stream, [b"".join(stream)]))
    assert Side(fast=True, keys=DIGESTS).feed(stream) == one_by_one
    # in one piece, what is before it may be answered before it, or with it
    assert Side(fast=True, keys=DIGESTS).feed([b"".join(stream)]) in (one_by_one, whole)


def test_commands_that_come_early_are_held_and_answered_in_their_turn() -> None:
    first, second, third = (pdu(0x28, sn, 1, sn=sn) for sn in (1, 2, 3))
    sides = [Side(fast=fast) for fast in (False, True)]
    answers = [b"".join(side.feed([sent]) for sent in (second, first, third)) for side in sides]
    assert answers[0] == answers[1]
    assert len(answers[0]) == 3 * (48 + BLOCK)


@pytest.mark.parametrize("count", [1, 40])
def test_a_tag_in_use_is_refused(count: int) -> None:
    sides = [Side(fast=fast) for fast in (False, True)]
    waiting = pdu(0x2A, 0, 4, sn=1)  # its data is solicited
    again = bytearray(pdu(0x28, 0, count, sn=2))
    again[16:20] = waiting[16:20]
    answers = [side.feed([waiting, bytes(again)]) for side in sides]
    assert answers[0] == answers[1]
    assert answers[0][48] == 0x3F  # a Reject follows the R2T


def test_more_than_the_buffer_holds_goes_out_in_turns() -> None:
    keys = {"MaxRecvDataSegmentLength": str(256 << 10)}
    count = (200 << 10) // BLOCK
    pdus = [pdu(0x28, sn, count, sn=sn, keys=keys) for sn in range(1, 20)]
    _, fast = both(pdus, keys=keys)
    assert fast.events == 0
    assert 19 * count * BLOCK > 4 * limits.LANE_BUFFER


LIMITS = st.fixed_dictionaries(
    {
        "MaxRecvDataSegmentLength": st.sampled_from(["512", "8192", "10000", "65536"]),
        "MaxBurstLength": st.sampled_from(["512", "12288", "100000", "262144"]),
    }
)


@settings(max_examples=60, deadline=None)
@given(
    choices=st.lists(st.tuples(st.booleans(), st.integers(0, 1600), st.integers(1, 400)), min_size=1, max_size=8),
    limits_offered=LIMITS,
    keys=KEYS,
    cuts=st.lists(st.integers(0, 1 << 10), max_size=4),
)
def test_reads_of_several_data_ins_are_answered_alike(
    choices: list[tuple[bool, int, int]], limits_offered: dict[str, str], keys: dict[str, str], cuts: list[int]
) -> None:
    keys = {**limits_offered, **keys}
    pdus = [
        pdu(0x88 if wide else 0x28, lba, count, sn=sn, keys=keys) for sn, (wide, lba, count) in enumerate(choices, 1)
    ]
    _, fast = both(pdus, keys=keys, cuts=cuts)
    assert fast.events == 0


def test_parts_that_need_padding_are_left_to_the_general_engine() -> None:
    for keys in ({"MaxRecvDataSegmentLength": "1022"}, {"MaxRecvDataSegmentLength": "512", "MaxBurstLength": "1001"}):
        _, fast = both([pdu(0x28, 0, 4, sn=1, keys=keys)], keys=keys)
        assert fast.events == 1


def test_a_read_of_more_than_the_buffer_is_left_to_the_general_engine() -> None:
    keys = {"MaxRecvDataSegmentLength": "65536"}
    count = limits.LANE_BUFFER // BLOCK
    _, fast = both([pdu(0x28, 0, count, sn=1), pdu(0x28, 0, count - 8, sn=2)], keys=keys, cuts=[48])
    assert fast.events == 1


@pytest.mark.parametrize(
    "name", ["fua", "group", "control", "out of range", "underflow", "immediate", "ahs", "no lun", "half a block"]
)
def test_a_long_read_that_is_not_plain_is_answered_alike(name: str) -> None:
    keys = {"MaxRecvDataSegmentLength": "1024"}
    changes = {
        "out of range": {"lba": SIZE // BLOCK - 1},
        "underflow": {"expected": 8192},
        "half a block": {"control": 4, "expected": 8 * BLOCK + 8},
    }.get(name, {})
    fields: dict[str, Any] = {"opcode": 0x28, "lba": 3, **ODD.get(name, {}), "count": 8, **changes}
    _, fast = both([pdu(**fields, sn=1, keys=keys)], keys=keys)
    assert fast.events == 1


def test_random_reads_and_long_runs_are_read_in_their_places() -> None:
    run = [pdu(0x28, sn, 1, sn=sn) for sn in range(1, 800)]
    scattered = [pdu(0x28, sn * 7919 % 2000, 1, sn=sn) for sn in range(800, 1000)]
    _, fast = both([*run, *scattered])
    assert fast.events == 0


def test_a_ping_amid_reads_is_answered_in_its_place() -> None:
    ping = NopOut(itt=77, cmd_sn=2).encode(b"there?")
    _, fast = both([pdu(0x28, 0, 1, sn=1), ping, pdu(0x28, 1, 1, sn=3)])
    assert fast.events == 0


def _attention(unit: LogicalUnit) -> None:
    unit.attentions.establish_for_others(None, CAPACITY_CHANGED)


def _reserve(unit: LogicalUnit) -> None:
    unit.reserved_by = object()  # type: ignore[assignment]  # somebody else
    unit.update_guard()


def _eject(unit: LogicalUnit) -> None:
    unit.load(loaded=False)


def _protect(unit: LogicalUnit) -> None:
    unit.mode.software_write_protect = True


def _write_through(unit: LogicalUnit) -> None:
    unit.mode.write_cache = False


def _shrink(unit: LogicalUnit) -> None:
    unit.resize(BLOCK)
    for nexus in list(unit.attentions.pending):
        unit.attentions.take(nexus)


def _fail(unit: LogicalUnit) -> None:
    unit.store = ErrorFilter(unit.store)
    unit.refresh()


def _delay(unit: LogicalUnit) -> None:
    unit.store = DelayFilter(unit.store, average=0.001)
    unit.refresh()


@pytest.mark.parametrize(
    "change",
    [_attention, _reserve, _eject, _protect, _write_through, _shrink, _fail, _delay],
    ids=lambda f: f.__name__[1:],
)
@pytest.mark.parametrize("opcode", [0x28, 0x2A, 0x88, 0x8A])
def test_whatever_stands_in_the_way_of_a_unit_is_respected(change: Callable[[LogicalUnit], None], opcode: int) -> None:
    answers = []
    for fast in (False, True):
        side = Side(fast=fast)
        change(side.unit)
        data = b"x" * BLOCK if opcode in (0x2A, 0x8A) else b""
        answers.append(
            [side.feed([pdu(opcode, 2, 1, sn=1, data=data)]), side.feed([pdu(opcode, 2, 1, sn=2, data=data)])]
        )
    assert answers[0] == answers[1]


@pytest.fixture
def cut_short(tmp_path: Path) -> Iterator[FileBlockStore]:
    path = tmp_path / "disk"
    store = FileBlockStore.open(path, size=SIZE)
    os.truncate(path, 16 * BLOCK)  # by somebody else
    yield store
    store.close()


def test_a_run_that_the_store_fails_in_is_answered_command_by_command(cut_short: FileBlockStore) -> None:
    side = Side(fast=True)
    side.unit.store = cut_short
    side.unit.refresh()
    answer = side.feed([b"".join(pdu(0x28, lba, 1, sn=lba - 13) for lba in range(14, 18))])
    good = 2 * (48 + BLOCK)
    assert [answer[0], answer[48 + BLOCK]] == [0x25, 0x25]
    assert answer[good] == 0x21
    assert answer[good + 3] == 0x02  # CHECK CONDITION


def test_a_filter_is_never_passed_by() -> None:
    side = Side(fast=True)
    side.unit.store = DelayFilter(side.store, average=0.0)
    side.unit.refresh()
    side.feed([pdu(0x28, 0, 1, sn=1)])
    assert side.events == 1


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[SnapshotTree]:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(SIZE))
    made = SnapshotTree(disk)
    yield made
    made.close()


def test_a_disk_with_snapshots_keeps_the_lane_and_its_snapshots(tree: SnapshotTree) -> None:
    side = Side(fast=True)
    side.unit.store = tree.live
    side.unit.refresh()
    writes = [pdu(0x2A, lba, 1, sn=sn, data=bytes((sn,)) * BLOCK) for sn, lba in enumerate(range(6, 12), 1)]
    side.feed([b"".join(writes)])
    tree.snapshot("before")
    writes = [pdu(0x2A, lba, 1, sn=sn, data=bytes((sn,)) * BLOCK) for sn, lba in enumerate(range(7, 10), 7)]
    side.feed([b"".join(writes)])
    answer = side.feed([pdu(0x28, 5, 8, sn=10)])
    assert [part[0] for part in batched(answer[48:], BLOCK)] == [0, 1, 7, 8, 9, 5, 6, 0]
    assert bytes(tree.open("before").read(7 * BLOCK, 3 * BLOCK)) == b"".join(bytes((n,)) * BLOCK for n in (2, 3, 4))
    assert side.events == 0
    tree.revert("before")
    assert side.feed([pdu(0x28, 7, 1, sn=11)])[48] == 2
    assert side.events == 0


def batched(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def test_a_stack_has_the_lane_while_it_has_no_filter() -> None:
    side = Side(fast=True)
    stack = Stack(side.store)
    side.unit.store = stack
    side.unit.refresh()
    side.feed([pdu(0x28, 0, 1, sn=1)])
    assert side.events == 0
    stack.insert("error", ErrorFilter)  # and nobody tells the unit
    failed = side.feed([pdu(0x28, 0, 1, sn=2)])
    assert (failed[0], failed[3], side.events) == (0x21, 0x02, 1)
    side.unit.refresh()
    assert not side.unit.plain
    stack.remove("error")
    side.unit.refresh()
    assert side.feed([pdu(0x28, 1, 1, sn=3)])[:1] == b"\x25"
    assert side.events == 1


def test_what_cannot_be_written_is_read_in_the_lane() -> None:
    side = Side(fast=True)
    side.unit = LogicalUnit(ReadonlyFilter(side.store), serial="unit1")
    assert side.connection.session is not None
    assert side.connection.session.target is not None
    side.connection.session.target.device.add_unit(1, side.unit)
    side.feed([pdu(0x00, 0, 0, sn=1, lun=1, flags=0x81), pdu(0x00, 0, 0, sn=2, lun=1, flags=0x81)])
    before = side.events
    assert side.feed([pdu(0x28, 3, 1, sn=3, lun=1)])[48:] == side.store.read(3 * BLOCK, BLOCK)
    assert side.events == before
    refused = side.feed([pdu(0x2A, 3, 1, sn=4, lun=1, data=bytes(BLOCK))])
    assert (refused[0], refused[3], side.events) == (0x21, 0x02, before + 1)
