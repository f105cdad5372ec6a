"""`labctl events`."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from labctl.cli import options
from labctl.cli.output import print_json_line, write
from labctl.cli.target import lab_client

app = typer.Typer(add_completion=False)

EPILOG = """Examples:

  labctl events                            what happened, as far as it is kept

  labctl events -f --json | jq .event      as it happens, for programs
"""

KNOWN = ("resource", "message")


@app.command(epilog=EPILOG)
def events(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what happens.")] = False,
    since: Annotated[int, typer.Option("--since", help="Only what came after this number.")] = 0,
    lab: options.Lab = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Show what happened in the lab; -f follows."""
    query = {"since": since, "follow": "true" if follow else "false"}
    try:
        for entry in lab_client(lab, home).stream("GET", "/v1/events", query=query):
            if json:
                print_json_line(entry)
            else:
                write(_line(entry))
    except KeyboardInterrupt:
        raise typer.Exit from None


def _line(entry: dict[str, Any]) -> str:
    clock = time.strftime("%H:%M:%S", time.localtime(float(entry.get("time", 0))))
    properties = entry.get("properties") or {}
    rest = " ".join(f"{key}={value}" for key, value in properties.items() if key not in KNOWN)
    parts = (clock, entry.get("event"), properties.get("resource"), properties.get("message"), rest)
    return "  ".join(str(part) for part in parts if part)
