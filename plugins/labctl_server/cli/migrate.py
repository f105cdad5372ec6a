"""`labctl vm migrate`: begin a live migration, follow it, cancel it."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from labctl.cli import completion, options
from labctl.cli.output import print_json, print_table, write
from labctl.cli.target import lab_client
from labctl.daemon.client import DaemonClient
from labctl.errors import ConflictError, LabError, UsageError

POLL_INTERVAL = 0.2
"""Seconds between two looks at a migration."""


def migrate(
    name: Annotated[str, typer.Argument(help="The VM.", autocompletion=completion.guests, show_default=False)],
    to: Annotated[str | None, typer.Option("--to", help="The host that it is to run on.", show_default=False)] = None,
    bandwidth: Annotated[
        str | None, typer.Option(help="At most so much a second, `100MiB`; 1 GiB if not said.", show_default=False)
    ] = None,
    downtime: Annotated[
        int | None,
        typer.Option(help="Milliseconds that the switchover may take; 500 if not said.", min=1, show_default=False),
    ] = None,
    plain: Annotated[
        bool,
        typer.Option("--plain", help="Send the memory as it is, to look at it with `labctl trace`; else under TLS."),
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="Only look whether it could be done.")] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="Cancel the migration that is under way.")] = False,
    background: Annotated[bool, typer.Option("--no-wait", help="Begin, and do not wait for the end.")] = False,
    status: Annotated[bool, typer.Option("--status", help="Show the migration that is under way.")] = False,
    lab: options.Lab = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Move a running VM to another host while it runs (vMotion)."""
    client = lab_client(lab, home)
    if sum((to is not None, cancel, status)) != 1:
        raise UsageError(
            "say one of --to, --cancel and --status", hint=f"for example: labctl vm migrate {name} --to esx2"
        )
    if cancel or status:
        task = client.action("vm", name, "cancel-migration" if cancel else "migration")["result"]
        _show(task, json)
        return
    arguments: dict[str, Any] = {"to": to, "downtime": downtime, "bandwidth": _bytes(bandwidth), "encrypted": not plain}
    if check:
        _check(client.action("vm", name, "check-migration", arguments)["result"]["checks"], json)
        return
    task = client.action("vm", name, "migrate", arguments)["result"]
    if not background:
        task = _follow(client, task, quiet=json)
    _show(task, json)
    if task["state"] in ("failed", "cancelled"):
        raise LabError(f"{name} was not migrated: {task['message']}", hint="`labctl vm list` shows where it runs")


def _follow(client: DaemonClient, task: dict[str, Any], *, quiet: bool) -> dict[str, Any]:
    seen = None
    while task["state"] == "running":
        if not quiet and seen != (task["phase"], task["passes"]):
            seen = (task["phase"], task["passes"])
            write(_at(task))
        time.sleep(POLL_INTERVAL)
        task = _look(client, task)
    return task


def _look(client: DaemonClient, task: dict[str, Any]) -> dict[str, Any]:
    """The task as it is now; should the host that it left have been restarted, where the VM is tells how it ended."""
    try:
        found: dict[str, Any] = client.action("vm", task["vm"], "migration")["result"]
    except LabError:
        now = client.get("/v1/status", {"observe": "true"})["resources"]
        host = next(
            (entry["runtime"].get("host") for entry in now if (entry["kind"], entry["name"]) == ("vm", task["vm"])),
            None,
        )
        if host != task["destination"]:
            raise
        return {**task, "state": "completed", "phase": "handing over"}
    return found


def _show(task: dict[str, Any], json: bool) -> None:
    if json:
        print_json(task)
    elif task["state"] == "completed":
        write(
            f"{task['vm']}: migrated from {task['source']} to {task['destination']}: {_size(task['transferred'])} "
            f"in {task['passes']} passes, {_figure(task['downtime'])} of downtime"
        )
    else:
        write(_at(task))


def _size(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"


def _figure(milliseconds: float | None) -> str:
    return "an unknown time" if milliseconds is None else f"{milliseconds:g} ms"


def _at(task: dict[str, Any]) -> str:
    done = ""
    if task["total"]:
        done = f", pass {task['passes']}, {_size(task['transferred'])} sent, {_size(task['remaining'])} left"
    phase = task["phase"] if task["state"] == "running" else task["state"]
    return f"{task['vm']}: {task['source']} → {task['destination']}: {phase}{done}"


def _check(checks: list[dict[str, Any]], json: bool) -> None:
    failed = [found for found in checks if not found["ok"]]
    if json:
        print_json({"checks": checks})
    else:
        print_table(
            ("check", "result", "detail"), [(c["name"], "ok" if c["ok"] else "FAILED", c["detail"]) for c in checks]
        )
    if failed:
        raise ConflictError(f"{len(failed)} of {len(checks)} checks failed")


def _bytes(text: str | None) -> int | None:
    if text is None:
        return None
    from labctl.model.quantity import parse_bytes

    try:
        return parse_bytes(text)
    except ValueError as error:
        raise UsageError(f"--bandwidth: {error}") from error
