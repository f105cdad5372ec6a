"""`labctl trace waterfall`."""

from __future__ import annotations

from typing import Annotated

import typer

from labctl.cli import options
from labctl.cli.output import print_json, write
from labctl.cli.trace.list import File
from labctl.errors import UsageError
from labctl.trace.reader import Trace
from labctl.trace.views import waterfall as view

app = typer.Typer(add_completion=False)

EPILOG = (
    """Example: labctl trace record -o day.pcapng --stages --duration 10; labctl trace waterfall day.pcapng --id 227"""
)


@app.command(epilog=EPILOG)
def waterfall(
    file: File,
    number: Annotated[int, typer.Option("--id", help="The command's number, as `list` and `summary` show it.", min=1)],
    json: options.Json = False,
) -> None:
    """Show where the time of one command went: on the way, in the server's queue, in its store."""
    trace = Trace(file)
    found, last = None, 0
    for command in trace:  # to the end: stages may stand behind the command's packets
        last = max(last, command.id)
        if command.id == number:
            found = command
    if found is None:
        raise UsageError(f"{file} has no command {number}", hint=f"it has {last}: labctl trace list {file}")
    stages = view.stages_of(found, trace.annotations)
    if json:
        print_json(view.to_json(found, stages))
        return
    for line in view.text(found, stages):
        write(line)
