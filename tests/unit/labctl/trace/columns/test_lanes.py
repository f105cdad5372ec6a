"""By the column or one by one: the same commands, the same problems, the same sums, whatever the traffic and however it is cut."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labctl.trace.columns import lanes
from labctl.trace.command import Command
from labctl.trace.decoder import Decoder
from labctl.trace.files.batch import from_packets
from labctl.trace.record import Packet
from labctl.trace.reports.filters import Filter
from labctl.trace.reports.summary import Summary
from tests.unit.labctl.trace.columns.traffic import Disk, Share, packets
from tests.unit.labctl.trace.talk import LINK


def batches(found: list[Packet], sizes: list[int]) -> list[list[Packet]]:
    """Packets in batches of these sizes, again and again."""
    cut, at, turn = [], 0, 0
    while at < len(found):
        cut.append(found[at : at + sizes[turn % len(sizes)]])
        at += len(cut[-1])
        turn += 1
    return cut


def decoded(found: list[list[Packet]], *, by_column: bool) -> tuple[list[Command], Decoder, Summary, int]:
    """The commands by their number, and how many of them came by the column."""
    decoder, commands, total, together = Decoder(by_column=by_column), [], Summary(), 0
    for batch in found:
        one_by_one = decoder.feed_batch(from_packets(batch, [LINK]))
        for command in one_by_one:
            total.add(command)
        commands += one_by_one
        for plain in decoder.plain:
            total.add_plain(plain, decoder.names)
            commands += [plain.command(index, decoder.names) for index in range(len(plain))]
            together += len(plain)
    for command in (rest := decoder.finish()):
        total.add(command)
    return sorted(commands + rest, key=lambda command: (command.id, command.part)), decoder, total, together


def compare(found: list[list[Packet]]) -> float:
    """Hold both ways to each other; what share of the commands went by the column."""
    slow, one, slow_sum, _ = decoded(found, by_column=False)
    fast, other, fast_sum, together = decoded(found, by_column=True)
    assert fast == slow
    assert sorted(map(str, other.problems)) == sorted(map(str, one.problems))
    assert fast_sum.to_json() == slow_sum.to_json()
    return together / len(slow)


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "FEWEST", 1)
    monkeypatch.setattr(lanes, "LONGEST", 1)


@pytest.mark.parametrize("source", [Disk, Share], ids=["iscsi", "nfs3"])
def test_usual_traffic_goes_by_the_column(source: type[Disk | Share]) -> None:
    chance = random.Random(1)
    found = packets(chance, [source(chance)], 400)
    assert compare(batches(found, [100])) > 0.95
    assert (
        compare(batches(found, [7])) > 0.8
    )  # a record that began before the batch and ends behind it is the decoder's


@pytest.mark.parametrize("source", [Disk, Share], ids=["iscsi", "nfs3"])
def test_something_unusual_sends_a_batch_to_the_decoder_and_what_follows_by_the_column_again(
    source: type[Disk | Share],
) -> None:
    chance = random.Random(2)
    found = packets(chance, [source(chance, odd=0.01)], 1000)
    assert 0.3 < compare(batches(found, [20])) < 0.99


@pytest.mark.parametrize(
    "meant",
    [Filter(operations=("WRITE",)), Filter(slower=8_000_000), Filter(failed=True), Filter(hosts=("nobody",))],
    ids=["operation", "slower", "failed", "host"],
)
def test_a_filter_chooses_the_same(meant: Filter) -> None:
    chance = random.Random(3)
    found = batches(packets(chance, [Disk(chance, odd=0.01), Share(chance, odd=0.01)], 200), [30])
    sums = []
    for by_column in (False, True):
        decoder, total = Decoder(by_column=by_column), Summary()
        for batch in found:
            total.add_those(decoder.feed_batch(from_packets(batch, [LINK])), meant.test())
            for plain in decoder.plain:
                total.add_plain(meant.of(plain, decoder.names), decoder.names)
        total.add_those(decoder.finish(), meant.test())
        sums.append((total.to_json(), [command.id for command in total.slowest]))
    assert sums[0] == sums[1]
    assert (0 if meant.hosts else 1) <= sums[0][0]["commands"] < 400


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 1 << 32),
    kinds=st.lists(st.sampled_from([Disk, Share]), min_size=1, max_size=3),
    odd=st.sampled_from([0.0, 0.0, 0.05]),
    lost=st.sampled_from([0.0, 0.0, 0.02]),
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=4),
)
def test_both_ways_say_the_same(
    seed: int, kinds: list[type[Disk | Share]], odd: float, lost: float, sizes: list[int]
) -> None:
    chance = random.Random(seed)
    found = packets(chance, [kind(chance, odd=odd) for kind in kinds], 40, lost)
    compare(batches(found, sizes))
