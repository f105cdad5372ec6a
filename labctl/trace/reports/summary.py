"""What a capture's commands add up to, by operation, host, VM and datastore; in memory that does not grow with the capture."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from labctl.trace.columns.plain import Plain
from labctl.trace.command import Command, Owner
from labctl.trace.naming import Names
from labctl.trace.reports.histogram import Histogram

MAX_ROWS: Final = 10_000
"""Kinds of commands that are told apart; what comes beyond is counted as one."""

SLOWEST: Final = 10
"""Commands that are shown as the slowest."""

Key = tuple[str, str, str, str, str]
"""Protocol, operation, host, VM, datastore."""


@dataclass(kw_only=True)
class Row:
    """The commands of one kind.

    Args:
        latency: of those with a response.
        count: all of them.
        sent: payload bytes to the server; received: from it.
        depth: how many others were under way when each began, added up; deepest: the most.
        retransmissions: TCP segments that were seen again.
        errors: statuses of those that failed, with their sense.
    """

    latency: Histogram = field(default_factory=Histogram)
    count: int = 0
    sent: int = 0
    received: int = 0
    depth: int = 0
    deepest: int = 0
    retransmissions: int = 0
    errors: Counter[str] = field(default_factory=Counter)

    def add(self, command: Command) -> None:
        """Count one."""
        self.count += 1
        self.sent += command.sent
        self.received += command.received
        self.depth += command.depth
        self.deepest = max(self.deepest, command.depth)
        self.retransmissions += command.retransmissions
        if command.end is not None:
            self.latency.add(command.end - command.start)
        if not command.good:
            status = "no response" if command.end is None else command.status or "not done"
            self.errors[f"{status}: {command.sense}" if command.sense else status] += 1


class Summary:
    """Adds commands up."""

    def __init__(self) -> None:
        self.rows: dict[Key, Row] = {}
        self.count = 0
        self.first: int | None = None
        self.last: int | None = None
        self._slowest: list[tuple[int, int, int, Command]] = []  # latency, number negated, a count, command
        self._noted = 0

    def add(self, command: Command) -> None:
        """Count one."""
        self._row(command.protocol, command.operation, command.owner).add(command)
        self.count += 1
        self.first = command.start if self.first is None else min(self.first, command.start)
        end = command.end or command.start
        self.last = end if self.last is None else max(self.last, end)
        if command.end is not None:
            rank = command.end - command.start, -command.id
            if len(self._slowest) < SLOWEST or rank > self._slowest[0][:2]:
                self._note_slow(rank, command)

    def add_those(self, commands: Iterable[Command], meant: Callable[[Command], bool]) -> None:
        """Count those that are meant."""
        for command in commands:
            if meant(command):
                self.add(command)

    def add_plain(self, plain: Plain, names: Names) -> None:
        """Count many."""
        if not len(plain):
            return
        latency = plain.end - plain.start
        for number, kind in enumerate(plain.kinds):
            chosen = np.flatnonzero(plain.kind == number)
            if not len(chosen):
                continue
            row = self._row(plain.protocol, kind.operation, kind.owner(names))
            row.count += len(chosen)
            row.sent += int(plain.sent[chosen].sum())
            row.received += int(plain.received[chosen].sum())
            row.depth += int(plain.depth[chosen].sum())
            row.deepest = max(row.deepest, int(plain.depth[chosen].max()))
            row.retransmissions += int(plain.retransmissions[chosen].sum())
            row.latency.add_all(latency[chosen])
        self.count += len(plain)
        first, last = int(plain.start.min()), int(plain.end.max())
        self.first = first if self.first is None else min(self.first, first)
        self.last = last if self.last is None else max(self.last, last)
        limit = self._slowest[0][:2] if len(self._slowest) == SLOWEST else (-1, 0)
        slow = np.flatnonzero(latency >= limit[0])
        for place in slow[np.lexsort((plain.id[slow], -latency[slow]))][:SLOWEST].tolist():
            rank = int(latency[place]), -int(plain.id[place])
            if len(self._slowest) < SLOWEST or rank > self._slowest[0][:2]:
                self._note_slow(rank, plain.command(place, names))

    def _row(self, protocol: str, operation: str, owner: Owner) -> Row:
        key = str(protocol), operation, owner.host, owner.vm, owner.datastore
        row = self.rows.get(key)
        if row is None:
            if len(self.rows) >= MAX_ROWS:
                key = "other", "other", "", "", ""
            row = self.rows.setdefault(key, Row())
        return row

    def _note_slow(self, rank: tuple[int, int], command: Command) -> None:
        self._noted += 1
        item = *rank, self._noted, command
        if len(self._slowest) < SLOWEST:
            heapq.heappush(self._slowest, item)
        else:
            heapq.heapreplace(self._slowest, item)

    @property
    def slowest(self) -> list[Command]:
        """The slowest, slowest first."""
        return [command for *_, command in sorted(self._slowest, reverse=True)]

    @property
    def seconds(self) -> float:
        """From the first request to the last response."""
        return 0.0 if self.first is None or self.last is None else (self.last - self.first) / 1e9

    def sorted_rows(self) -> list[tuple[Key, Row]]:
        """The rows, those that took most of the time first."""
        return sorted(self.rows.items(), key=lambda item: (-item[1].latency.total, item[0]))

    def to_json(self) -> dict[str, Any]:
        """The same as plain values; latencies in nanoseconds."""
        return {
            "commands": self.count,
            "seconds": self.seconds,
            "operations": [
                {
                    **dict(zip(("protocol", "operation", "host", "vm", "datastore"), key, strict=True)),
                    "count": row.count,
                    "sent": row.sent,
                    "received": row.received,
                    "depth": round(row.depth / row.count, 2),
                    "deepest": row.deepest,
                    "p50": row.latency.percentile(0.50),
                    "p95": row.latency.percentile(0.95),
                    "p99": row.latency.percentile(0.99),
                    "max": row.latency.largest,
                    "retransmissions": row.retransmissions,
                    "errors": dict(row.errors),
                }
                for key, row in self.sorted_rows()
            ],
            "slowest": [command.id for command in self.slowest],
        }
