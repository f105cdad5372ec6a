"""When a server waits a moment for the next command, and when it does not."""

from __future__ import annotations

from labemu_io.linger import Linger


def steps(linger: Linger, who: object, count: int, *, single: bool = True) -> list[bool]:
    return [linger.worthwhile(who, single=single) for _ in range(count)]


def test_a_connection_that_goes_step_by_step_is_waited_for() -> None:
    answers = steps(Linger(cpus=2), "a", 40)
    assert not any(answers[:16])
    assert all(answers[17:])


def test_nobody_waits_where_there_is_one_cpu() -> None:
    assert not any(steps(Linger(cpus=1), "a", 100))


def test_a_deeper_queue_is_not_torn_apart() -> None:
    assert not any(steps(Linger(cpus=2), "a", 100, single=False))


def test_nobody_waits_while_several_connections_are_busy() -> None:
    linger = Linger(cpus=2)
    steps(linger, "a", 40)
    assert not any(linger.worthwhile(who, single=True) for who in "ab" * 50)


def test_waiting_in_vain_is_given_up_for_twice_as_long_each_time() -> None:
    linger = Linger(cpus=2)
    steps(linger, "a", 40)
    pauses = []
    for _ in range(14):
        linger.missed()
        pauses.append(steps(linger, "a", 2000).index(True))
    assert pauses == [2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 1024, 1024, 1024, 1024]
    linger.found()
    linger.missed()
    assert steps(linger, "a", 10).index(True) == 2
