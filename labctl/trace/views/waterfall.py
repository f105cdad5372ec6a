"""Where the time of one command went: between its packets, and between the stages that its server noted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from labctl.trace.command import Command
from labctl.trace.record import Annotation
from labctl.trace.reports import words
from labctl.trace.stages import STAGES

_WIDTH: Final = 50
"""Characters of a bar for the whole command."""

_SPANS: Final = (
    ("request and its data on the way", "start", "queued"),
    ("in the server's queue", "queued", "started"),
    ("before the store", "started", "store-begin"),
    ("the backing store", "store-begin", "store-end"),
    ("in the server, done but not answered", "store-end", "responded"),
    ("in the server, without the store", "started", "responded"),
    ("in the server, refused", "queued", "responded"),
    ("response on the way", "responded", "end"),
)


@dataclass(frozen=True, kw_only=True)
class Span:
    """A part of a command's time.

    Args:
        name: what happened in it.
        begin: nanoseconds since the command began.
        end: likewise.
    """

    name: str
    begin: int
    end: int


def stages_of(command: Command, annotations: Iterable[Annotation]) -> dict[str, int]:
    """The stages that its server noted for a command, in nanoseconds since 1970; empty where there are none.

    A tag comes again, so it is the one that was queued while the command was under way.
    """
    asked = {"tag": command.tag, "client": str(command.client), "server": str(command.server)}
    end = command.end or 0
    for note in annotations:
        data = note.data
        if note.kind != "stages" or any(data.get(key) != value for key, value in asked.items()):
            continue
        queued = data.get("queued")
        if isinstance(queued, int) and command.start <= queued <= end:
            return {stage: at for stage in STAGES if isinstance(at := data.get(stage), int)}
    return {}


def spans(command: Command, stages: dict[str, int]) -> list[Span]:
    """A command's time, part by part; one part where its server noted nothing.

    Clocks are one (a lab's servers and its captures run on the same machine), so parts follow one another.
    """
    if command.end is None:
        return []
    if not stages:
        return [Span(name="request, server and response", begin=0, end=command.end - command.start)]
    at = {"start": command.start, **stages, "end": command.end}
    found, reached = [], "start"
    for name, begin, end in _SPANS:
        if begin == reached and end in at:
            found.append(Span(name=name, begin=at[begin] - command.start, end=at[end] - command.start))
            reached = end
    return [span for span in found if span.end > span.begin]


def text(command: Command, stages: dict[str, int]) -> Iterator[str]:
    """Lines for people: a bar for each part."""
    yield f"command {command.id}: {command.operation} {words.thing(command)}".rstrip()
    if command.end is None:
        yield "no response was seen"
        return
    whole = max(command.end - command.start, 1)
    yield f"{words.duration(whole)}, {words.outcome(command)}"
    parts = spans(command, stages)
    width = max(len(part.name) for part in parts)
    for part in parts:
        begin = part.begin * _WIDTH // whole
        size = max(1, (part.end * _WIDTH + whole - 1) // whole - begin)
        bar = " " * begin + "#" * min(size, _WIDTH - begin)
        yield f"{part.name:<{width}}  |{bar:<{_WIDTH}}|  {words.duration(part.end - part.begin)}"
    if command.round_trips:
        trips = "one R2T" if command.round_trips == 1 else f"{command.round_trips} R2Ts"
        yield f"the request's data was asked for by {trips}"
    if not stages:
        yield "the server's own times are not in the capture: record with --stages"


def to_json(command: Command, stages: dict[str, int]) -> dict[str, Any]:
    """The same as plain values, in nanoseconds since the command began."""
    parts: Sequence[Span] = spans(command, stages)
    return {
        "id": command.id,
        "operation": command.operation,
        "latency": command.latency,
        "round_trips": command.round_trips,
        "parts": [{"name": part.name, "begin": part.begin, "end": part.end} for part in parts],
    }
