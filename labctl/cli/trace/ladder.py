"""`labctl trace ladder`."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from labctl.cli.output import note, write
from labctl.cli.trace.list import File
from labctl.errors import LabError, UsageError
from labctl.trace.command import Command
from labctl.trace.reader import read
from labctl.trace.views import ladder as view

app = typer.Typer(add_completion=False)

EPILOG = """Examples:

  labctl trace ladder day.pcapng                      the first session's first 40 commands, as text

  labctl trace ladder day.pcapng --session 2 --svg login.svg
"""

_MOST = 100_000


@app.command(epilog=EPILOG)
def ladder(
    file: File,
    session: Annotated[
        int,
        typer.Option(
            "--session", help="Which of its sessions, from 1, in the order in which their first commands ended.", min=1
        ),
    ] = 1,
    first: Annotated[int, typer.Option("--from", help="Begin at this command of the session.", min=1)] = 1,
    count: Annotated[int, typer.Option("--count", help="So many commands.", min=1, max=_MOST)] = 40,
    svg: Annotated[Path | None, typer.Option("--svg", help="Draw it into this file.", dir_okay=False)] = None,
) -> None:
    """Draw what two ends said to one another: a login, a write by R2T, a mount, from top to bottom."""
    chosen = _commands(file, session, first, count)
    client, server = str(chosen[0].client), str(chosen[0].server)
    arrows = view.steps(chosen)
    if svg is None:
        for line in view.text(client, server, arrows):
            write(line)
        return
    try:
        svg.write_text(view.svg(client, server, arrows))
    except OSError as error:
        raise LabError(f"cannot write {svg}: {error.strerror}", hint="name another file") from error
    note(f"{svg}: {len(arrows)} arrows")


def _commands(file: str, session: int, first: int, count: int) -> list[Command]:
    """The commands that are meant, in memory that the capture's length does not matter to."""
    numbers: dict[str, int] = {}
    total = 0

    def wanted() -> Iterator[Command]:
        nonlocal total
        for command in read(file):
            number = numbers.setdefault(f"{command.session} {command.client}", len(numbers) + 1)
            if number == session:
                total += 1
                yield command

    chosen = heapq.nsmallest(first - 1 + count, wanted(), key=lambda command: command.id)[first - 1 :]
    if not total:
        raise UsageError(f"{file} has no session {session}", hint=f"it has {len(numbers)}, from 1")
    if not chosen:
        raise UsageError(f"session {session} has {total} commands", hint="give --from a smaller number")
    return chosen
