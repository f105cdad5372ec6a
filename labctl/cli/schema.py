"""`labctl schema`: the JSON Schema of topologies, for editors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from labctl.cli.output import note, print_json

app = typer.Typer(add_completion=False)


@app.command(
    epilog="Example: labctl schema -o labctl.schema.json, and `#:schema ./labctl.schema.json` at the top of a topology"
)
def schema(
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file instead of the terminal.")] = None,
) -> None:
    """Print the JSON Schema of topologies, made from the kinds that are installed."""
    import json

    from labctl.plugin.loader import load_plugins
    from labctl.topology.schema import json_schema

    made = json_schema(load_plugins().kinds)
    if output is None:
        print_json(made)
        return
    output.write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")
    note(f"wrote {output}")
