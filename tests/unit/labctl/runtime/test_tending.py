"""What labd does by itself: each resource when its time has come, none twice at a time, nothing amid an up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from labctl.model.address import Address
from labctl.runtime import tending
from labctl.runtime.tending import Tending
from labctl.testing.waiting import wait_until

WEB1, WEB2 = Address("vm", "web1"), Address("vm", "web2")


class Shepherd:
    """A kind that notes whom it looked after."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.at_once = 0
        self.next: float | None = None
        self.fails = False
        self.hold = asyncio.Event()
        self.hold.set()

    async def tend(self, _context: object, resource: Any) -> float | None:
        self.calls.append(resource)
        self.at_once += 1
        await self.hold.wait()
        self.at_once -= 1
        if self.fails:
            raise ValueError("broken")
        return self.next


class FakeLab(SimpleNamespace):
    changing = False
    topology: Any = None


@pytest.fixture
def kind() -> Shepherd:
    return Shepherd()


@pytest.fixture
async def lab(kind: Shepherd, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeLab]:
    monkeypatch.setattr(tending, "INTERVAL", 0.001)
    lab = FakeLab(plugins=SimpleNamespace(kinds={"vm": kind}))
    task = asyncio.create_task(Tending(lab).run())  # type: ignore[arg-type]
    yield lab
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert kind.at_once == 0 or not kind.hold.is_set()


def topology() -> Any:
    return SimpleNamespace(declared={WEB1: "web1", WEB2: "web2"})


async def called(kind: Shepherd, times: int) -> None:
    async def often() -> bool:
        return len(kind.calls) >= times

    await wait_until(often)


async def test_each_is_looked_after_once_a_topology_and_again_when_it_asked_for_that(
    lab: FakeLab, kind: Shepherd
) -> None:
    lab.topology = topology()
    await called(kind, 2)
    lab.topology = topology()
    await called(kind, 4)
    assert sorted(kind.calls) == ["web1", "web1", "web2", "web2"]
    kind.next = 0.01
    lab.topology = topology()
    await called(kind, 12)


async def test_nothing_is_done_while_the_lab_changes_or_is_not_known(lab: FakeLab, kind: Shepherd) -> None:
    lab.changing = True
    lab.topology = topology()
    for _ in range(20):
        await asyncio.sleep(0)
    assert not kind.calls
    lab.changing = False
    await called(kind, 2)


async def test_one_that_takes_long_is_not_looked_after_twice(lab: FakeLab, kind: Shepherd) -> None:
    kind.hold.clear()
    lab.topology = topology()
    await called(kind, 2)
    lab.topology = topology()
    for _ in range(20):
        await asyncio.sleep(0.001)
    assert len(kind.calls) == 2


async def test_a_failure_is_logged_and_tried_again_later(
    lab: FakeLab, kind: Shepherd, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tending, "AFTER_FAILURE", 0.01)
    kind.fails = True
    lab.topology = topology()
    await called(kind, 6)
    assert "looking after vm.web" in caplog.text
