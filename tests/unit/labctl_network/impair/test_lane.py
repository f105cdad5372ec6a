"""A lane does to frames what it is told, in netem's order, at the right times."""

from __future__ import annotations

from random import Random

import pytest

from labctl_network.impair.impairment import QUEUE, Impairment
from labctl_network.impair.lane import Lane

FRAMES = [bytes([number]) * 100 for number in range(50)]


def lane(**wanted: float) -> Lane:
    return Lane(Impairment(**wanted), Random(7))  # type: ignore[arg-type]


def test_a_sound_lane_gives_every_frame_at_once_in_order() -> None:
    made = lane()
    for frame in FRAMES:
        made.take(frame, 1.0)
    assert made.due(1.0) == FRAMES
    assert made.next_due is None


def test_a_delay_holds_frames_until_exactly_then() -> None:
    made = lane(delay=0.5)
    made.take(b"x", 1.0)
    assert made.next_due == 1.5
    assert made.due(1.4999) == []
    assert made.due(1.5) == [b"x"]


def test_jitter_spreads_evenly_around_the_delay_and_never_before_now() -> None:
    made = lane(delay=0.01, jitter=0.02)
    times = []
    for _ in range(500):
        made.take(b"x", 1.0)
        due = made.next_due
        assert due is not None
        times.append(due)
        assert made.due(2.0) == [b"x"]
    assert min(times) == 1.0
    assert 1.028 < max(times) <= 1.03


@pytest.mark.parametrize("share", [0.1, 0.5], ids=["tenth", "half"])
def test_losses_have_their_share(share) -> None:
    made = lane(loss=share)
    for _ in range(100):
        for frame in FRAMES:
            made.take(frame, 1.0)
        made.due(1.0)
    assert made.lost / 5000 == pytest.approx(share, abs=0.03)


def test_a_duplicate_comes_right_after_its_frame() -> None:
    made = lane(duplicate=1.0)
    made.take(b"a", 1.0)
    made.take(b"b", 1.0)
    assert made.due(1.0) == [b"a", b"a", b"b", b"b"]


def test_corruption_turns_exactly_one_bit() -> None:
    made = lane(corrupt=1.0)
    for frame in FRAMES:
        made.take(frame, 1.0)
        (broken,) = made.due(1.0)
        differing = int.from_bytes(frame, "big") ^ int.from_bytes(broken, "big")
        assert differing.bit_count() == 1


def test_reordered_frames_are_not_held() -> None:
    made = lane(delay=1.0, reorder=0.5)
    for frame in FRAMES:
        made.take(frame, 1.0)
    early = made.due(1.0)
    assert 10 < len(early) < 40
    assert early + made.due(2.0) == [*early, *(frame for frame in FRAMES if frame not in early)]


def test_a_rate_spaces_frames_by_their_size_and_then_delays_them() -> None:
    made = lane(rate=8000, delay=0.25)  # 100 bytes take 0.1 s
    for frame in FRAMES[:3]:
        made.take(frame, 1.0)
    assert [len(made.due(now)) for now in (1.34, 1.36, 1.44, 1.46, 1.54, 1.56)] == [0, 1, 0, 1, 0, 1]
    made.take(FRAMES[0], 10.0)
    assert made.next_due == pytest.approx(10.35)  # an idle line owes nothing


def test_a_full_queue_loses_what_comes_on_top() -> None:
    made = lane(delay=1.0)
    for _ in range(QUEUE + 5):
        made.take(b"x", 1.0)
    assert made.lost == 5
    assert len(made.due(2.0)) == QUEUE


def test_a_change_leaves_frames_on_their_way_alone() -> None:
    made = lane(delay=1.0)
    made.take(b"slow", 1.0)
    made.impairment = Impairment()
    made.take(b"quick", 1.1)
    assert made.due(1.1) == [b"quick"]
    assert made.due(2.0) == [b"slow"]
