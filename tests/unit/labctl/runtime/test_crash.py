"""Death at every point that the journal knows, in every kind of change, and what the next command makes of it."""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable
from copy import deepcopy
from pathlib import Path
from typing import Literal

import pytest

from labctl.runtime.journal import Journal
from labctl.runtime.lab import Lab
from labctl.runtime.paths import LabPaths
from labctl.testing.crash import Crash, CrashJournal
from labctl.testing.world import FakeWorld

from .sample_lab import ONE, OTHER, desired, lab_on

Change = Callable[[Lab], Awaitable[object]]


async def bring_up(lab: Lab, text: str) -> None:
    report = await lab.up(lab.load(text, "t.toml"), restart=True)
    report.raise_failures()


async def up_one(lab: Lab) -> None:
    await bring_up(lab, ONE)


async def up_other(lab: Lab) -> None:
    await bring_up(lab, OTHER)


async def down(lab: Lab) -> None:
    (await lab.down()).raise_failures()


SCENARIOS: dict[str, tuple[Change | None, Change, Change]] = {
    "a first up, then up": (None, up_one, up_one),
    "a first up, then down": (None, up_one, down),
    "a first up, then another up": (None, up_one, up_other),
    "a change, then up": (up_one, up_other, up_other),
    "a change, then down": (up_one, up_other, down),
    "a change, then back": (up_one, up_other, up_one),
    "a down, then down": (up_one, down, down),
    "a down, then up": (up_one, down, up_one),
}


class Machine:
    """What outlives the process: the world and the lab's folder."""

    def __init__(self, home: Path, world: FakeWorld) -> None:
        self.home = home
        self.world = world

    async def do(self, change: Change, journal: Journal | None = None) -> None:
        lab = lab_on(self.home, self.world, journal)
        try:
            await change(lab)
        finally:
            lab.journal.close()

    def copy(self, home: Path) -> Machine:
        shutil.copytree(self.home, home)
        return Machine(home, deepcopy(self.world))

    @property
    def journal(self) -> Path:
        path = LabPaths(self.home, "test").journal
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


async def prepared(tmp_path: Path, first: Change | None) -> Machine:
    machine = Machine(tmp_path / "start", FakeWorld())
    machine.home.mkdir()
    if first is not None:
        await machine.do(first)
    return machine


async def transactions_of(machine: Machine, change: Change, home: Path) -> int:
    trial = machine.copy(home)
    journal = CrashJournal(trial.journal)
    await trial.do(change, journal)
    return journal.transactions


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_after_death_at_any_point_the_next_command_finishes_and_down_leaves_nothing(
    scenario: str, side: Literal["before", "after"], tmp_path: Path
) -> None:
    first, interrupted, following = SCENARIOS[scenario]
    machine = await prepared(tmp_path, first)
    points = await transactions_of(machine, interrupted, tmp_path / "count")
    assert points > 5
    for at in range(1, points + 1):
        trial = machine.copy(tmp_path / f"at-{at}")
        with pytest.raises(Crash):
            await trial.do(interrupted, CrashJournal(trial.journal, at, side))
        await trial.do(following)
        await assert_converged(trial, following)
        await trial.do(down)
        assert trial.world.things == {}, f"left behind after death at {at}"


async def assert_converged(machine: Machine, change: Change) -> None:
    lab = lab_on(machine.home, machine.world)
    try:
        if change is down:
            assert machine.world.things == {}
            assert not lab.journal.units
            return
        text = ONE if change is up_one else OTHER
        assert machine.world.things == desired(lab, text)
        plan = await lab.plan(lab.load(text, "t.toml"))
        assert plan.nothing_to_do
        assert not plan.deferred
    finally:
        lab.journal.close()


async def test_a_second_death_during_recovery_is_survived_too(tmp_path: Path) -> None:
    machine = await prepared(tmp_path, up_one)
    with pytest.raises(Crash):
        await machine.do(up_other, CrashJournal(machine.journal, 8, "before"))
    points = await transactions_of(machine, up_other, tmp_path / "count")
    for at in range(1, points + 1):
        trial = machine.copy(tmp_path / f"at-{at}")
        with pytest.raises(Crash):
            await trial.do(up_other, CrashJournal(trial.journal, at, "before"))
        await trial.do(up_other)
        await assert_converged(trial, up_other)
