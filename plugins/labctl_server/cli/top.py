"""`labctl top`: what hosts and VMs do right now."""

from __future__ import annotations

import sys
import time
from enum import StrEnum
from typing import Annotated

import typer

from labctl.cli import options
from labctl.cli.output import print_json_line, print_table, write
from labctl.cli.target import lab_client
from labctl.errors import UsageError
from labctl_server.top.cells import (
    ARRAY_COLUMNS,
    HOST_COLUMNS,
    VM_COLUMNS,
    array_cells,
    host_cells,
    sorted_vms,
    vm_cells,
)
from labctl_server.top.rates import Rates, rates

app = typer.Typer(add_completion=False)


class Order(StrEnum):
    """What VMs can be sorted by; labctl_server.top.cells.ORDERS says how."""

    CPU = "cpu"
    MEMORY = "memory"
    DISK = "disk"
    NETWORK = "network"
    LATENCY = "latency"


EPILOG = """Examples:

  labctl top                            a screen; c, m, d, n and l sort VMs, q leaves

  labctl top --once --sort disk         one look, as text

  labctl top --json --interval 5        a line every five seconds, for programs
"""


@app.command(epilog=EPILOG)
def top(
    interval: Annotated[float, typer.Option("--interval", "-i", min=0.2, help="Seconds between looks.")] = 2.0,
    sort: Annotated[Order, typer.Option("--sort", help="What VMs are sorted by.")] = Order.CPU,
    once: Annotated[bool, typer.Option("--once", help="Two looks, and what happened between them.")] = False,
    lab: options.Lab = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Show what hosts, VMs and arrays do right now: processors, memory, disks, networks.

    A VM's cpu is QEMU's, of its virtual processors, and can exceed 100 %: emulation and its disks' work are in it.
    """
    client = lab_client(lab, home)
    order = str(sort)

    def look() -> dict[str, object]:
        return dict(client.get("/v1/metrics"))

    if not once and not json:
        if not sys.stdout.isatty():
            raise UsageError("top needs a terminal for its screen", hint="use --once, or --json")
        from labctl_server.top.screen import TopApp  # late: a screen takes a while to import

        look()  # no lab is an error now
        TopApp(client.lab, look, interval=interval, order=order).run()
        return
    before = look()
    try:
        while True:
            time.sleep(interval)
            after = look()
            found = rates(before, after)
            if json:
                print_json_line({"lab": client.lab, **found.to_json()})
            else:
                _print(found, order)
            if once:
                return
            before = after
    except KeyboardInterrupt:
        raise typer.Exit from None


def _print(found: Rates, order: str) -> None:
    print_table(HOST_COLUMNS, [host_cells(row) for row in found.hosts])
    write("")
    print_table(VM_COLUMNS, [vm_cells(row) for row in sorted_vms(found.vms, order)])
    if found.arrays:
        write("")
        print_table(ARRAY_COLUMNS, [array_cells(row) for row in found.arrays])
