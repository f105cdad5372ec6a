"""`labctl inspect`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from labctl.cli import completion, options
from labctl.cli.output import print_json, write
from labctl.cli.resource import find
from labctl.cli.target import lab_client

app = typer.Typer(add_completion=False)

EPILOG = """Examples:

  labctl inspect vm.web1                   by address

  labctl inspect web1                      by name, where only one resource has it
"""


@app.command(epilog=EPILOG)
def inspect(
    resource: Annotated[
        str, typer.Argument(help="kind.name, or a name.", autocompletion=completion.resources, show_default=False)
    ],
    lab: options.Lab = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Show everything known of a resource: how it is described, its state, its units and what was learnt in making them."""
    client = lab_client(lab, home)
    item = find(client, resource)
    answer = client.get(f"/v1/resources/{item['kind']}/{item['name']}")
    if json:
        print_json(answer)
        return
    _tree(answer, 0)


def _tree(value: dict[str, Any], depth: int) -> None:
    for key, inner in value.items():
        _branch(str(key), inner, depth)


def _branch(key: str, value: Any, depth: int) -> None:
    indent = "  " * depth
    if isinstance(value, dict) and value:
        write(f"{indent}{key}:")
        _tree(value, depth + 1)
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        write(f"{indent}{key}:")
        for item in value:
            write(f"{indent}  -")
            _tree(item, depth + 2) if isinstance(item, dict) else write(f"{indent}    {item}")
    elif value not in (None, "", [], {}):
        shown = ", ".join(str(item) for item in value) if isinstance(value, list) else value
        write(f"{indent}{key}: {shown}")
