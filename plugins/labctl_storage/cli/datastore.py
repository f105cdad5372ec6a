"""`labctl datastore`: where disks live, and how full it is there."""

from __future__ import annotations

import typer

from labctl.cli import options
from labctl.cli.output import print_json, print_table
from labctl.cli.target import lab_client
from labctl.model.quantity import format_bytes

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def datastore() -> None:
    """Datastores: targets and exports on the lab's arrays."""


@app.command("list", epilog="Example: labctl datastore list --json")
def list_datastores(lab: options.Lab = None, home: options.Home = None, as_json: options.Json = False) -> None:
    """List the datastores with their protocol, array, capacity and use."""
    status = lab_client(lab, home).get("/v1/status?observe=true")
    rows = [entry for entry in status["resources"] if entry["kind"] == "datastore"]
    if as_json:
        print_json({"datastores": rows})
        return
    print_table(
        ("datastore", "protocol", "array", "capacity", "used", "provisioned", "state"),
        [
            (
                row["name"],
                str(row["properties"]["protocol"]),
                str(row["properties"]["array"]),
                format_bytes(int(row["properties"]["capacity"])),
                format_bytes(int(row["runtime"].get("used", 0))),
                format_bytes(int(row["runtime"].get("provisioned", 0))),
                row["state"],
            )
            for row in rows
        ],
    )
