import asyncio

import pytest

from labctl.testing.waiting import Deadline, wait_for, wait_until


def test_the_answer_that_ended_the_wait_is_returned() -> None:
    answers = iter([None, "", "here"])
    assert wait_for(lambda: next(answers)) == "here"


def test_a_condition_that_holds_is_asked_once_even_when_no_time_is_left() -> None:
    assert wait_for(lambda: "now", 0) == "now"


def test_a_failure_says_what_was_awaited_and_the_last_answer() -> None:
    with pytest.raises(AssertionError, match=r"waited 0.02 s for the port; the last answer was \[\]"):
        wait_for(list, 0.02, what="the port")


def test_waits_that_share_a_deadline_share_its_time() -> None:
    deadline = Deadline(0.02)
    with pytest.raises(AssertionError):
        wait_for(lambda: False, deadline)
    assert deadline.passed
    with pytest.raises(AssertionError):
        wait_for(lambda: False, deadline)


async def test_other_tasks_run_while_a_coroutine_waits() -> None:
    event = asyncio.Event()

    async def is_set() -> bool:
        return event.is_set()

    setter = asyncio.create_task(asyncio.to_thread(lambda: None))
    setter.add_done_callback(lambda _task: event.set())
    assert await wait_until(is_set, 5)
