"""`labctl up`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from labctl.cli import options
from labctl.cli.output import note, print_json
from labctl.cli.progress import watch
from labctl.cli.source import Source, read_topology
from labctl.cli.summary import print_lines, print_summary
from labctl.cli.target import home_of
from labctl.daemon.client import DaemonClient

app = typer.Typer(add_completion=False)

EPILOG = """Examples:

  labctl up quickstart                     a shipped example

  labctl up lab.toml --name blue           the same file can run under several names

  labctl up lab.toml --restart             also do what needs a VM's power-cycle
"""


@app.command(epilog=EPILOG)
def up(
    topology: options.Topology,
    name: options.Name = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Do changes that need a power-cycle, instead of naming them.")
    ] = False,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Bring a lab up, or bring a running one to what its topology says now.

    A second `up` does only what differs, and says so when that is nothing. Ctrl-C stops the watching, not the work.
    """
    source = read_topology(topology)
    client = _daemon(source, name, home)
    body: dict[str, bool | str] = {"topology": source.text, "path": source.path, "restart": restart}
    report = watch(client.stream("POST", "/v1/up", body), lab=client.lab, what="up", json_lines=json)
    _render(client, report, json)


def _daemon(source: Source, name: str | None, home: Any) -> DaemonClient:
    from labctl.cli.naming import lab_name
    from labctl.daemon.launcher import ensure_daemon

    return ensure_daemon(home_of(home), lab_name(source, name))


def _render(client: DaemonClient, report: dict[str, Any], json: bool) -> None:
    status = client.get("/v1/status")
    if json:
        print_json({"report": report, "status": status})
        return
    for warning in report.get("warnings", []):
        note(f"warning: {warning}")
    print_lines(report)
    print_summary(status, changed=not report.get("nothing_to_do"))
