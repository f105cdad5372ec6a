"""Where work that waits for the disk is done: in the loop while that is quick, else on threads."""

from __future__ import annotations

import asyncio
import threading

import pytest

from labemu_nfs.io.disk import FIRST_PAUSE, QUICK, SLOW, Disk


class Clock:
    """Work takes `took` seconds: it says so itself."""

    def __init__(self) -> None:
        self.now = 100.0
        self.took = 0.0
        self.where: list[int] = []

    def __call__(self) -> float:
        return self.now

    def work(self) -> None:
        self.where.append(threading.get_ident())
        self.now += self.took


async def run(disk: Disk, work=lambda: None) -> BaseException | None:
    done: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
    disk.run(work, done.set_result)
    return await asyncio.wait_for(done, 30)


async def test_work_is_done_in_the_loop_while_it_is_quick_and_tried_there_again_after_ever_longer_pauses() -> None:
    clock = Clock()
    disk = Disk(asyncio.get_running_loop(), clock=clock)
    here = threading.get_ident()
    for _ in range(3):
        await run(disk, clock.work)
    assert clock.where == [here] * 3
    clock.took = SLOW * 2
    await run(disk, clock.work)  # a trial that fails
    clock.took = QUICK * 2
    await run(disk, clock.work)
    clock.now += FIRST_PAUSE
    await run(disk, clock.work)  # the next
    clock.now += FIRST_PAUSE
    clock.took = 0.0
    await run(disk, clock.work)  # the pause is twice as long now
    clock.now += FIRST_PAUSE
    await run(disk, clock.work)
    in_loop = [where == here for where in clock.where[3:]]
    assert in_loop == [True, False, True, False, True]
    await disk.close()


async def test_where_work_was_quick_one_slow_run_is_borne_but_not_a_second_nor_a_very_slow_one() -> None:
    here = threading.get_ident()
    for slow, borne in (
        ([10 * QUICK, 0.0, 0.0, 0.0, 0.0, 0.0, 10 * QUICK], True),
        ([10 * QUICK] * 2, False),
        ([SLOW * 2], False),
    ):
        clock = Clock()
        disk = Disk(asyncio.get_running_loop(), clock=clock)
        for clock.took in (*[0.0] * 20, *slow):
            await run(disk, clock.work)
        assert clock.where == [here] * (20 + len(slow))
        await run(disk, clock.work)
        assert (clock.where[-1] == here) is borne
        await disk.close()


async def on_threads(clock: Clock, **options) -> Disk:
    """A disk whose first trial was slow."""
    disk = Disk(asyncio.get_running_loop(), clock=clock, **options)
    clock.took = QUICK * 2
    await run(disk, clock.work)
    return disk


@pytest.mark.parametrize("threads", [False, True])
async def test_what_work_raises_is_told_wherever_it_ran(threads: bool) -> None:
    disk = await on_threads(Clock()) if threads else Disk(asyncio.get_running_loop())

    def fail() -> None:
        raise OSError(5, "no")

    assert isinstance(await run(disk, fail), OSError)
    await disk.close()


async def test_all_that_threads_finish_is_told_and_what_follows_comes_once_for_a_batch() -> None:
    batches: list[int] = []
    told: list[int] = []
    disk = await on_threads(Clock(), drained=lambda: batches.append(len(told)))
    gate = threading.Event()
    for number in range(8):
        disk.run(gate.wait, lambda error, number=number: told.append(number))
    gate.set()
    await disk.close()
    assert sorted(told) == list(range(8))
    assert batches[-1] == 8
    assert len(batches) <= 8


async def test_closing_waits_for_what_was_begun() -> None:
    disk = await on_threads(Clock())
    gate = threading.Event()
    told: list[BaseException | None] = []
    disk.run(gate.wait, told.append)
    closing = asyncio.ensure_future(disk.close())
    await asyncio.sleep(0)
    assert not closing.done()
    gate.set()
    await asyncio.wait_for(closing, 30)
    assert told == [None]
