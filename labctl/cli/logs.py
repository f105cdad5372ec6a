"""`labctl logs`."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

import typer

from labctl.cli import completion, options
from labctl.cli.output import print_json_line, write
from labctl.cli.target import lab_client

app = typer.Typer(add_completion=False)

EPILOG = """Examples:

  labctl logs esx1 -f                      what the agent of esx1 says

  labctl logs labd -n 20                   the end of labd's own log
"""


@app.command(epilog=EPILOG)
def logs(
    node: Annotated[
        str,
        typer.Argument(help="A host, an array, or labd.", autocompletion=completion.nodes, show_default=False),
    ],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is written.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of the last lines.")] = 100,
    lab: options.Lab = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Show a node's log; -f follows."""
    query = {"lines": lines, "follow": "true" if follow else "false"}
    try:
        for entry in lab_client(lab, home).stream("GET", f"/v1/logs/{quote(node)}", query=query):
            if json:
                print_json_line(entry)
            else:
                write(str(entry.get("line", "")))
    except KeyboardInterrupt:
        raise typer.Exit from None
