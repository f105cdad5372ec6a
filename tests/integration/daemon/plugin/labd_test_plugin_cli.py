"""The commands of the test plugin."""

from __future__ import annotations

import sys

import typer

app = typer.Typer()


@app.command("list")
def list_things() -> None:
    """List things."""
    sys.stdout.write("things\n")
