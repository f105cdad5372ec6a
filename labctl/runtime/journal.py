"""The journal: what a lab consists of, and how far each change got.

Rules:
- Each intended change is recorded before it is made, and each made change after. Recovery and `down` act on what stands here, never on
  patterns or names.
- One SQLite file in WAL mode with `synchronous=NORMAL`: a transaction that was committed survives the death of the process at any
  moment (the kernel has the pages), which is what the promise is about. After a power failure the last transactions may be missing,
  but the lab's namespaces and processes are then gone too, and the file is consistent.
- A batch of units is one transaction. Every transition also goes to an append-only log; crash tests enumerate their points from it.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from labctl.errors import LabError
from labctl.model.address import Address
from labctl.model.json import JsonObject
from labctl.model.unit import RecordedUnit, Unit, UnitState

SCHEMA_VERSION = 1
"""Raised when the tables change; an older journal is then migrated, a newer one refused."""

APPLICATION_ID = 0x6C616263
""" "labc": tells our journals from other SQLite files (the file's header, offset 68)."""

BUSY_TIMEOUT = 5.0
"""Seconds to wait for somebody who reads the journal from outside."""

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE units (
    position INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, unit TEXT NOT NULL, state TEXT NOT NULL, facts TEXT NOT NULL, previous TEXT
);
CREATE TABLE choices (pool TEXT, key TEXT, value TEXT NOT NULL, PRIMARY KEY (pool, key)) WITHOUT ROWID;
CREATE TABLE log (sequence INTEGER PRIMARY KEY AUTOINCREMENT, time REAL NOT NULL, unit TEXT NOT NULL, transition TEXT NOT NULL);
"""

Statement = tuple[str, tuple[Any, ...]]

_PUT_UNIT = """
INSERT INTO units (id, unit, state, facts, previous) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET unit = excluded.unit, state = excluded.state, facts = excluded.facts, previous = excluded.previous
"""


class JournalError(LabError):
    """The journal cannot be used."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """One line of the log.

    Args:
        sequence: counts up; never reused.
        time: seconds since the epoch.
        unit: the unit's id, or "" for the lab itself.
        transition: the state that it went to (`creating`, `created`, …), `deleted`, or what happened to the lab.
    """

    sequence: int
    time: float
    unit: str
    transition: str


@dataclass(frozen=True, kw_only=True)
class RecordedTopology:
    """The topology that the lab was last asked to be.

    Args:
        text: the file's whole text.
        path: where it was read.
        name: the lab's name.
    """

    text: str
    path: str
    name: str


class Journal:
    """One lab's journal. Opening it makes the file where there is none.

    Not for use from several threads. A subclass may override `write` to see every transaction (labctl.testing.crash does).
    """

    def __init__(self, path: Path) -> None:
        """Open the journal at `path`; its folder must exist.

        Raises:
            JournalError: the file is no journal, is damaged, or was made by a newer labctl.
        """
        self.path = path
        self._db = self._connect()
        try:
            self._prepare()
            self._units: dict[str, RecordedUnit] = {}
            self._owned: dict[Address, dict[str, None]] = {}
            for record in self._load():
                self._hold(record)
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise self._damaged(error) from error
        except BaseException:
            self._db.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @property
    def units(self) -> Mapping[str, RecordedUnit]:
        """All recorded units by id, in the order in which they were first recorded."""
        return MappingProxyType(self._units)

    def units_of(self, resource: Address) -> Sequence[RecordedUnit]:
        """The recorded units of one resource."""
        return [self._units[unit_id] for unit_id in self._owned.get(resource, ())]

    @property
    def topology(self) -> RecordedTopology | None:
        """What the lab was last asked to be, or None before the first `up`."""
        meta = dict(self._db.execute("SELECT key, value FROM meta").fetchall())
        if "topology" not in meta:
            return None
        return RecordedTopology(text=meta["topology"], path=meta["path"], name=meta["name"])

    @property
    def choices(self) -> Mapping[tuple[str, str], str]:
        """The choices of the last compilation."""
        rows = self._db.execute("SELECT pool, key, value FROM choices").fetchall()
        return {(pool, key): value for pool, key, value in rows}

    def records(self, since: int = 0) -> Sequence[Record]:
        """The log after a sequence number."""
        rows = self._db.execute("SELECT * FROM log WHERE sequence > ? ORDER BY sequence", (since,)).fetchall()
        return [Record(sequence=row[0], time=row[1], unit=row[2], transition=row[3]) for row in rows]

    def set_topology(self, topology: RecordedTopology, choices: Mapping[tuple[str, str], str]) -> None:
        """Record what the lab shall be, and the choices made for it; nothing is written where both are known."""
        if self.topology == topology and dict(self.choices) == dict(choices):
            return
        meta = {"topology": topology.text, "path": topology.path, "name": topology.name}
        put = "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
        statements: list[Statement] = [(put, pair) for pair in meta.items()]
        statements.append(("DELETE FROM choices", ()))
        statements += [("INSERT INTO choices VALUES (?, ?, ?)", (*key, value)) for key, value in choices.items()]
        self.write([("", "topology")], statements)

    def begin(self, state: UnitState, units: Iterable[Unit]) -> None:
        """Record what is about to be done: CREATING, UPDATING or DELETING.

        In CREATING and UPDATING the units are what they shall become; facts of what was there are kept until then.
        """
        changed = []
        for unit in units:
            record = self._units.get(unit.id)
            previous = None
            if state is UnitState.UPDATING and record is not None:
                previous = record.previous or record.unit
            facts = record.facts if record else {}
            changed.append(RecordedUnit(unit=unit, state=state, facts=facts, previous=previous))
        self._put(changed)

    def made(self, facts: Mapping[str, JsonObject]) -> None:
        """Record that units are as their record says, with these facts."""
        self._put(
            RecordedUnit(unit=self._units[unit_id].unit, state=UnitState.CREATED, facts=known)
            for unit_id, known in facts.items()
        )

    def learnt(self, facts: Mapping[str, JsonObject]) -> None:
        """Record facts of units whose state stays as it is (part of a batch that failed)."""
        self._put(
            RecordedUnit(
                unit=self._units[unit_id].unit,
                state=self._units[unit_id].state,
                facts=known,
                previous=self._units[unit_id].previous,
            )
            for unit_id, known in facts.items()
            if unit_id in self._units
        )

    def reown(self, units: Iterable[Unit]) -> None:
        """Record new needs or owners of units that stay as they are, or what units became without a step of ours."""
        self._put(
            RecordedUnit(unit=unit, state=self._units[unit.id].state, facts=self._units[unit.id].facts)
            for unit in units
        )

    def gone(self, unit_ids: Iterable[str], transition: str = "deleted") -> None:
        """Record that units are no more."""
        names = list(unit_ids)
        if not names:
            return
        self.write(
            [(name, transition) for name in names], [("DELETE FROM units WHERE id = ?", (name,)) for name in names]
        )
        for name in names:
            self._drop(name)

    def clear(self) -> None:
        """Forget the topology and the choices: the lab is down.

        Raises:
            ValueError: units are still recorded.
        """
        if self._units:
            raise ValueError(f"{len(self._units)} units are still recorded")
        self.write([("", "down")], [("DELETE FROM meta", ()), ("DELETE FROM choices", ())])

    def write(self, log: Sequence[tuple[str, str]], statements: Sequence[Statement]) -> None:
        """Do statements and log transitions, in one transaction.

        Raises:
            JournalError: the disk is full, or the file is damaged.
        """
        now = time.time()
        lines = [("INSERT INTO log (time, unit, transition) VALUES (?, ?, ?)", (now, *entry)) for entry in log]
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                for sql, values in (*statements, *lines):
                    self._db.execute(sql, values)
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        except sqlite3.OperationalError as error:
            raise JournalError(f"cannot write {self.path}: {error}", hint="is the disk full?") from error
        except sqlite3.DatabaseError as error:
            raise self._damaged(error) from error

    def _put(self, records: Iterable[RecordedUnit]) -> None:
        records = list(records)
        if not records:
            return
        log = [(record.unit.id, str(record.state)) for record in records]
        self.write(log, [(_PUT_UNIT, _row(record)) for record in records])
        for record in records:
            self._hold(record)

    def _hold(self, record: RecordedUnit) -> None:
        known = self._units.get(record.unit.id)
        if known is not None and known.unit.resource != record.unit.resource:
            self._owned[known.unit.resource].pop(record.unit.id)
        self._units[record.unit.id] = record
        self._owned.setdefault(record.unit.resource, {})[record.unit.id] = None

    def _drop(self, unit_id: str) -> None:
        record = self._units.pop(unit_id, None)
        if record is not None:
            self._owned[record.unit.resource].pop(unit_id)

    def _connect(self) -> sqlite3.Connection:
        try:
            return sqlite3.connect(self.path, timeout=BUSY_TIMEOUT, isolation_level=None)
        except sqlite3.OperationalError as error:
            raise JournalError(f"cannot open {self.path}: {error}", hint="may you write to its folder?") from error

    def _prepare(self) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        application = self._db.execute("PRAGMA application_id").fetchone()[0]
        if version == 0 and application == 0:
            self._db.executescript(
                f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA application_id = {APPLICATION_ID};"
                f" PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
            )
        elif application != APPLICATION_ID:
            raise JournalError(f"{self.path} is not a journal of labctl", hint="move it away")
        elif version > SCHEMA_VERSION:
            raise JournalError(
                f"{self.path} was made by a newer labctl (its version is {version}, this one knows {SCHEMA_VERSION})",
                hint="use the newer labctl, at least for `labctl down`",
            )

    def _load(self) -> list[RecordedUnit]:
        rows = self._db.execute("SELECT unit, state, facts, previous FROM units ORDER BY position").fetchall()
        try:
            return [_record(row) for row in rows]
        except (ValueError, KeyError, TypeError) as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> JournalError:
        return JournalError(
            f"the journal {self.path} is damaged: {error}",
            hint="restore it from a backup; without it labctl cannot tell what belongs to the lab",
        )


def _row(record: RecordedUnit) -> tuple[str, ...]:
    previous = json.dumps(_unit_json(record.previous)) if record.previous else None
    unit = json.dumps(_unit_json(record.unit))
    return (record.unit.id, unit, str(record.state), json.dumps(dict(record.facts)), previous)  # type: ignore[return-value]


def _record(row: tuple[str, str, str, str | None]) -> RecordedUnit:
    unit, state, facts, previous = row
    return RecordedUnit(
        unit=_unit(json.loads(unit)),
        state=UnitState(state),
        facts=json.loads(facts),
        previous=_unit(json.loads(previous)) if previous else None,
    )


def _unit_json(unit: Unit) -> JsonObject:
    return {
        "id": unit.id,
        "type": unit.type,
        "kind": unit.resource.kind,
        "name": unit.resource.name,
        "spec": unit.spec,
        "needs": unit.needs,
    }


def _unit(data: dict[str, Any]) -> Unit:
    return Unit(
        id=data["id"],
        type=data["type"],
        resource=Address(data["kind"], data["name"]),
        spec=data["spec"],
        needs=tuple(data["needs"]),
    )
