"""Faults of the transport, with two engines back to back and a clock that the test turns."""

from __future__ import annotations

import pytest

from labemu_faults.action import Action, ActionKind
from labemu_faults.rule import Armed, Rule
from labemu_iscsi.errors import PeerError
from labemu_iscsi.pdu import Opcode
from labemu_iscsi.tamper import REORDER_WAIT, Tamper

DIGESTS = {"HeaderDigest": "CRC32C", "DataDigest": "CRC32C"}
READ10 = bytes.fromhex("28000000000000000100")
BLOCK = 512


def armed(kind: str, *, selectors: dict[str, object] | None = None, **action: object) -> Armed:
    return Armed(Rule(id="1", action=Action(kind=ActionKind(kind), **action), **(selectors or {})))  # type: ignore[arg-type]


class Wire:
    """A pair whose target speaks through a Tamper."""

    def __init__(self, pair, *rules: Armed) -> None:
        self.pair = pair
        self.now = 0.0
        self.wakes: list[float] = []
        self.tamper = Tamper(pair.connection, rules, now=lambda: self.now, wake_at=self.wakes.append)

    def send(self) -> None:
        data = b"".join(map(bytes, self.pair.initiator.data_to_send()))
        while data and not self.tamper.closed:
            room = self.tamper.receive_buffer()
            count = min(len(room), len(data))
            room[:count] = data[:count]
            for event in self.tamper.received(count, self.now):
                self.pair.service.handle(event)
            data = data[count:]

    def take(self) -> bytes:
        return b"".join(map(bytes, self.tamper.data_to_send()))


def read(wire: Wire, count: int = 1) -> list[int]:
    initiator = wire.pair.initiator
    for _ in range(count):
        initiator.command(READ10, read=BLOCK)
    wire.send()
    return list(initiator.results)[-count:]


def tags_of(stream: bytes) -> list[int]:
    return [int.from_bytes(stream[at + 16 : at + 20], "big") for at in range(0, len(stream), 48 + BLOCK)]


def test_without_a_rule_that_strikes_the_bytes_are_the_engines(connect) -> None:
    pair = connect(keys=DIGESTS)
    wire = Wire(pair, armed("latency", average=1.0, selectors={"operations": ("login-response",)}))
    tag = read(wire)[0]
    pair.initiator.receive_data(wire.take())
    assert pair.initiator.results[tag].status == 0
    assert not wire.tamper.closed


def test_a_response_is_delayed_and_the_driver_is_told_when_to_come_again(connect) -> None:
    wire = Wire(connect(), armed("latency", average=0.5, selectors={"operations": ("data-in",)}))
    read(wire)
    assert wire.take() == b""
    assert wire.wakes == [0.5]
    wire.now = 0.5
    assert len(wire.take()) == 48 + BLOCK


def test_what_follows_a_delayed_pdu_never_passes_it(connect) -> None:
    wire = Wire(connect(), armed("latency", average=0.5, selectors={"count": 1}))
    tags = read(wire, 3)
    assert wire.take() == b""
    wire.now = 0.5
    assert tags_of(wire.take()) == tags


def test_a_response_is_overtaken_by_the_next_one(connect) -> None:
    wire = Wire(connect(), armed("reorder", selectors={"count": 1}))
    first, second, third = read(wire, 3)
    assert tags_of(wire.take()) == [second, first, third]


def test_a_response_that_nothing_overtakes_goes_out_soon(connect) -> None:
    wire = Wire(connect(), armed("reorder"))
    read(wire)
    assert wire.take() == b""
    wire.now = REORDER_WAIT
    assert len(wire.take()) == 48 + BLOCK


@pytest.mark.parametrize(("what", "error"), [("header-digest", "digest"), ("data-digest", "digest"), ("payload", "digest")])  # fmt: skip
def test_an_initiator_with_digests_finds_the_corruption(connect, what, error) -> None:
    wire = Wire(connect(keys=DIGESTS), armed("corrupt", what=what))
    read(wire)
    with pytest.raises(PeerError, match=error):
        wire.pair.initiator.receive_data(wire.take())


def test_without_digests_a_corrupted_payload_goes_unnoticed_and_no_digest_is_struck(connect) -> None:
    rule = armed("corrupt", what="payload", selectors={"seed": 1})
    digest = armed("corrupt", what="data-digest")
    wire = Wire(connect(), rule, digest)
    tag = read(wire)[0]
    wire.pair.initiator.receive_data(wire.take())
    result = wire.pair.initiator.results[tag]
    assert (result.status, sum(result.data), len(result.data)) == (0, 1, BLOCK)
    assert (rule.hits, digest.hits) == (1, 0)


@pytest.mark.parametrize("after", [1, 48, 100, 48 + BLOCK])
def test_a_connection_is_dropped_at_exactly_that_byte_sent(connect, after) -> None:
    wire = Wire(connect(), armed("drop", after=after))
    read(wire, 2)
    assert len(wire.take()) == after
    assert wire.tamper.closed
    assert wire.take() == b""


def test_a_connection_is_dropped_when_so_many_bytes_came(connect) -> None:
    wire = Wire(connect(), armed("drop", after=3 * 48, received=True))
    read(wire, 2)
    assert not wire.tamper.closed
    assert len(wire.take()) == 2 * (48 + BLOCK)
    read(wire)
    assert wire.tamper.closed
    assert wire.take() == b""


def test_a_rule_about_another_initiator_or_target_does_nothing(connect) -> None:
    others = [
        armed("drop", after=1, selectors={"clients": ("iqn.other",)}),
        armed("drop", after=1, selectors={"target": "iqn.other"}),
        armed("drop", after=1, selectors={"portal": "10.9.*"}),
    ]
    wire = Wire(connect(), *others)
    read(wire)
    assert len(wire.take()) == 48 + BLOCK


def test_what_is_held_is_given_back_when_the_fault_goes(connect) -> None:
    wire = Wire(connect(), armed("latency", average=9.0))
    tags = read(wire, 2)
    assert wire.take() == b""
    assert tags_of(b"".join(map(bytes, wire.tamper.release()))) == tags


def test_a_login_is_refused_with_the_status_that_was_ordered(connect, node) -> None:
    asked = []

    def refusal(*who: str) -> tuple[int, int]:
        asked.append(who)
        return 3, 1

    node.refusal = refusal
    pair = connect(login=False)
    pair.initiator.login()
    pair.exchange()
    assert pair.initiator.login_status == (3, 1)
    assert pair.connection.closed
    assert asked[0][:2] == (pair.initiator.name, pair.initiator.target)
    assert not node.sessions


def test_every_pdu_that_a_target_sends_has_a_word() -> None:
    from labemu_iscsi.tamper import WORDS

    assert set(WORDS) == {each for each in Opcode if each >= Opcode.NOP_IN}
