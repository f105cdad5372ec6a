"""Who reads the stages gets what is new; when nobody does, nothing is noted."""

from __future__ import annotations

from labemu_stages.feed import KEPT, LEASE, Feed, Stages


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def stages(tag: int) -> Stages:
    return Stages("iscsi", "10.0.0.2:40001", "10.0.0.1:3260", tag, {"queued": 1})


def test_two_readers_get_each_what_is_new_to_them() -> None:
    feed = Feed(Clock(), lambda: 0)
    one = feed.read()
    assert one == (0, 0, [])
    feed.put(stages(1))
    two = feed.read()
    feed.put(stages(2))
    assert [each.tag for each in feed.read(one.next).stages] == [1, 2]
    assert [each.tag for each in feed.read(two.next).stages] == [2]
    assert feed.read(feed.read(two.next).next) == (2, 0, [])


def test_a_reader_that_is_too_slow_is_told_how_much_it_missed() -> None:
    feed = Feed(Clock(), lambda: 0)
    since = feed.read().next
    for tag in range(KEPT + 10):
        feed.put(stages(tag))
    reading = feed.read(since)
    assert (reading.lost, len(reading.stages), reading.stages[0].tag) == (10, KEPT, 10)


def test_it_is_on_from_the_first_reading_until_nobody_reads_any_more() -> None:
    clock, told = Clock(), list[bool]()
    feed = Feed(clock, lambda: 0)
    feed.switch(told.append)
    assert not feed.check()
    since = feed.read().next
    clock.now += LEASE
    assert feed.check()
    feed.put(stages(1))
    feed.read(since)
    clock.now += LEASE + 0.1
    assert not feed.check()
    assert told == [True, False]
    assert feed.read(since).stages == []  # what was kept for nobody is gone
    assert told == [True, False, True]


def test_a_reader_of_an_earlier_run_begins_anew() -> None:
    feed = Feed(Clock(), lambda: 0)
    feed.read()
    feed.put(stages(1))
    assert feed.read(1_000_000) == (1, 0, [])
