"""`labctl trace live`."""

from __future__ import annotations

import time

import typer

from labctl.cli import options
from labctl.cli.output import note, print_json_line, write
from labctl.cli.target import lab_client
from labctl.cli.trace import choosing, links, rows
from labctl.trace.capture.watcher import Watcher
from labctl.trace.reader import to_rows

app = typer.Typer(add_completion=False)

EPILOG = """Examples:

  labctl trace live

  labctl trace live --vm web1 --op WRITE --slower 5ms

  labctl trace live --failed --json
"""


@app.command(epilog=EPILOG)
def live(
    network: links.Network = None,
    host: choosing.Host = None,
    vm: choosing.Vm = None,
    datastore: choosing.Datastore = None,
    op: choosing.Op = None,
    slower: choosing.Slower = None,
    failed: choosing.Failed = False,
    everything: choosing.Everything = False,
    duration: links.Duration = None,
    buffer: links.Buffer = links.BUFFER,
    lab: options.Lab = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Show storage commands as they end: whose each was, what it did, and how long it took; until ctrl-c."""
    meant = choosing.chosen(host, vm, datastore, op, slower, failed=failed, everything=everything).test()
    client = lab_client(lab, home)
    places = links.choose(client.get("/v1/status")["resources"], network or [], [])
    found = links.links_of(places)
    follower = links.Follower(client)
    with links.until_told_to_stop() as stopped, links.open_links(client, places, megabytes=buffer) as merge:
        watcher = Watcher(merge, found, notes=follower.notes)
        follower.start()
        if not json:
            note(f"watching {', '.join(link.name for link in found)}; ctrl-c stops")
            write(rows.heading())
        until = None if duration is None else time.monotonic() + duration
        while not stopped() and (until is None or time.monotonic() < until):
            for command in watcher.step():
                if meant(command):
                    if json:
                        print_json_line(next(to_rows(iter((command,)))))
                    else:
                        write(rows.row(command))
            if (lost := watcher.take_lost()) is not None:
                note(f"too much to show: left out {lost}")
    if follower.lost is not None:
        note(f"warning: names may be out of date: {follower.lost.message}")
