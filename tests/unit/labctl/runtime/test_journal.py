"""What the journal keeps, and what it says of a file that is no journal."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from labctl.model.address import Address
from labctl.model.unit import RecordedUnit, Unit, UnitState
from labctl.runtime.journal import Journal, JournalError, RecordedTopology


def unit(name: str, **spec: int) -> Unit:
    return Unit(id=name, type="vm", resource=Address("vm", name), spec=spec, needs=("netns:a",))


def test_everything_is_there_after_reopening(tmp_path: Path) -> None:
    topology = RecordedTopology(text="[lab]", path="/x/t.toml", name="demo")
    with Journal(tmp_path / "j.db") as journal:
        journal.set_topology(topology, {("pool", "a"): "1"})
        journal.begin(UnitState.CREATING, [unit("b"), unit("a")])
        journal.made({"b": {"pid": 7}})
        journal.begin(UnitState.UPDATING, [unit("b", m=2)])
    with Journal(tmp_path / "j.db") as journal:
        assert journal.topology == topology
        assert journal.choices == {("pool", "a"): "1"}
        assert list(journal.units) == ["b", "a"]
        updating = RecordedUnit(unit=unit("b", m=2), state=UnitState.UPDATING, facts={"pid": 7}, previous=unit("b"))
        assert journal.units["b"] == updating
        assert journal.units_of(Address("vm", "a")) == [RecordedUnit(unit=unit("a"), state=UnitState.CREATING)]


def test_an_update_that_is_begun_twice_remembers_what_was_before_the_first(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.db") as journal:
        journal.begin(UnitState.CREATING, [unit("a", m=1)])
        journal.made({"a": {}})
        journal.begin(UnitState.UPDATING, [unit("a", m=2)])
        journal.begin(UnitState.UPDATING, [unit("a", m=3)])
        assert journal.units["a"].previous == unit("a", m=1)
        journal.made({"a": {}})
        assert journal.units["a"].previous is None


def test_the_log_tells_each_transition_once_and_in_order(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.db") as journal:
        journal.begin(UnitState.CREATING, [unit("a")])
        journal.made({"a": {}})
        seen = journal.records()[-1].sequence
        journal.begin(UnitState.DELETING, [unit("a")])
        journal.gone(["a"])
        assert [(record.unit, record.transition) for record in journal.records(seen)] == [
            ("a", "deleting"),
            ("a", "deleted"),
        ]
        assert [record.sequence for record in journal.records()] == [1, 2, 3, 4]


def test_the_same_topology_again_writes_nothing(tmp_path: Path) -> None:
    topology = RecordedTopology(text="[lab]", path="t.toml", name="demo")
    with Journal(tmp_path / "j.db") as journal:
        journal.set_topology(topology, {("p", "k"): "v"})
        journal.set_topology(topology, {("p", "k"): "v"})
        assert len(journal.records()) == 1


def test_a_lab_that_still_has_units_cannot_be_forgotten(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.db") as journal:
        journal.begin(UnitState.CREATING, [unit("a")])
        with pytest.raises(ValueError, match="1 units"):
            journal.clear()


def test_what_was_committed_survives_kill_9(tmp_path: Path) -> None:
    script = """
import os, signal, sys
from pathlib import Path
from labctl.model.address import Address
from labctl.model.unit import Unit, UnitState
from labctl.runtime.journal import Journal
journal = Journal(Path(sys.argv[1]))
journal.begin(UnitState.CREATING, [Unit(id="a", type="t", resource=Address("k", "a"), spec={})])
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "j.db")], check=False)
    assert done.returncode == -9
    with Journal(tmp_path / "j.db") as journal:
        assert journal.units["a"].state is UnitState.CREATING


def test_a_damaged_journal_is_named(tmp_path: Path) -> None:
    (tmp_path / "j.db").write_bytes(b"this is no database at all" * 100)
    with pytest.raises(JournalError, match="is damaged"):
        Journal(tmp_path / "j.db")


def test_a_journal_whose_records_make_no_sense_is_damaged(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.db") as journal:
        journal.begin(UnitState.CREATING, [unit("a")])
    with sqlite3.connect(tmp_path / "j.db") as database:
        database.execute("UPDATE units SET unit = '{'")
    database.close()
    with pytest.raises(JournalError, match="is damaged"):
        Journal(tmp_path / "j.db")


def test_a_journal_of_a_newer_labctl_is_refused_with_a_hint(tmp_path: Path) -> None:
    Journal(tmp_path / "j.db").close()
    with sqlite3.connect(tmp_path / "j.db") as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(JournalError, match="newer labctl") as caught:
        Journal(tmp_path / "j.db")
    assert caught.value.hint is not None


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "j.db") as database:
        database.execute("PRAGMA application_id = 7")
    database.close()
    with pytest.raises(JournalError, match="not a journal"):
        Journal(tmp_path / "j.db")


def test_a_folder_that_does_not_exist_is_an_error_for_people(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="cannot open"):
        Journal(tmp_path / "nowhere" / "j.db")
