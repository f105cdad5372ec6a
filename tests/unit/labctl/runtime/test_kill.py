"""A real `kill -9` in the middle of a change: a process of its own dies at every point of the journal, on real files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest

from labctl.plugin.scaffold import new_plugin

SCRIPT = """
import asyncio, os, sys
from pathlib import Path
from labctl.testing.crash import CrashJournal, kill_self
from labctl.testing.lab import open_lab
from labctl.runtime.paths import LabPaths
from labctl_note.handler import NoteHandler
from labctl_note.kind import NoteKind

FIRST = "".join(f'[note.n{n}]\\ntext = "first {n}"\\n' for n in range(3))
SECOND = "".join(f'[note.n{n}]\\ntext = "second {n}"\\n' for n in range(1, 5))
home, change, side, at = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])


def do(home, change, at=None):
    journal_path = LabPaths(home, "test").journal
    journal_path.parent.mkdir(parents=True, exist_ok=True)
    journal = CrashJournal(journal_path, at, side, die=kill_self)
    lab = open_lab(home, [NoteKind()], [NoteHandler()], journal=journal)
    work = lab.down() if change == "down" else lab.up(lab.load(SECOND if change == "second" else FIRST, "t.toml"))
    asyncio.run(work).raise_failures()
    journal.close()
    return journal.transactions


def files(home):
    found = LabPaths(home, "test").directory.glob("note/*")
    return {path.name: path.read_text() for path in found}


do(home / "count", "first")
points = do(home / "count", change)
assert points >= at, points
for at in range(1, points + 1):
    here = home / str(at)
    do(here, "first")
    child = os.fork()
    if child == 0:
        do(here, change, at)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == 9, status
    do(here, change)
    wanted = {} if change == "down" else {f"n{n}.txt": f"second {n}" for n in range(1, 5)}
    assert files(here) == wanted, (at, files(here))
    do(here, "down")
    assert files(here) == {}
print(points)
"""


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize(("change", "least"), [("second", 6), ("down", 3)])
def test_a_killed_process_is_made_good_by_the_next(
    change: str, least: int, side: Literal["before", "after"], tmp_path: Path
) -> None:
    new_plugin("note", tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "labctl-note")}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "home"), change, side, str(least)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= least
