"""`labctl cluster`: hosts that share their VMs, and how load is balanced between them."""

from __future__ import annotations

import os
import sys
import time
from typing import Annotated, Any
from urllib.parse import quote

import typer

from labctl.cli import options
from labctl.cli.execute import NOT_FOUND, PassOn, enter_node
from labctl.cli.output import print_json, print_table, write
from labctl.cli.target import lab_client
from labctl.daemon.client import DaemonClient
from labctl.errors import LabError, NotRunningError, UsageError
from labctl.model.quantity import format_bytes
from labctl_server.cli.host import enter, refuse_unless_entered

app = typer.Typer(add_completion=False, no_args_is_help=True)

POLL_INTERVAL = 0.3
"""Seconds between two looks at migrations."""

Cluster = Annotated[str | None, typer.Argument(help="The cluster; the only one if not said.", show_default=False)]

DRS_EPILOG = """Examples:

  labctl cluster drs                 what hosts and VMs use, how well VMs are served, and which migrations would help

  labctl cluster drs prod --apply    do these migrations
"""

REMEDIATE_EPILOG = """Examples:

  labctl cluster remediate prod -- ip link set vmk1 mtu 9000     on each host, while no VM runs there

  labctl cluster remediate prod --wait -- ./upgrade.sh           where a VM cannot be moved, wait
"""


@app.callback()
def cluster() -> None:
    """Clusters: hosts that share their VMs."""


@app.command("list", epilog="Example: labctl cluster list --json")
def list_clusters(lab: options.Lab = None, home: options.Home = None, json: options.Json = False) -> None:
    """List the clusters with their hosts, VMs and modes."""
    resources = lab_client(lab, home).get("/v1/status", {"observe": "true"})["resources"]
    at = {entry["name"]: (entry.get("properties") or {}).get("host") for entry in resources if entry["kind"] == "vm"}
    rows = []
    for entry in (each for each in resources if each["kind"] == "cluster"):
        properties = entry.get("properties") or {}
        hosts = properties.get("hosts", [])
        rows.append({**entry, "vms": sorted(vm for vm, host in at.items() if host in hosts)})
    if json:
        print_json({"clusters": rows})
        return
    print_table(("cluster", "hosts", "vms", "drs"), [_row(entry) for entry in rows])


