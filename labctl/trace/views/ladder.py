"""Ladder diagrams: what two ends say to one another, from top to bottom, as text and as SVG."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from labctl.trace.command import Command
from labctl.trace.reports import words

_COLUMN: Final = 64
"""Characters between the two ends."""

_ROW: Final = 26
_LEFT: Final = 190
_RIGHT: Final = 710
_SVG_WIDTH: Final = 900


@dataclass(frozen=True, kw_only=True)
class Step:
    """An arrow.

    Args:
        time: nanoseconds since the first.
        towards_server: its direction.
        label: what is written on it.
        good: whether it is no failure.
    """

    time: int
    towards_server: bool
    label: str
    good: bool = True


def steps(commands: Sequence[Command]) -> list[Step]:
    """The arrows of commands, in the order of their times: each request, the R2Ts it took, and each response."""
    found: list[tuple[int, int, Step]] = []
    if not commands:
        return []
    first = min(command.start for command in commands)
    for command in commands:
        if command.part:
            continue
        size = f" {words.size(command.length)}" if command.length else ""
        at = f" @{command.offset}" if command.offset is not None else ""
        asked = " ".join(part for part in (command.operation, words.thing(command)) if part)
        label = f"{asked}{at}{size}"
        found.append((command.start, command.id, Step(time=command.start - first, towards_server=True, label=label)))
        if command.end is not None:
            trips = f", after {command.round_trips} R2T" if command.round_trips else ""
            label = f"{words.outcome(command)} ({words.duration(command.latency)}{trips})"
            step = Step(time=command.end - first, towards_server=False, label=label, good=command.good)
            found.append((command.end, command.id, step))
    return [step for _, _, step in sorted(found, key=lambda item: item[:2])]


def text(client: str, server: str, arrows: Sequence[Step]) -> Iterator[str]:
    """Lines for people."""
    yield f"{'':>12}  {client:<{_COLUMN // 2}}{server:>{_COLUMN // 2}}"
    for step in arrows:
        label = step.label if len(step.label) <= _COLUMN - 8 else f"{step.label[: _COLUMN - 9]}…"
        room = _COLUMN - 6 - len(label)
        line = "-" * (room // 2) + f" {label} " + "-" * (room - room // 2)
        arrow = f"|{line}>|" if step.towards_server else f"|<{line}|"
        yield f"{words.duration(step.time):>12}  {arrow}"


def svg(client: str, server: str, arrows: Sequence[Step]) -> str:
    """A drawing that stands by itself; whatever came from the wire is escaped."""
    height = 60 + _ROW * len(arrows)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_SVG_WIDTH}" height="{height}" viewBox="0 0 {_SVG_WIDTH} {height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{_SVG_WIDTH}" height="{height}" fill="white"/>',
        '<defs><marker id="a" markerWidth="9" markerHeight="9" refX="8" refY="4" orient="auto">'
        '<path d="M0,0 L9,4 L0,8 z"/></marker></defs>',
    ]
    for x, name in ((_LEFT, client), (_RIGHT, server)):
        parts.append(f'<text x="{x}" y="22" text-anchor="middle" font-weight="bold">{escape(name)}</text>')
        parts.append(f'<line x1="{x}" y1="32" x2="{x}" y2="{height - 10}" stroke="#888"/>')
    for number, step in enumerate(arrows):
        y = 60 + _ROW * number
        begin, end = (_LEFT, _RIGHT) if step.towards_server else (_RIGHT, _LEFT)
        colour = "black" if step.good else "#c00"
        parts.append(
            f'<text x="{_LEFT - 12}" y="{y}" text-anchor="end" fill="#666">{escape(words.duration(step.time))}</text>'
        )
        parts.append(f'<line x1="{begin}" y1="{y}" x2="{end}" y2="{y}" stroke="{colour}" marker-end="url(#a)"/>')
        middle = (_LEFT + _RIGHT) // 2
        parts.append(
            f'<text x="{middle}" y="{y - 5}" text-anchor="middle" fill="{colour}">{escape(step.label[:90])}</text>'
        )
    return "\n".join([*parts, "</svg>", ""])
