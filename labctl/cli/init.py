"""`labctl init`: a topology to begin with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from labctl.cli import options
from labctl.cli.output import print_json, write
from labctl.cli.source import read_topology
from labctl.errors import ConflictError

app = typer.Typer(add_completion=False)


@app.command(epilog="Examples: labctl init | labctl init my-lab.toml --from quickstart")
def init(
    file: Annotated[Path, typer.Argument(help="The file to write.")] = Path("lab.toml"),
    example: Annotated[str, typer.Option("--from", help="The shipped topology to begin with.")] = "minimal",
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    as_json: options.Json = False,
) -> None:
    """Write a topology to begin with, from a shipped example."""
    if file.exists() and not force:
        raise ConflictError(f"{file} is there already", hint="name another file, or add --force to replace it")
    file.write_text(read_topology(example).text, encoding="utf-8")
    if as_json:
        print_json({"file": str(file), "from": example})
        return
    write(f"wrote {file}; edit it, then: labctl up {file}")
