"""`labctl trace record`."""

from __future__ import annotations

from typing import Annotated

import typer

from labctl.cli import options
from labctl.cli.output import note, print_json
from labctl.cli.target import home_of, lab_client
from labctl.cli.trace import links
from labctl.cli.trace.stages import StageReader
from labctl.errors import UsageError
from labctl.model.quantity import format_bytes, parse_bytes
from labctl.runtime.paths import LabPaths
from labctl.trace.capture.output import STDOUT, Output
from labctl.trace.capture.recorder import Recorder, Totals

app = typer.Typer(add_completion=False)

EPILOG = """Examples:

  labctl trace record -o day.pcapng                        all storage traffic, until ctrl-c

  labctl trace record -o ring.pcapng --size 100MiB --files 5   the last 500 MiB

  labctl trace record -o slow.pcapng --stages              with what `labctl trace waterfall` needs

  labctl trace record -o - | tshark -r -                   into another program

  ssh lab labctl trace record -o - | wireshark -k -i -     on a machine without a screen
"""


@app.command(epilog=EPILOG)
def record(
    output: Annotated[str, typer.Option("--output", "-o", help="The pcapng file; - is standard output.")],
    network: links.Network = None,
    host: links.Host = None,
    duration: links.Duration = None,
    size: Annotated[str | None, typer.Option("--size", help="Begin the next file at this size, e.g. 100MiB.")] = None,
    files: Annotated[int | None, typer.Option("--files", help="Keep only so many of the last files.", min=1)] = None,
    snaplen: Annotated[
        int, typer.Option("--snaplen", help="Bytes kept of each packet; 0 for all. Cut packets hide commands.", min=0)
    ] = 0,
    buffer: links.Buffer = links.BUFFER,
    stages: Annotated[
        bool, typer.Option("--stages", help="Ask the arrays when they did what for each command; slows them a little.")
    ] = False,
    lab: options.Lab = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Record the lab's links into one pcapng file, with the lab's events and the names of hosts, VMs and disks in it."""
    if json and output == STDOUT:
        raise UsageError("--json and -o - both want standard output", hint="write to a file with -o FILE")
    client = lab_client(lab, home)
    resources = client.get("/v1/status")["resources"]
    places = links.choose(resources, network or [], host or [])
    found = links.links_of(places)
    full = None if size is None else _size(size)
    follower = links.Follower(client)
    arrays = [str(each["node"]) for each in resources if stages and "protocols" in (each.get("properties") or {})]
    reader = StageReader(LabPaths(home_of(home), client.lab), arrays, follower.notes)
    with links.until_told_to_stop() as stopped, links.open_links(client, places, megabytes=buffer) as merge:
        file = Output(output, found, size=full, keep=files)
        follower.start()
        reader.start()
        note(f"recording {', '.join(link.name for link in found)}; ctrl-c stops")
        try:
            recorder = Recorder(merge, found, file, notes=follower.notes, snaplen=snaplen)
            totals = recorder.run(stopped=stopped, duration=duration, ending=reader.stop)
        finally:
            file.close()
    if json:
        print_json({"files": file.files, **vars(totals)})
    else:
        _tell(totals, file.files)
    if reader.lost:
        note(f"warning: {reader.lost} commands have no stages: there were too many for us to take them in time")
    if follower.lost is not None:
        note(f"warning: the lab's events are missing from some time on: {follower.lost.message}")


def _size(text: str) -> int:
    try:
        return parse_bytes(text)
    except ValueError as error:
        raise UsageError(f"--size: {error}", hint="for example --size 100MiB") from error


def _tell(totals: Totals, files: list[str]) -> None:
    where = f" in {', '.join(files)}" if files else ""
    note(f"{totals.packets} packets, {format_bytes(totals.bytes)} in {totals.seconds:.1f} s{where}")
    for name, lost in totals.drops.items():
        note(f"warning: {lost} packets of {name} found no room; try a larger --buffer, or a faster disk")
