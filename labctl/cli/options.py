"""Options and arguments that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from labctl.cli import completion

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of text for people.")]

Lab = Annotated[
    str | None,
    typer.Option(
        "--lab",
        help="Which lab; the only one that runs where this is left out.",
        autocompletion=completion.labs,
    ),
]

Home = Annotated[
    Path | None,
    typer.Option("--home", help="Where labs are kept.", envvar="LABCTL_HOME", show_envvar=True, file_okay=False),
]

Node = Annotated[
    str, typer.Argument(help="A host, an array, a node or a VM.", autocompletion=completion.nodes, show_default=False)
]

Topology = Annotated[
    str,
    typer.Argument(
        help="A topology's file, or the name of a shipped example.",
        autocompletion=completion.topologies,
        show_default=False,
    ),
]

Name = Annotated[str | None, typer.Option("--name", help="The lab's name instead of the topology's.")]
