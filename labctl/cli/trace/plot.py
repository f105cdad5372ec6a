"""`labctl trace plot`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from labctl.cli.output import note
from labctl.cli.trace import choosing
from labctl.cli.trace.list import File
from labctl.errors import LabError, UsageError
from labctl.trace.reader import Trace
from labctl.trace.views.plot import Plot

app = typer.Typer(add_completion=False)

EPILOG = """Examples:

  labctl trace plot day.pcapng -o day.html

  labctl trace plot day.pcapng --vm web1 --op READ -o reads.svg

  labctl trace plot day.pcapng --slower 20ms -o slow.png        needs Pillow: pip install pillow
"""


@app.command(epilog=EPILOG)
def plot(
    file: File,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="An .html page, or an .svg or .png drawing.", dir_okay=False)
    ],
    host: choosing.Host = None,
    vm: choosing.Vm = None,
    datastore: choosing.Datastore = None,
    op: choosing.Op = None,
    slower: choosing.Slower = None,
    failed: choosing.Failed = False,
    everything: choosing.Everything = False,
) -> None:
    """Draw a capture: latency over time, and where on each disk and file its commands went."""
    if output.suffix not in (".html", ".svg", ".png"):
        raise UsageError(
            f"{output}: what kind of picture?", hint="name it something.html, something.svg or something.png"
        )
    meant = choosing.chosen(host, vm, datastore, op, slower, failed=failed, everything=everything).test()
    trace, drawn = Trace(file), Plot()
    for command in trace:
        if meant(command):
            drawn.add(command)
    if not drawn.count:
        raise UsageError(f"{file} has no such commands", hint="`labctl trace summary` shows what it has")
    try:
        output.write_bytes(_content(drawn, output.suffix, file))
    except OSError as error:
        raise LabError(f"cannot write {output}: {error.strerror}", hint="name another file") from error
    note(f"{output}: {drawn.count} commands")


def _content(drawn: Plot, suffix: str, title: str) -> bytes:
    if suffix == ".png":
        return drawn.png()
    return (drawn.svg() if suffix == ".svg" else drawn.html(title)).encode()
