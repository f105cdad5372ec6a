"""Metrics: what an agent tells at GET /v1/metrics, and labd of all of them.

Names and units are Prometheus's (https://prometheus.io/docs/practices/naming/): base units (seconds, bytes), `_total` for counters, which
begin anew with whatever they count. Labels name things as topologies do: `host`, `vm`, `disk`, `node`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from labctl.model.json import JsonObject

METRICS_PATH = "/v1/metrics"

MetricType = Literal["counter", "gauge"]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric with its values.

    Args:
        name: `labctl_vm_cpu_seconds_total`.
        type: whether it only grows.
        help: what it is, with its unit.
        samples: labels and value of each.
    """

    name: str
    type: MetricType
    help: str
    samples: list[tuple[Mapping[str, str], float]] = field(default_factory=list)

    def to_json(self) -> JsonObject:
        """As it is sent."""
        return {
            "name": self.name,
            "type": self.type,
            "help": self.help,
            "samples": [{"labels": dict(labels), "value": value} for labels, value in self.samples],
        }


class Metrics:
    """Metrics in the making; each is told once, however many values it has."""

    def __init__(self) -> None:
        self._metrics: dict[str, Metric] = {}

    def counter(self, name: str, meaning: str, value: float, /, **labels: str) -> None:
        """Add a value that only grows."""
        self._add(name, "counter", meaning, value, labels)

    def gauge(self, name: str, meaning: str, value: float, /, **labels: str) -> None:
        """Add a value that goes up and down."""
        self._add(name, "gauge", meaning, value, labels)

    def add(self, told: Iterable[Mapping[str, Any]]) -> None:
        """Add what an agent told."""
        for metric in told:
            for sample in metric["samples"]:
                self._add(
                    str(metric["name"]), metric["type"], str(metric["help"]), float(sample["value"]), sample["labels"]
                )

    def _add(self, name: str, kind: MetricType, meaning: str, value: float, labels: Mapping[str, str]) -> None:
        metric = self._metrics.get(name)
        if metric is None:
            metric = self._metrics[name] = Metric(name=name, type=kind, help=meaning)
        metric.samples.append((dict(labels), value))

    def __iter__(self) -> Iterator[Metric]:
        return iter(self._metrics.values())

    def to_json(self) -> list[JsonObject]:
        """As they are sent."""
        return [metric.to_json() for metric in self._metrics.values()]
