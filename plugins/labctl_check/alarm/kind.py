"""Kind `alarm`: a threshold that labd watches by itself while the lab is up."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, cast

from pydantic import ConfigDict, Field

from labctl.model.json import JsonObject
from labctl.model.problem import Problem
from labctl.model.quantity import Seconds
from labctl.model.resource import Resource, Spec
from labctl.plugin.api import Action, ActionContext, CompileView, Description, Kind, TopologyView
from labctl_check.alarm.watch import Labels, Threshold, Watch


class AlarmSpec(Spec):
    """The table `[alarm.NAME]`."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    metric: Annotated[
        str, Field(pattern=r"^[a-zA-Z_:][a-zA-Z0-9_:]*$", description="A metric, as `labctl metrics` has it.")
    ]
    labels: Annotated[
        dict[str, str], Field(default_factory=dict, description="Which of its series, with * and ?: { vm = 'web*' }.")
    ]
    above: Annotated[float | None, Field(description="Raised by more; of a counter, by more a second.")] = None
    below: Annotated[float | None, Field(description="Raised by less.")] = None
    lasting: Annotated[Seconds, Field(alias="for", ge=0, description="How long it must have been so.")] = 0.0
    every: Annotated[Seconds, Field(ge=1, le=3600, description="How often it is looked at.")] = 10.0


class AlarmKind(Kind[AlarmSpec]):
    """An alarm; it makes nothing, and is told by events."""

    name = "alarm"
    summary = "a threshold on a metric that labd watches"
    spec = AlarmSpec

    def __init__(self) -> None:
        self._watches: dict[str, Watch] = {}

    def check(self, resource: Resource[AlarmSpec], view: TopologyView) -> Iterable[Problem]:
        """It has one threshold."""
        if (resource.spec.above is None) == (resource.spec.below is None):
            yield Problem(
                path=resource.path(),
                message="an alarm is about one threshold, above or below",
                hint="write one of them: above = 0.9",
            )

    def describe(self, resource: Resource[AlarmSpec], view: CompileView) -> Description:
        """What it is about."""
        spec = resource.spec
        wanted = ", ".join(f"{key} {value}" for key, value in spec.labels.items())
        lasting = f" for {spec.lasting:g} s" if spec.lasting else ""
        return Description(
            summary=f"{spec.metric}{f' ({wanted})' if wanted else ''} {_threshold(spec)}{lasting}",
            drawn="none",
            properties={"metric": spec.metric, "above": spec.above, "below": spec.below, "for": spec.lasting},
        )

    def actions(self) -> Mapping[str, Action]:
        """What is raised."""
        return {"alarm": self.show}

    async def show(self, _context: ActionContext, resource: Resource[Any], _arguments: JsonObject) -> JsonObject:
        """`state`: raised, ok, or unknown where nobody tells the metric; `raised`: labels, value and since of each. No arguments."""
        watch = self._watch(resource)
        raised = [
            {"labels": dict(labels), "value": series.value, "since": series.since}
            for labels, series in watch.raised.items()
        ]
        state = "raised" if raised else "ok" if watch.known else "unknown"
        return {"alarm": resource.name, "state": state, "raised": cast("Any", raised)}

    async def tend(self, context: ActionContext, resource: Resource[AlarmSpec]) -> float:
        """Look at the metric, and tell of what changed."""
        watch = self._watch(resource)
        told = await context.metrics()
        for change in watch.look(time.time(), cast("list[dict[str, Any]]", told["metrics"])):
            value = "gone" if change.value is None else f"{change.value:g}"
            context.services.emit(
                f"alarm.{'raised' if change.raised else 'cleared'}",
                resource=resource.address,
                message=f"{resource.spec.metric}{_shown(change.labels)} is {value}, {_threshold(resource.spec)}"
                if change.raised
                else f"{resource.spec.metric}{_shown(change.labels)} is {value}",
            )
        return resource.spec.every

    def _watch(self, resource: Resource[AlarmSpec]) -> Watch:
        """What is remembered of an alarm; anew where it is about something else."""
        threshold = _threshold(resource.spec)
        watch = self._watches.get(resource.name)
        if watch is None or watch.threshold != threshold:
            watch = self._watches[resource.name] = Watch(threshold)
        return watch


def _threshold(spec: AlarmSpec) -> Threshold:
    return Threshold(metric=spec.metric, labels=spec.labels, above=spec.above, below=spec.below, lasting=spec.lasting)


def _shown(labels: Labels) -> str:
    return f"{{{', '.join(f'{key}={value}' for key, value in labels)}}}" if labels else ""
