"""`labctl link`: the cables of a lab, and what they suffer."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from labctl.cli import options
from labctl.cli.output import print_json, print_table, write
from labctl.cli.target import lab_client
from labctl.daemon.client import DaemonClient
from labctl.errors import NotRunningError, UsageError
from labctl.model.suggest import did_you_mean

app = typer.Typer(add_completion=False, no_args_is_help=True)

SET_EPILOG = """Examples:

  labctl link set esx1/vmk1 --delay 20ms --jitter 5ms       a far-away array

  labctl link set esx1/vmk1 --loss 1% --direction from      only what esx1 sends

  labctl link set esx2/vmnic0 --down                        pull the uplink; --up plugs it in again

  labctl link set esx1/vmk1 --rate 100mbit --delay 0        a slow link, no longer a far one

  labctl link set esx1/vmk1 --clear
"""


@app.callback()
def link() -> None:
    """Links: slow, lossy, broken cables, ordered while the lab runs."""


@app.command("list", epilog="Example: labctl link list --json | jq '.links[] | select(.impairment != {})'")
def list_links(lab: options.Lab = None, home: options.Home = None, json: options.Json = False) -> None:
    """List the links with their networks and addresses, and what each suffers."""
    links = _links(lab_client(lab, home))
    if json:
        print_json({"links": links})
        return
    print_table(("link", "network", "address", "MTU", "suffers"), [_row(each) for each in links])


@app.command("set", epilog=SET_EPILOG)
def set_link(
    name: Annotated[str, typer.Argument(metavar="link", help="NODE/INTERFACE, as in `labctl link list`.")],
    delay: Annotated[str | None, typer.Option(help="Hold each frame: 20ms.")] = None,
    jitter: Annotated[str | None, typer.Option(help="Vary the delay by so much either way: 5ms.")] = None,
    loss: Annotated[str | None, typer.Option(help="Lose this share of the frames: 1%.")] = None,
    duplicate: Annotated[str | None, typer.Option(help="Deliver this share twice: 1%.")] = None,
    corrupt: Annotated[str | None, typer.Option(help="Turn a bit in this share: 0.1%.")] = None,
    reorder: Annotated[str | None, typer.Option(help="Let this share overtake the delayed: 5%.")] = None,
    rate: Annotated[str | None, typer.Option(help="Carry no more than this: 100mbit.")] = None,
    direction: Annotated[str, typer.Option(help="to (towards the node), from (from the node), or both.")] = "both",
    down: Annotated[bool | None, typer.Option("--down/--up", help="Pull the cable, or plug it in again.")] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Be sound again in every respect.")] = False,
    lab: options.Lab = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Change what a link suffers; what is not named stays as it is, and 0 takes a quantity away.

    At work at once, kept through `labctl up` and a restart of labd, gone with --clear or with the link. The kernel's netem does it where
    there is one, else a relay process (see the reference of networks).
    """
    wanted: dict[str, Any] = {
        "delay": delay, "jitter": jitter, "loss": loss, "duplicate": duplicate, "corrupt": corrupt, "reorder": reorder,
        "rate": rate, "down": down,
    }  # fmt: skip
    given = {key: value for key, value in wanted.items() if value is not None}
    if clear and given:
        raise UsageError("--clear makes the whole link sound", hint="leave it out, or the rest")
    client = lab_client(lab, home)
    order = {"clear": True} if clear else {**given, "direction": direction}
    network = _network_of(client, name)
    made = client.action("network", network, "set-link", {"link": name, **order})["result"]
    if json:
        print_json({"link": made})
        return
    write(f"{made['link']}: {made['text'] or 'sound'}" + (f" (by {made['way']})" if made["way"] else ""))


def _links(client: DaemonClient) -> list[dict[str, Any]]:
    networks = [item["name"] for item in client.get("/v1/status")["resources"] if item["kind"] == "network"]
    return [each for name in networks for each in client.action("network", name, "list-links", {})["result"]]


def _network_of(client: DaemonClient, name: str) -> str:
    there = {each["link"]: str(each["network"]) for each in _links(client)}
    if name not in there:
        hint = did_you_mean(name, there) or "`labctl link list` names them"
        raise NotRunningError(f"lab {client.lab} has no link {name}", hint=hint)
    return there[name]


def _row(each: dict[str, Any]) -> tuple[str, ...]:
    suffers = each["text"] + (f" (by {each['way']})" if each["way"] else "")
    return (str(each["link"]), str(each["network"]), str(each["address"] or "uplink"), str(each["mtu"]), suffers)