@app.command("drs", epilog=DRS_EPILOG)
def drs(
    name: Cluster = None,
    apply: Annotated[bool, typer.Option("--apply", help="Migrate as recommended, and wait for the end.")] = False,
    lab: options.Lab = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Show how a cluster's load is spread, and which migrations DRS recommends; measures for two seconds."""
    client = lab_client(lab, home)
    name = name or _only(client)
    told = client.action("cluster", name, "drs-apply" if apply else "drs")["result"]
    if not json:
        _show(told)
    task = told["task"] if apply else None
    seen: object = None
    while task is not None and task["state"] == "running":
        if not json and seen != (seen := task["moving"]) and seen:
            write(f"moving {seen}")
        time.sleep(POLL_INTERVAL)
        task = client.action("cluster", name, "drs-task")["result"]
    if json:
        print_json({**told, "task": task} if apply else told)
    elif task is not None:
        for vm, host in task["moved"].items():
            write(f"moved {vm} to {host}")
    if task is not None and task["failed"]:
        why = "; ".join(f"{vm}: {reason}" for vm, reason in task["failed"].items())
        raise LabError(f"not all was migrated: {why}", hint=f"look again: labctl cluster drs {name}")


@app.command("remediate", cls=PassOn, epilog=REMEDIATE_EPILOG)
def remediate(
    name: Annotated[str, typer.Argument(metavar="cluster", help="The cluster.", show_default=False)],
    command: Annotated[list[str], typer.Argument(help="The command and its arguments.", show_default=False)],
    wait: Annotated[bool, typer.Option("--wait", help="Wait for VMs that cannot be moved; else stop.")] = False,
    lab: options.Lab = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Run a command on a cluster's hosts, one after another, each while it is in maintenance mode.

    A host whose command fails stays in maintenance mode, and the others are left alone.
    """
    words = command[1:] if command and command[0] == "--" else command
    if not words:
        raise UsageError("remediate needs a command", hint=f"labctl cluster remediate {name} -- ip link")
    client = lab_client(lab, home)
    hosts = client.get(f"/v1/resources/cluster/{quote(name)}")["properties"]["hosts"]
    done = []
    for host in hosts:
        told = enter(client, host, wait=wait, quiet=json)
        refuse_unless_entered(told)
        code = _run_in(client, host, words, quiet=json)
        if code:
            raise LabError(
                f"the command ended with {code} on {host}, which stays in maintenance mode",
                hint=f"mend it, then: labctl host exit-maintenance {host}",
            )
        client.action("host", host, "exit-maintenance")
        done.append({"host": host, "moved": (told["task"] or {}).get("moved", {})})
        if not json:
            write(f"{host} is done, {len(done)} of {len(hosts)}")
    if json:
        print_json({"cluster": name, "hosts": done})


def _run_in(client: DaemonClient, host: str, words: list[str], *, quiet: bool) -> int:
    """Run a command in a node; its exit code. It goes in a child, for there is no way back out of a node."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        code = NOT_FOUND
        try:
            if quiet:
                os.dup2(2, 1)  # the answer is JSON alone
            entered = enter_node(client, host, words)
            os.execvp(entered[0], entered)  # noqa: S606 - the user's own command
        except (OSError, LabError) as error:
            os.write(2, f"{words[0]}: {error}\n".encode())
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _only(client: DaemonClient) -> str:
    names = [entry["name"] for entry in client.get("/v1/status")["resources"] if entry["kind"] == "cluster"]
    if not names:
        raise NotRunningError("the lab has no cluster", hint='add one: [cluster.prod] with hosts = ["esx1", "esx2"]')
    if len(names) > 1:
        raise UsageError(f"say which cluster: {', '.join(names)}", hint=f"for example: labctl cluster drs {names[0]}")
    return str(names[0])


def _show(told: dict[str, Any]) -> None:
    write(
        f"cluster {told['cluster']}: DRS {told['mode']}, threshold {told['threshold']}, score {told['score']:g} of 100"
    )
    print_table(("host", "cpu", "memory", "takes VMs"), [_host(host) for host in told["hosts"]])
    print_table(("vm", "host", "cpu", "score"), [_vm(vm) for vm in told["vms"]])
    for vm, why in told["violations"].items():
        write(f"{vm} breaks a rule: {why}")
    if told["mode"] == "off":
        write("DRS is off: nothing is recommended")
    elif not told["recommendations"]:
        write("nothing is recommended")
    else:
        columns = ("priority", "vm", "from", "to", "gain", "reason")
        print_table(columns, [_move(move) for move in told["recommendations"]])


def _row(entry: dict[str, Any]) -> tuple[str, ...]:
    properties = entry.get("properties") or {}
    return (
        str(entry["name"]),
        ", ".join(properties.get("hosts", [])),
        ", ".join(entry["vms"]),
        str(properties.get("drs", "")),
    )


def _host(host: dict[str, Any]) -> tuple[str, ...]:
    return (
        str(host["name"]),
        f"{host['cpu']:.2f} of {host['cpus']:g}",
        f"{format_bytes(host['memory'])} of {format_bytes(host['memory_size'])}",
        "yes" if host["open"] else "no",
    )


def _vm(vm: dict[str, Any]) -> tuple[str, ...]:
    score = "off" if vm["score"] is None else f"{vm['score']:g}"
    return str(vm["name"]), str(vm["host"]), f"{vm['cpu']:.2f}", score


def _move(move: dict[str, Any]) -> tuple[str, ...]:
    return (
        str(move["priority"]),
        str(move["vm"]),
        str(move["source"]),
        str(move["destination"]),
        f"{move['gain']:g}",
        str(move["reason"]),
    )
