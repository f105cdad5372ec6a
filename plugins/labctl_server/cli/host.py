"""`labctl host`: the hosts that VMs run on."""

from __future__ import annotations

import time
from collections import Counter
from typing import Annotated, Any

import typer

from labctl.cli import options
from labctl.cli.output import pairs, print_json, print_table, write
from labctl.cli.target import lab_client
from labctl.daemon.client import DaemonClient
from labctl.errors import LabError
from labctl.model.quantity import format_bytes

app = typer.Typer(add_completion=False, no_args_is_help=True)

Host = Annotated[str, typer.Argument(help="The host.", show_default=False)]

POLL_INTERVAL = 0.3
"""Seconds between two looks at a host that is being emptied."""

ENTER_EPILOG = """Examples:

  labctl host enter-maintenance esx1            move its VMs away; give up, and say why, if one cannot be moved

  labctl host enter-maintenance esx1 --wait     wait until such a VM can be moved, or is powered off

  labctl host exit-maintenance esx1             VMs may run there again
"""


@app.callback()
def host() -> None:
    """Hosts: where virtual machines run."""


@app.command("list", epilog="Example: labctl host list --json")
def list_hosts(lab: options.Lab = None, home: options.Home = None, json: options.Json = False) -> None:
    """List the hosts with their connection, size, VMs and addresses."""
    client = lab_client(lab, home)
    status = client.get("/v1/status", {"observe": "true"})
    connections = {agent["node"]: agent.get("connection", agent.get("state")) for agent in status["agents"]}
    vms = Counter(_host_of(entry) for entry in status["resources"] if entry["kind"] == "vm")
    rows = [
        {
            **entry,
            "connection": connections.get(entry["name"]),
            "vms": vms[entry["name"]],
            "maintenance": _maintenance(client, str(entry["name"]), str(connections.get(entry["name"]))),
        }
        for entry in status["resources"]
        if entry["kind"] == "host"
    ]
    if json:
        print_json({"hosts": rows})
        return
    print_table(
        ("host", "connection", "maintenance", "cpus", "memory", "vms", "addresses"), [_row(entry) for entry in rows]
    )


@app.command("enter-maintenance", epilog=ENTER_EPILOG)
def enter_maintenance(
    name: Host,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for VMs that cannot be moved; else give up.")] = False,
    background: Annotated[bool, typer.Option("--no-wait", help="Begin, and do not wait for the end.")] = False,
    lab: options.Lab = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Move a host's VMs to others (vMotion), and let none run there until exit-maintenance.

    Powered-off VMs stay. Ctrl-C leaves the host as it is being emptied; exit-maintenance ends that.
    """
    client = lab_client(lab, home)
    told = enter(client, name, wait=wait, follow=not background, quiet=json)
    if json:
        print_json(told)
    elif told["state"] == "on":
        moved = (told["task"] or {}).get("moved", {})
        write(f"{name} is in maintenance mode{': moved ' if moved else ''}{_where(moved)}")
    refuse_unless_entered(told)


def enter(client: DaemonClient, name: str, *, wait: bool, follow: bool = True, quiet: bool) -> dict[str, Any]:
    """Have a host emptied, and (follow) stay until it is or gave up; returns its maintenance as the action `maintenance` tells it."""
    told: dict[str, Any] = client.action("host", name, "enter-maintenance", {"wait": wait})["result"]
    seen: object = None
    while follow and told["state"] == "entering" and told["task"] and told["task"]["state"] == "running":
        if not quiet and seen != (seen := _progress(told["task"])):
            write(str(seen))
        time.sleep(POLL_INTERVAL)
        told = client.action("host", name, "maintenance")["result"]
    return told


def refuse_unless_entered(told: dict[str, Any]) -> None:
    """Raises LabError where a host could not be emptied."""
    if told["state"] == "off":
        name, why = told["host"], (told["task"] or {}).get("message") or "somebody ended it"
        raise LabError(
            f"{name} is not in maintenance mode: {why}",
            hint=f"make room, or wait: labctl host enter-maintenance {name} --wait",
        )


@app.command("exit-maintenance", epilog="Example: labctl host exit-maintenance esx1")
def exit_maintenance(
    name: Host, lab: options.Lab = None, home: options.Home = None, json: options.Json = False
) -> None:
    """Let VMs run on a host again; those that left do not come back by themselves."""
    told = lab_client(lab, home).action("host", name, "exit-maintenance")["result"]
    if json:
        print_json(told)
    else:
        write(f"{name} takes VMs again")


def _progress(task: dict[str, Any]) -> str:
    parts = [f"{task['host']}: moving {task['moving']}" if task["moving"] else f"{task['host']}: entering"]
    parts += [f"moved {_where(task['moved'])}"] if task["moved"] else []
    parts += [f"{vm} waits ({why})" for vm, why in task["stuck"].items()]
    return ", ".join(parts)


def _where(moved: dict[str, str]) -> str:
    return ", ".join(f"{vm} to {host}" for vm, host in moved.items())


def _maintenance(client: DaemonClient, host: str, connection: str) -> str | None:
    """`off`, `entering` or `on`; None where the host does not say."""
    if connection != "Connected":
        return None
    try:
        return str(client.action("host", host, "maintenance")["result"]["state"])
    except LabError:
        return None


def _host_of(vm: dict[str, Any]) -> str:
    return str((vm.get("properties") or {}).get("host", ""))


def _row(entry: dict[str, Any]) -> tuple[str, ...]:
    made = entry.get("properties") or {}
    return (
        str(entry["name"]),
        str(entry["connection"] or "unknown"),
        str(entry["maintenance"] or "unknown"),
        str(made.get("cpus", "")),
        format_bytes(int(made["memory"])) if "memory" in made else "",
        str(entry["vms"]),
        pairs(entry.get("addresses") or {}),
    )
