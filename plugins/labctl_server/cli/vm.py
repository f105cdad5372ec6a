"""`labctl vm`: what can be done to virtual machines."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from labctl.cli import completion, options
from labctl.cli.output import print_json, print_table, write
from labctl.cli.target import lab_client
from labctl.daemon.client import DaemonClient
from labctl.errors import NotRunningError, UsageError
from labctl.model.quantity import format_bytes
from labctl.model.suggest import did_you_mean
from labctl_server.cli import snapshot
from labctl_server.cli.migrate import migrate

app = typer.Typer(add_completion=False, no_args_is_help=True)
app.add_typer(snapshot.app, name="snapshot")

Names = Annotated[list[str], typer.Argument(help="VMs, by name.", autocompletion=completion.guests, show_default=False)]


@app.callback()
def vm() -> None:
    """Virtual machines: list them, and press their buttons."""


@app.command("list", epilog="Example: labctl vm list --json | jq '.vms[].name'")
def list_vms(lab: options.Lab = None, home: options.Home = None, json: options.Json = False) -> None:
    """List the VMs with their host, power, guest tools and addresses."""
    rows = _vms(lab_client(lab, home))
    if json:
        print_json({"vms": rows})
        return
    columns = ("vm", "power", "host", "tools", "cpus", "memory", "addresses")
    print_table(columns, [_row(entry) for entry in rows])


@app.command(epilog="Example: labctl vm start web1 db1")
def start(names: Names, lab: options.Lab = None, home: options.Home = None, json: options.Json = False) -> None:
    """Power VMs on; those that run are left alone."""
    _act(lab_client(lab, home), names, "start", {}, "powered on", json)


@app.command(
    epilog="""Examples:

  labctl vm stop web1                      the guest shuts down in order

  labctl vm stop --force web1              pulls the plug
"""
)
def stop(
    names: Names,
    force: Annotated[bool, typer.Option("--force", help="Power off at once instead of asking the guest.")] = False,
    timeout: Annotated[float | None, typer.Option(help="Seconds for the guest to shut down.", min=0.1)] = None,
    lab: options.Lab = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Shut VMs down. Until the next `up` they stay off."""
    arguments: dict[str, Any] = {"force": force}
    if timeout is not None:
        arguments["timeout"] = timeout
    _act(lab_client(lab, home), names, "stop", arguments, "powered off", json)


@app.command(epilog="Example: labctl vm reset web1")
def reset(names: Names, lab: options.Lab = None, home: options.Home = None, json: options.Json = False) -> None:
    """Press VMs' reset buttons: the guests boot again without having shut down."""
    _act(lab_client(lab, home), names, "reset", {}, "reset", json)


app.command(
    epilog="""Examples:

  labctl vm migrate web1 --to esx2             moves it while it runs

  labctl vm migrate web1 --to esx2 --check     only says whether that could be done

  labctl vm migrate web1 --cancel              it stays where it was
"""
)(migrate)


def _act(client: DaemonClient, names: list[str], action: str, arguments: dict[str, Any], done: str, json: bool) -> None:
    known = [entry["name"] for entry in _vms(client, observe=False)]
    for name in names:  # all names before any deed
        if name not in known:
            raise NotRunningError(
                f"lab {client.lab} has no VM {name}", hint=did_you_mean(name, known) or "`labctl vm list` lists them"
            )
    if len(set(names)) < len(names):
        raise UsageError("a VM is named twice")
    states = {}
    for name in names:
        states[name] = client.action("vm", name, action, arguments)["result"]
        if not json:
            write(f"{name}: {done}")
    if json:
        print_json({"vms": states})


def _vms(client: DaemonClient, *, observe: bool = True) -> list[dict[str, Any]]:
    status = client.get("/v1/status", {"observe": "true"} if observe else None)
    return [entry for entry in status["resources"] if entry["kind"] == "vm"]


def _row(entry: dict[str, Any]) -> tuple[str, ...]:
    made = entry.get("properties") or {}
    now = entry.get("runtime") or {}
    return (
        str(entry["name"]),
        str(now.get("power", entry["state"])),
        str(now.get("host", made.get("host", ""))),
        str(now.get("tools", "")),
        str(made.get("cpus", "")),
        format_bytes(int(made["memory"])) if "memory" in made else "",
        ", ".join(str(address) for address in (entry.get("addresses") or {}).values()),
    )
