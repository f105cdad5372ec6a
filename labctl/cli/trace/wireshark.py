"""`labctl trace wireshark`."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from typing import Annotated, BinaryIO, cast

import typer

from labctl.cli import options
from labctl.cli.output import note
from labctl.cli.target import lab_client
from labctl.cli.trace import links
from labctl.errors import MissingToolError
from labctl.trace.capture.output import Output
from labctl.trace.capture.recorder import Recorder

app = typer.Typer(add_completion=False)

LIVE = ("-k", "-i", "-")
"""Wireshark's words for: begin at once, with what comes on standard input."""

EPILOG = """Examples:

  labctl trace wireshark                       all storage traffic, as it happens

  labctl trace wireshark --host esx1           one host's

  labctl trace wireshark --ssh teacher@lab     the lab runs on another machine, the window is here

  labctl trace wireshark --program tshark      without a screen
"""


@app.command(epilog=EPILOG)
def wireshark(
    network: links.Network = None,
    host: links.Host = None,
    ssh: Annotated[str | None, typer.Option("--ssh", help="The machine that the lab runs on, as ssh knows it.")] = None,
    program: Annotated[str, typer.Option("--program", help="What to show it with; gets -k -i -.")] = "wireshark",
    buffer: links.Buffer = links.BUFFER,
    lab: options.Lab = None,
    home: options.Home = None,
) -> None:
    """Show the lab's links in Wireshark while it runs; closing its window ends the capture."""
    path = shutil.which(program)
    if path is None:
        raise MissingToolError(
            f'no program "{program}" on PATH',
            hint=f"install it (`sudo apt install {program}`), or record a file: `labctl trace record -o FILE.pcapng`",
        )
    words = [path, *(LIVE if program.rpartition("/")[2] != "tshark" else LIVE[1:])]
    if ssh is not None:
        _over_ssh(ssh, words, network or [], host or [], lab)
        return
    client = lab_client(lab, home)
    found = links.links_of(places := links.choose(client.get("/v1/status")["resources"], network or [], host or []))
    follower = links.Follower(client)
    with (
        links.until_told_to_stop() as stopped,
        links.open_links(client, places, megabytes=buffer) as merge,
        subprocess.Popen(words, stdin=subprocess.PIPE) as shown,
    ):
        file = Output(program, found, pipe=cast(BinaryIO, shown.stdin))
        follower.start()
        note(f"showing {', '.join(link.name for link in found)} in {program}; its end ends the capture")
        try:
            Recorder(merge, found, file, notes=follower.notes).run(
                stopped=lambda: stopped() or shown.poll() is not None
            )
        finally:
            file.close()


def _over_ssh(machine: str, words: list[str], networks: list[str], hosts: list[str], lab: str | None) -> None:
    """Record there, show here."""
    there = ["labctl", "trace", "record", "-o", "-"]
    for option, values in (("--network", networks), ("--host", hosts), ("--lab", [lab] if lab else [])):
        there += [part for value in values for part in (option, value)]
    way = shutil.which("ssh")
    if way is None:
        raise MissingToolError('no program "ssh" on PATH', hint="install it: `sudo apt install openssh-client`")
    with subprocess.Popen([way, machine, "--", shlex.join(there)], stdout=subprocess.PIPE) as recording:
        try:
            subprocess.run(words, stdin=recording.stdout, check=False)
        finally:
            recording.terminate()
