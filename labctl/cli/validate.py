"""`labctl validate`."""

from __future__ import annotations

import typer

from labctl.cli import options
from labctl.cli.naming import lab_name
from labctl.cli.output import note, print_json, write
from labctl.cli.source import read_topology
from labctl.errors import LabError

app = typer.Typer(add_completion=False)

EPILOG = """Examples:

  labctl validate lab.toml                 every error in one go, each with its line and a hint

  labctl validate lab.toml --json
"""


@app.command(epilog=EPILOG)
def validate(topology: options.Topology, name: options.Name = None, json: options.Json = False) -> None:
    """Check a topology without touching anything."""
    from labctl.plugin.loader import load_plugins
    from labctl.topology.errors import TopologyError, render
    from labctl.topology.load import load_text

    source = read_topology(topology)
    wanted = lab_name(source, name) if name is not None else None
    try:
        found = load_text(source.text, source.path, load_plugins(), name=wanted)
    except TopologyError as error:
        if not json:
            raise
        print_json({"ok": False, "problems": [render(problem) for problem in error.problems]})
        raise typer.Exit(int(error.exit_code)) from error
    except LabError as error:
        if not json:
            raise
        print_json({"ok": False, "problems": [error.message]})
        raise typer.Exit(int(error.exit_code)) from error
    warnings = [render(problem) for problem in found.warnings]
    if json:
        print_json({"ok": True, "problems": warnings, "resources": [str(address) for address in found.declared]})
        return
    for warning in warnings:
        note(warning)
    write(f"{source.path}: fine; {len(found.declared)} resources")
