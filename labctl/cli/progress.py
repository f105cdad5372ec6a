"""Shows a long operation while it runs: live on a terminal, plain lines elsewhere.

It reads labd's stream of `waiting`, `progress` and `report` objects. Interrupting it stops the watching, not the work.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import typer

from labctl.cli.output import note, print_json_line
from labctl.errors import LabError

INTERRUPTED = 130
"""The shell's exit code for a command ended by ctrl-C (128 + SIGINT)."""


class Display(Protocol):
    """Where progress goes."""

    def show(self, entry: dict[str, Any]) -> None:
        """One object of the stream."""


def watch(stream: Iterable[dict[str, Any]], *, lab: str, what: str, json_lines: bool) -> dict[str, Any]:
    """Show a stream until its report, and return that.

    Args:
        stream: labd's objects.
        lab: the lab's name, for what is said when the user interrupts.
        what: `up` or `down`.
        json_lines: print every object as JSON instead.

    Raises:
        LabError: the operation failed, or the stream ended without a report.
    """
    try:
        with _display(json_lines) as display:
            for entry in stream:
                if "report" in entry:
                    report = entry["report"]
                    return dict(report) if isinstance(report, dict) else {}
                display.show(entry)
    except KeyboardInterrupt:
        note(f"interrupted; labd goes on with the {what} of lab {lab}: `labctl events -f --lab {lab}` shows it,")
        note(f"`labctl {what}` again waits for its end, and `labctl down {lab}` takes everything away")
        raise typer.Exit(INTERRUPTED) from None
    raise LabError(f"labd ended in the middle of the {what} of lab {lab}", hint=f"`labctl {what}` again finishes it")


@contextmanager
def _display(json_lines: bool) -> Iterator[Display]:
    if json_lines:
        yield _JsonLines()
    elif sys.stderr.isatty():
        with _live() as live:
            yield live
    else:
        yield _Plain()


class _JsonLines:
    """Each object on a line of stdout."""

    def show(self, entry: dict[str, Any]) -> None:
        print_json_line(entry)


class _Plain:
    """A line for each step that ends, and for what a long one is at; nothing twice."""

    def __init__(self) -> None:
        self._shown: set[str] = set()

    def show(self, entry: dict[str, Any]) -> None:
        text = describe(entry)
        if text and text not in self._shown:
            self._shown.add(text)
            note(text)


class _Live:
    """A bar with what is at work now."""

    def __init__(self, progress: Any, task: Any) -> None:
        self._progress = progress
        self._task = task
        self._started = 0

    def show(self, entry: dict[str, Any]) -> None:
        step = entry.get("progress", {})
        text = describe(entry, whole=False)
        phase = step.get("phase") if isinstance(step, dict) else None
        self._started += phase == "started"
        if phase in ("done", "failed", "skipped"):
            self._progress.update(self._task, total=max(self._started, 1), advance=1)
        if text:
            self._progress.update(self._task, description=text)


@contextmanager
def _live() -> Iterator[_Live]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield _Live(progress, progress.add_task("starting", total=None))


def describe(entry: dict[str, Any], *, whole: bool = True) -> str:
    """A progress object in words; "" for one that says nothing to people.

    Args:
        entry: the object.
        whole: whether each one stays to be read, so that a step need not be told both when it begins and when it ends.
    """
    if "waiting" in entry:
        return str(entry["waiting"])
    step = entry.get("progress")
    if not isinstance(step, dict):
        return ""
    phase, verb, unit, message = (str(step.get(key) or "") for key in ("phase", "verb", "unit", "message"))
    text = {
        "started": f"{verb} {unit}",
        "done": f"{verb} {unit}: done",
        "failed": f"{verb} {unit}: failed: {message}",
        "skipped": f"{verb} {unit}: skipped, {message}",
        "at": f"{verb} {unit}: {message}",
    }.get(phase, "")
    return "" if whole and phase == "started" else text
