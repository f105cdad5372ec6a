"""Whether an alarm is raised, from one look at a lab's metrics after the other. Pure: time comes with the metrics.

Each series of the metric (each combination of its labels) is judged by itself. A counter is judged by its rate, from two looks; one
that fell began anew with what it counts, and is not judged this time. A series that is gone is no longer raised.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """What an alarm is about.

    Args:
        metric: its name.
        labels: label → what its value must match, with `*` and `?`.
        above: raised by a value above this, or None.
        below: raised by a value below this, or None.
        lasting: seconds that this must have been so.
    """

    metric: str
    labels: Mapping[str, str]
    above: float | None
    below: float | None
    lasting: float

    def crossed(self, value: float) -> bool:
        """Whether a value is one to be alarmed of."""
        return (self.above is not None and value > self.above) or (self.below is not None and value < self.below)

    def __str__(self) -> str:
        return f"above {self.above:g}" if self.above is not None else f"below {self.below:g}"


@dataclass(kw_only=True)
class Series:
    """One series that is, or may come to be, raised.

    Args:
        value: the last one; a counter's is a second.
        since: when the threshold was crossed.
        raised: whether that has lasted long enough.
    """

    value: float
    since: float
    raised: bool = False


@dataclass(frozen=True, kw_only=True)
class Change:
    """An alarm that was raised or cleared.

    Args:
        labels: of the series.
        raised: which of the two.
        value: the value that did it; None: the series is gone.
    """

    labels: Labels
    raised: bool
    value: float | None


class Watch:
    """Remembers what was seen for one alarm.

    Args:
        threshold: what it is about.
    """

    def __init__(self, threshold: Threshold) -> None:
        self.threshold = threshold
        self.known = False
        self.crossed: dict[Labels, Series] = {}
        self._counters: dict[Labels, tuple[float, float]] = {}

    def look(self, now: float, metrics: Iterable[Mapping[str, Any]]) -> list[Change]:
        """Take in a lab's metrics as labd tells them; what changed by it.

        Args:
            now: in seconds.
            metrics: each with `name`, `type` and `samples`.
        """
        values = self._values(now, metrics)
        changes = []
        for labels in [each for each in self.crossed if each not in values or not self.threshold.crossed(values[each])]:
            if self.crossed.pop(labels).raised:
                changes.append(Change(labels=labels, raised=False, value=values.get(labels)))
        for labels, value in values.items():
            if not self.threshold.crossed(value):
                continue
            series = self.crossed.setdefault(labels, Series(value=value, since=now))
            series.value = value
            if not series.raised and now - series.since >= self.threshold.lasting:
                series.raised = True
                changes.append(Change(labels=labels, raised=True, value=value))
        return changes

    @property
    def raised(self) -> dict[Labels, Series]:
        """The series that are raised."""
        return {labels: series for labels, series in self.crossed.items() if series.raised}

    def _values(self, now: float, metrics: Iterable[Mapping[str, Any]]) -> dict[Labels, float]:
        found: dict[Labels, float] = {}
        self.known = False
        for metric in metrics:
            if metric["name"] != self.threshold.metric:
                continue
            self.known = True
            read = {tuple(sorted(each["labels"].items())): float(each["value"]) for each in metric["samples"]}
            own = {labels: value for labels, value in read.items() if self._is_meant(dict(labels))}
            found |= self._rates(now, own) if metric["type"] == "counter" else own
        return found

    def _is_meant(self, labels: Mapping[str, str]) -> bool:
        return all(fnmatchcase(labels.get(key, ""), wanted) for key, wanted in self.threshold.labels.items())

    def _rates(self, now: float, read: Mapping[Labels, float]) -> dict[Labels, float]:
        before, self._counters = self._counters, {labels: (now, value) for labels, value in read.items()}
        return {
            labels: (value - before[labels][1]) / (now - before[labels][0])
            for labels, value in read.items()
            if labels in before and value >= before[labels][1] and now > before[labels][0]
        }
