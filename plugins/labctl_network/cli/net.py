"""`labctl net`: the networks of a lab, who is on them, and which way frames take."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from labctl.cli import options
from labctl.cli.output import print_json, print_table, write
from labctl.cli.target import lab_client
from labctl.daemon.client import DaemonClient
from labctl.errors import NotRunningError
from labctl.model.suggest import did_you_mean

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def net() -> None:
    """Networks: who is on them, and which way frames take."""


@app.command("list")
def list_networks(lab: options.Lab = None, home: options.Home = None, json: options.Json = False) -> None:
    """List the networks with their roles, subnets, MTUs and gateways, and how many are on them."""
    client = lab_client(lab, home)
    rows = []
    for name in _networks(client):
        properties = client.get(f"/v1/resources/network/{name}")["properties"]
        there = _attached(client, name)
        rows.append({"network": name, **properties, "attached": len([each for each in there if each["address"]])})
    if json:
        print_json({"networks": rows})
        return
    columns = ("network", "role", "subnet", "mtu", "gateway", "attached")
    heads = ("network", "role", "subnet", "MTU", "gateway", "on it")
    print_table(heads, [tuple(str(row[key] or "") for key in columns) for row in rows])


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(metavar="network", help="A network's name.")],
    lab: options.Lab = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Show who is on a network: addresses, MACs, the cable or vSwitch that each hangs on, and what its cable suffers."""
    client = lab_client(lab, home)
    there = _networks(client)
    if name not in there:
        hint = did_you_mean(name, there, what="the networks")
        raise NotRunningError(f"lab {client.lab} has no network {name}", hint=hint)
    found = _attached(client, name)
    if json:
        print_json({"network": name, "attached": found})
        return
    print_table(("who", "interface", "address", "MAC", "through", "suffers"), [_row(each) for each in found])


@app.command("path", epilog="Example: labctl net path --from web1 --to db1")
def path(
    source: Annotated[str, typer.Option("--from", help="Who sends: any resource's name, or its address.")],
    target: Annotated[str, typer.Option("--to", help="Who receives.")],
    lab: options.Lab = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Show the way of a frame from one to another: vSwitches, cables with what they suffer, switches, and routers."""
    client = lab_client(lab, home)
    networks = _networks(client)
    if not networks:
        raise NotRunningError(f"lab {client.lab} has no network", hint="add a [network.NAME] and `labctl up`")
    found = client.action("network", networks[0], "path", {"from": source, "to": target})["result"]
    if json:
        print_json({"path": found})
        return
    rows = [(hop["kind"], hop["where"], _name(hop), hop["suffers"] or "") for hop in found["hops"]]
    print_table(("hop", "where", "what", "suffers"), rows)
    if found["cut"]:
        write(f"nothing gets through: {found['cut']} is down")


def _networks(client: DaemonClient) -> list[str]:
    return [item["name"] for item in client.get("/v1/status")["resources"] if item["kind"] == "network"]


def _attached(client: DaemonClient, network: str) -> list[dict[str, Any]]:
    return list(client.action("network", network, "attached", {})["result"])


def _row(each: dict[str, Any]) -> tuple[str, ...]:
    through = f"{each['vswitch']} on {each['host']}" if each["kind"] == "vm" else each["link"]
    interface = (
        f"{each['interface']} ({each['vswitch']})" if each["vswitch"] and each["kind"] != "vm" else each["interface"]
    )
    return (each["owner"], interface, each["address"] or "uplink", each["mac"], through, each["suffers"] or "")


def _name(hop: dict[str, Any]) -> str:
    return f"{hop['name']} ({hop['address']})" if hop["address"] else str(hop["name"])
