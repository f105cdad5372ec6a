"""`labctl vm snapshot`: keep a VM as it is now, and put it back."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from labctl.cli import completion, options
from labctl.cli.output import print_json, print_table, write
from labctl.cli.target import lab_client
from labctl.model.quantity import format_bytes

app = typer.Typer(add_completion=False, no_args_is_help=True)

Vm = Annotated[str, typer.Argument(metavar="vm", help="The VM.", autocompletion=completion.guests, show_default=False)]
Snapshot = Annotated[str, typer.Argument(metavar="snapshot", help="The snapshot's name.", show_default=False)]


@app.callback()
def snapshot() -> None:
    """Snapshots of VMs: all disks at one moment, and their memory where wanted."""


@app.command(epilog="Example: labctl vm snapshot create web1 before-upgrade --memory")
def create(
    name: Vm,
    snapshot: Snapshot,
    memory: Annotated[
        bool, typer.Option("--memory", help="Keep the guest's memory too: it goes on from there.")
    ] = False,
    lab: options.Lab = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Keep what a VM's disks hold now; while it runs, too."""
    told = _act(name, "create-snapshot", {"snapshot": snapshot, "memory": memory}, lab, home)
    kept = next(each for each in told["snapshots"] if each["name"] == snapshot)
    if json:
        print_json({"snapshot": kept})
        return
    write(f"{name}: snapshot {snapshot}" + (f", with {format_bytes(kept['memory'])} of memory" if memory else ""))


@app.command("list", epilog="Example: labctl vm snapshot list web1")
def list_snapshots(name: Vm, lab: options.Lab = None, home: options.Home = None, json: options.Json = False) -> None:
    """List a VM's snapshots, parents first; * marks the one that it goes on from."""
    told = _act(name, "snapshots", {}, lab, home)
    if json:
        print_json(told)
        return
    print_table(
        ("snapshot", "parent", "created", "memory", "current"), [_row(each, told) for each in told["snapshots"]]
    )


@app.command(epilog="Example: labctl vm snapshot revert web1 before-upgrade")
def revert(
    name: Vm,
    snapshot: Snapshot,
    lab: options.Lab = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Put a VM back to a snapshot: it goes on from the memory that was kept, or is powered off. What came since goes."""
    told = _act(name, "revert-snapshot", {"snapshot": snapshot}, lab, home)
    if json:
        print_json(told)
        return
    kept = next(each for each in told["snapshots"] if each["name"] == snapshot)
    write(f"{name} is as it was at {snapshot}" + ("" if kept["memory"] else f", and off: labctl vm start {name}"))


@app.command(epilog="Example: labctl vm snapshot delete web1 before-upgrade")
def delete(
    name: Vm,
    snapshot: Snapshot,
    lab: options.Lab = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Forget a snapshot; what only it told apart is merged while the VM runs."""
    told = _act(name, "delete-snapshot", {"snapshot": snapshot}, lab, home)
    if json:
        print_json(told)
        return
    write(f"{name}: snapshot {snapshot} is gone")


def _act(name: str, action: str, arguments: dict[str, Any], lab: str | None, home: Any) -> dict[str, Any]:
    told: dict[str, Any] = lab_client(lab, home).action("vm", name, action, arguments)["result"]
    return told


def _row(each: dict[str, Any], told: dict[str, Any]) -> tuple[str, ...]:
    return (
        str(each["name"]),
        str(each["parent"] or "-"),
        time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(each["created"])),
        format_bytes(int(each["memory"])) if each["memory"] else "-",
        "*" if each["name"] == told["current"] else "",
    )
