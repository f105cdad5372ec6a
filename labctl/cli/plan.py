"""`labctl plan`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from labctl.cli import options
from labctl.cli.naming import lab_name
from labctl.cli.output import print_json, write
from labctl.cli.source import read_topology
from labctl.cli.summary import print_lines
from labctl.cli.target import home_of

app = typer.Typer(add_completion=False)

EPILOG = """Examples:

  labctl plan lab.toml                     what `labctl up lab.toml` would do now

  labctl plan lab.toml --json | jq .steps
"""


@app.command(epilog=EPILOG)
def plan(
    topology: options.Topology,
    name: options.Name = None,
    restart: Annotated[bool, typer.Option("--restart", help="As if `up` had --restart.")] = False,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Show what `up` would do; nothing is touched. A lab that does not run is planned from nothing."""
    source = read_topology(topology)
    lab = lab_name(source, name)
    from labctl.daemon.planning import plan_for

    answer = plan_for(home_of(home), lab, source.text, source.path, restart=restart)
    if json:
        print_json(answer)
        return
    _render(answer, lab)


def _render(answer: dict[str, Any], lab: str) -> None:
    print_lines(answer)
    steps = len(answer["steps"])
    write(f"lab {lab}: {steps} steps" if steps else f"lab {lab}: nothing to do")
