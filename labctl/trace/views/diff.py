"""Two captures compared: what changed in operations, sizes and latencies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from labctl.trace.reports.summary import Key, Row, Summary


@dataclass(frozen=True, kw_only=True)
class Change:
    """A kind of command in both captures; one of the rows is empty where it is in one alone.

    Args:
        key: protocol, operation, host, VM, datastore.
        before: in the first.
        after: in the second.
    """

    key: Key
    before: Row
    after: Row

    def latency(self, share: float) -> tuple[int | None, int | None]:
        """A percentile before and after."""
        return self.before.latency.percentile(share), self.after.latency.percentile(share)

    @property
    def slower(self) -> float | None:
        """How many times as long the median takes; None where it is not in both."""
        before, after = self.latency(0.5)
        return None if not before or after is None else after / before


def changes(before: Summary, after: Summary) -> Iterator[Change]:
    """Every kind of command, those that changed most first: new and gone ones, then by the ratio of the medians."""
    keys = dict.fromkeys([*before.rows, *after.rows])
    found = [Change(key=key, before=before.rows.get(key, Row()), after=after.rows.get(key, Row())) for key in keys]

    def weight(change: Change) -> tuple[float, Key]:
        ratio = change.slower
        return (-1e9 if ratio is None else -max(ratio, 1 / ratio if ratio else 1e9)), change.key

    yield from sorted(found, key=weight)


def size(row: Row) -> int | None:
    """Mean bytes of a command, both ways; None where there is none."""
    return (row.sent + row.received) // row.count if row.count else None


def to_json(before: Summary, after: Summary) -> list[dict[str, Any]]:
    """The same as plain values; latencies in nanoseconds."""
    return [
        {
            **dict(zip(("protocol", "operation", "host", "vm", "datastore"), change.key, strict=True)),
            **{
                name: {
                    "count": row.count,
                    "size": size(row),
                    "p50": row.latency.percentile(0.5),
                    "p99": row.latency.percentile(0.99),
                    "errors": sum(row.errors.values()),
                }
                for name, row in (("before", change.before), ("after", change.after))
            },
            "slower": change.slower,
        }
        for change in changes(before, after)
    ]
