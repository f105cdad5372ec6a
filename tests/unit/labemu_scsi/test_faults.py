from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labemu_faults.action import Action, ActionKind
from labemu_faults.errors import FaultError
from labemu_faults.gate import NEVER
from labemu_faults.rule import Rule
from labemu_faults.table import FaultTable
from labemu_scsi.command import Deferred, Response, Status
from labemu_scsi.device import encode_lun
from labemu_scsi.faults import SENSES, STATUSES, UnitFaults, blocks_of, check_rule

from .conftest import Lab, Sent


def order(lab: Lab, kind: str, *, now: float = 0.0, selectors: dict[str, object] | None = None, **action: object):
    table = FaultTable()
    armed = table.add(Rule(id="1", action=Action(kind=ActionKind(kind), **action), **(selectors or {})))  # type: ignore[arg-type]
    lab.unit.set_faults(UnitFaults([armed], shift=lab.unit.shift, now=lambda: now))
    return table, armed


def read(lba: int, count: int = 1) -> bytes:
    return struct.pack(">BBIBHB", 0x28, 0, lba, 0, count, 0)


def write(lba: int, count: int = 1) -> bytes:
    return struct.pack(">BBIBHB", 0x2A, 0, lba, 0, count, 0)


def execute(lab: Lab, cdb: bytes, data: bytes = b"") -> object:
    return lab.device.execute(encode_lun(0), Sent(lab.nexuses[0], cdb.ljust(16, b"\0"), data))


def test_a_unit_without_rules_is_not_guarded_and_neither_is_one_whose_rules_went(lab: Lab) -> None:
    assert not lab.unit.guarded
    order(lab, "pause")
    assert lab.unit.guarded
    lab.unit.set_faults(None)
    assert not lab.unit.guarded


def test_a_medium_error_strikes_in_its_range_alone_and_names_the_lba(lab: Lab) -> None:
    order(lab, "sense", code=SENSES["medium"], selectors={"start": 10 * 512, "end": 12 * 512, "operations": ("read",)})
    assert lab.send(read(0, 10)).status == 0
    assert lab.send(read(12)).status == 0
    assert lab.send(write(10), bytes(512)).status == 0
    failed = lab.send(read(4, 8))
    assert failed.status == Status.CHECK_CONDITION
    assert (failed.sense[0] & 0x80, failed.sense[2], failed.sense[12:14]) == (0x80, 3, b"\x11\x00")
    assert int.from_bytes(failed.sense[3:7], "big") == 10


@pytest.mark.parametrize(("word", "code"), SENSES.items())
def test_every_sense_that_has_a_word_arrives(lab: Lab, word, code) -> None:
    order(lab, "sense", code=code)
    sense = lab.send(bytes(6)).sense
    assert (sense[2], sense[12], sense[13]) == code


@pytest.mark.parametrize(("word", "status"), STATUSES.items())
def test_every_status_that_has_a_word_arrives(lab: Lab, word, status) -> None:
    order(lab, "status", code=(status,))
    assert lab.send(read(0)).status == status


def test_latency_is_told_after_the_command_was_done(lab: Lab) -> None:
    order(lab, "latency", average=0.02)
    outcome = execute(lab, write(3), b"x" * 512)
    assert isinstance(outcome, Deferred)
    assert (outcome.delay, outcome.blocking) == (0.02, False)
    assert outcome.work() == Response(0, wanted=512)
    assert bytes(lab.store.read(3 * 512, 512)) == b"x" * 512


def test_a_rate_paces_by_the_bytes(lab: Lab) -> None:
    order(lab, "rate", rate=1024, now=5.0)
    assert [execute(lab, read(0, 2)).delay for _ in range(3)] == [1.0, 2.0, 3.0]  # type: ignore[attr-defined]


def test_silence_does_nothing_and_waits_for_ever(lab: Lab) -> None:
    order(lab, "silence", selectors={"operations": ("write",)})
    outcome = execute(lab, write(0), b"x" * 512)
    assert isinstance(outcome, Deferred)
    assert outcome.gate is NEVER
    assert not any(lab.store.read(0, 512))
    assert isinstance(execute(lab, read(0)), Response)


def test_a_pause_waits_at_the_gate_that_clearing_opens(lab: Lab) -> None:
    table, armed = order(lab, "pause")
    outcome = execute(lab, read(0))
    assert isinstance(outcome, Deferred)
    assert outcome.gate is armed.gate
    assert not armed.gate.is_open
    table.clear("1")
    assert armed.gate.is_open


def test_read_only_refuses_what_changes_the_medium_and_nothing_else(lab: Lab) -> None:
    order(lab, "readonly")
    assert lab.send(read(0)).status == 0
    assert lab.send(write(0), bytes(512)).sense[12:14] == b"\x27\x00"
    assert lab.send(b"\x93" + bytes(9) + struct.pack(">IBB", 1, 0, 0), bytes(512)).sense[12:14] == b"\x27\x00"


def test_an_initiator_is_selected_by_its_name(lab: Lab) -> None:
    order(lab, "status", code=(Status.BUSY,), selectors={"clients": ("iqn.*:i1",)})
    assert [lab.send(read(0), nexus=each).status for each in range(3)] == [0, Status.BUSY, 0]


@pytest.mark.parametrize("word", ["read(10)", "read10", "read-10", "read", "read*"])
def test_an_operation_has_several_spellings(lab: Lab, word) -> None:
    order(lab, "status", code=(Status.BUSY,), selectors={"operations": (word,)})
    assert lab.send(read(0)).status == Status.BUSY
    assert lab.send(write(0), bytes(512)).status == 0


def test_the_guards_come_first(lab: Lab) -> None:
    lab.send(b"\x16" + bytes(5), nexus=1)  # RESERVE(6)
    order(lab, "status", code=(Status.BUSY,))
    assert lab.send(read(0)).status == Status.RESERVATION_CONFLICT


@pytest.mark.parametrize(
    ("rule", "hint"),
    [
        ({"operations": ("raed",)}, 'did you mean "read"?'),
        ({"action": Action(kind=ActionKind.DROP)}, "it can: latency, pause, rate, readonly, sense, silence, status"),
    ],
)
def test_what_no_unit_knows_is_refused(rule, hint) -> None:
    options = {"id": "1", "action": Action(kind=ActionKind.PAUSE), **rule}
    with pytest.raises(FaultError) as caught:
        check_rule(Rule(**options), ["READ(10)"])
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    ("cdb", "data", "ranges"),
    [
        ("08010002000000", b"", [(0x10002, 256)]),
        ("28000000000500000700", b"", [(5, 7)]),
        ("a8000000000500000007 0000", b"", [(5, 7)]),
        ("8800000000000000000500000007 0000", b"", [(5, 7)]),
        ("8900000000000000000500000000 0100".replace("0000 0100", "0001 0000"), b"", [(5, 1)]),
        ("9c00000000000000000500090007 0000", b"", [(5, 7)]),
        ("35000000000500000000", b"", [(5, 1 << 64)]),
        ("42000000000000002800", bytes(8) + struct.pack(">QIIQII", 1, 2, 0, 9, 3, 0), [(1, 2), (9, 3)]),
        ("120000000000", b"", []),
    ],
)
def test_the_blocks_of_a_command(cdb, data, ranges) -> None:
    assert blocks_of(bytes.fromhex(cdb).ljust(16, b"\0"), data) == ranges


@given(cdb=st.binary(min_size=16, max_size=16), data=st.binary(max_size=64))
def test_no_cdb_makes_it_stumble(cdb, data) -> None:
    for start, count in blocks_of(cdb, data):
        assert start >= 0
        assert count >= 0
