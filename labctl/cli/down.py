"""`labctl down`."""

from __future__ import annotations

from typing import Annotated

import typer

from labctl.cli import completion, options
from labctl.cli.output import print_json, write
from labctl.cli.progress import watch
from labctl.cli.target import home_of, only_lab

app = typer.Typer(add_completion=False)

EPILOG = """Examples:

  labctl down                              the only lab that runs

  labctl down blue --purge                 the lab blue, with its persistent disks
"""


@app.command(epilog=EPILOG)
def down(
    lab: Annotated[
        str | None, typer.Argument(help="Which lab; the only one where left out.", autocompletion=completion.labs)
    ] = None,
    purge: Annotated[bool, typer.Option("--purge", help="Delete persistent disks too.")] = False,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Take a lab down and leave nothing behind: exactly what the journal lists is removed."""
    from labctl.daemon.launcher import take_down

    place = home_of(home)
    name = lab or only_lab(place)
    with take_down(place, name, purge=purge) as stream:
        report = watch(stream, lab=name, what="down", json_lines=json)
    if json:
        print_json({"report": report})
    else:
        write(f"lab {name} is down")
