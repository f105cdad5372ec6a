"""`labctl down`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from labctl.cli import completion, options
from labctl.cli.output import print_json, write
from labctl.cli.progress import watch
from labctl.cli.target import home_of

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
    name = lab or _only_lab(place)
    with take_down(place, name, purge=purge) as stream:
        report = watch(stream, lab=name, what="down", json_lines=json)
    if json:
        print_json({"report": report})
    else:
        write(f"lab {name} is down")


def _only_lab(place: Path) -> str:
    from labctl.daemon.launcher import known_labs
    from labctl.errors import NotRunningError, UsageError

    known = known_labs(place)
    if not known:
        raise NotRunningError("there is no lab to take down")
    if len(known) > 1:
        raise UsageError(f"there are several labs: {', '.join(known)}", hint=f"say which: labctl down {known[0]}")
    return known[0]
