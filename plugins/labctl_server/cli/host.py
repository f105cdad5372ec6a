"""`labctl host`: the hosts that VMs run on."""

from __future__ import annotations

from collections import Counter
from typing import Any

import typer

from labctl.cli import options
from labctl.cli.output import pairs, print_json, print_table
from labctl.cli.target import lab_client
from labctl.model.quantity import format_bytes

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def host() -> None:
    """Hosts: where virtual machines run."""


@app.command("list", epilog="Example: labctl host list --json")
def list_hosts(lab: options.Lab = None, home: options.Home = None, json: options.Json = False) -> None:
    """List the hosts with their connection, size, VMs and addresses."""
    status = lab_client(lab, home).get("/v1/status", {"observe": "true"})
    connections = {agent["node"]: agent.get("connection", agent.get("state")) for agent in status["agents"]}
    vms = Counter(_host_of(entry) for entry in status["resources"] if entry["kind"] == "vm")
    rows = [
        {**entry, "connection": connections.get(entry["name"]), "vms": vms[entry["name"]]}
        for entry in status["resources"]
        if entry["kind"] == "host"
    ]
    if json:
        print_json({"hosts": rows})
        return
    print_table(("host", "connection", "cpus", "memory", "vms", "addresses"), [_row(entry) for entry in rows])


def _host_of(vm: dict[str, Any]) -> str:
    return str((vm.get("properties") or {}).get("host", ""))


def _row(entry: dict[str, Any]) -> tuple[str, ...]:
    made = entry.get("properties") or {}
    return (
        str(entry["name"]),
        str(entry["connection"] or "unknown"),
        str(made.get("cpus", "")),
        format_bytes(int(made["memory"])) if "memory" in made else "",
        str(entry["vms"]),
        pairs(entry.get("addresses") or {}),
    )
