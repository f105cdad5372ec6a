"""`labctl status`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from labctl.cli import completion, options
from labctl.cli.output import print_json, print_table, write
from labctl.cli.summary import print_resources
from labctl.cli.target import home_of, lab_client

app = typer.Typer(add_completion=False)

EPILOG = """Examples:

  labctl status                            the lab that runs, or the list of them

  labctl status blue --json
"""


@app.command(epilog=EPILOG)
def status(
    lab: Annotated[
        str | None,
        typer.Argument(help="Which lab; all of them, shortly, where several run.", autocompletion=completion.labs),
    ] = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Show what runs, and how it is."""
    from labctl.daemon.launcher import known_labs, running_labs

    place = home_of(home)
    known = known_labs(place) if lab is None else [lab]
    if len(known) > 1:
        _list(known, running_labs(place), json)
        return
    answer = lab_client(lab, place).get("/v1/status", {"observe": "true"})
    if json:
        print_json(answer)
        return
    _render(answer)


def _list(known: list[str], running: list[str], json: bool) -> None:
    states = {name: "running" if name in running else "labd is not running" for name in known}
    if json:
        print_json({"labs": [{"name": name, "state": state} for name, state in states.items()]})
        return
    print_table(("lab", "state"), list(states.items()))
    write(f"`labctl status {known[0]}` shows one of them")


def _render(answer: dict[str, Any]) -> None:
    lab = answer["lab"]
    write(f"lab {lab['name']}" + (" (rootless)" if lab.get("rootless") else ""))
    print_resources(answer)
    agents = answer.get("agents") or []
    if agents:
        write("")
        print_table(("agent", "state"), [(str(agent["node"]), str(agent["state"])) for agent in agents])
