"""Work that no call waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from labemu_nfs.io import disk
from labemu_nfs.io.background import Background
from labemu_nfs.io.disk import Disk
from labemu_nfs.rpc.message import Body
from labemu_nfs.rpc.program import Job


class Chain:
    """Work in `length` steps, each of which is done in turn."""

    def __init__(self, length: int, failing: BaseException | None = None) -> None:
        self.left = length
        self.done: list[int] = []
        self.errors: list[OSError | None] = []
        self.over = asyncio.get_running_loop().create_future()
        self._failing = failing

    def job(self) -> Job:
        return Job(self._run, self._finish)

    def _run(self) -> None:
        if self._failing is not None:
            raise self._failing
        self.done.append(self.left)

    def _finish(self, error: OSError | None) -> Body | Job:
        self.errors.append(error)
        self.left -= 1
        if self.left and error is None:
            return self.job()
        self.over.set_result(None)
        return []


async def through(make: Callable[[], Chain]) -> Chain:
    loop = asyncio.get_running_loop()
    threads = Disk(loop)
    background = Background(loop, threads)
    chain = make()
    background.begin(chain.job())
    assert not chain.done
    await asyncio.wait_for(chain.over, 60)
    background.start()
    await threads.close()
    return chain


@pytest.mark.parametrize("quick", [0.0, 60.0], ids=["in threads", "in the loop"])
def test_each_step_follows_on_the_one_before(monkeypatch, quick):
    monkeypatch.setattr(disk, "QUICK", quick)
    chain = asyncio.run(through(lambda: Chain(3000)))  # more than Python's stack has room for
    assert chain.done == list(range(3000, 0, -1))


@pytest.mark.parametrize("failure", [OSError(28, "full"), ValueError("a bug")])
def test_what_fails_is_told_as_an_error_of_the_disk(failure):
    chain = asyncio.run(through(lambda: Chain(5, failure)))
    assert [error.errno for error in chain.errors] == [getattr(failure, "errno", 5)]


def test_what_waits_is_begun_before_the_end():
    async def ended() -> list[int]:
        loop = asyncio.get_running_loop()
        threads = Disk(loop)
        background, chain = Background(loop, threads), Chain(1)
        background.begin(chain.job())
        background.start()
        await threads.close()
        return chain.done

    assert asyncio.run(ended()) == [1]
