"""`labctl trace list`."""

from __future__ import annotations

from typing import Annotated

import typer

from labctl.cli import options
from labctl.cli.output import note, print_json_line, write
from labctl.cli.trace import choosing, rows
from labctl.trace.reader import Trace, to_rows

app = typer.Typer(add_completion=False)

EPILOG = """Examples:

  labctl trace list day.pcapng --vm web1 --op WRITE --slower 5ms

  labctl trace list s3://captures/day.pcapng.zst --failed

  labctl trace list day.pcapng --json | jq -c '[.vm, .operation, .latency]'
"""

File = Annotated[
    str, typer.Argument(help="A pcap or pcapng file, or a URL of one; .gz and .zst too.", show_default=False)
]


@app.command("list", epilog=EPILOG)
def list_commands(
    file: File,
    host: choosing.Host = None,
    vm: choosing.Vm = None,
    datastore: choosing.Datastore = None,
    op: choosing.Op = None,
    slower: choosing.Slower = None,
    failed: choosing.Failed = False,
    everything: choosing.Everything = False,
    json: options.Json = False,
) -> None:
    """List a capture's storage commands: whose each was, what it did, and how long it took. With --json, a line each."""
    meant = choosing.chosen(host, vm, datastore, op, slower, failed=failed, everything=everything).test()
    trace = Trace(file)
    if not json:
        write(rows.heading())
    for command in trace:
        if meant(command):
            if json:
                print_json_line(next(to_rows(iter((command,)))))
            else:
                write(rows.row(command))
    for problem in trace.problems:
        if problem.offset is not None:
            note(f"warning: {file}: {problem.message} (at byte {problem.offset:,})")
