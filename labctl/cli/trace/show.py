"""`labctl trace show`."""

from __future__ import annotations

from typing import Annotated

import typer

from labctl.cli import options
from labctl.cli.output import print_json, write
from labctl.cli.trace.list import File
from labctl.errors import UsageError
from labctl.trace.reader import Trace, to_rows
from labctl.trace.views import show as view

app = typer.Typer(add_completion=False)

EPILOG = """Example: labctl trace show day.pcapng --id 227"""


@app.command(epilog=EPILOG)
def show(
    file: File,
    number: Annotated[int, typer.Option("--id", help="The command's number, as `list` and `summary` show it.", min=1)],
    json: options.Json = False,
) -> None:
    """Show one command in full: every PDU or RPC record of it with every field, and its bytes."""
    trace = Trace(file, wanted=number)
    found, last = None, 0
    for command in trace:
        last = max(last, command.id)
        if command.id == number:
            found = command
            break
    if found is None:
        raise UsageError(f"{file} has no command {number}", hint=f"it has {last}: labctl trace list {file}")
    if json:
        print_json({"command": next(to_rows(iter((found,)))), "messages": view.to_json(found, trace.messages)})
        return
    for line in view.text(found, trace.messages):
        write(line)
