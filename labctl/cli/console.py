"""`labctl console`: a terminal joined to a VM's serial line."""

from __future__ import annotations

import os
import select
import socket
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from labctl.agent.local import connected
from labctl.cli import completion, options
from labctl.cli.output import note, print_json
from labctl.cli.resource import find
from labctl.cli.target import lab_client
from labctl.errors import NotRunningError, UsageError

app = typer.Typer(add_completion=False)

EPILOG = """Examples:

  labctl console web1                      ctrl-] leaves

  echo uname -a | labctl console web1      what comes from a pipe is typed; ends with it
"""

ESCAPE = b"\x1d"
"""ctrl-], as in telnet and virsh console."""

READ_SIZE = 4096


@app.command(epilog=EPILOG)
def console(
    vm: Annotated[str, typer.Argument(help="A VM.", autocompletion=completion.guests, show_default=False)],
    lab: options.Lab = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Attach to a VM's serial console. Ctrl-] leaves; the VM does not notice.

    With --json, print where the console's socket is instead.
    """
    client = lab_client(lab, home)
    item = find(client, vm)
    path = (item.get("runtime") or {}).get("console")
    if not isinstance(path, str):
        raise UsageError(f"{item['kind']}.{item['name']} has no serial console")
    if json:
        print_json({"socket": path})
        return
    try:
        line = connected(Path(path))
    except OSError as error:
        raise NotRunningError(
            f"the console of {vm} does not answer: {error.strerror}", hint="does it run? `labctl status`"
        ) from error
    with line, _raw(sys.stdin.fileno()):
        # Said once keys go through: a raw terminal wants the carriage return, too.
        note(f"connected to {vm}; ctrl-] leaves\r")
        _join(line, sys.stdin.fileno(), sys.stdout.fileno())


def _join(line: socket.socket, keys: int, screen: int) -> None:
    """Move bytes both ways until the user leaves, the input ends, or the line closes."""
    while True:
        ready, _, _ = select.select([line.fileno(), keys], [], [])
        if line.fileno() in ready:
            data = line.recv(READ_SIZE)
            if not data:
                return
            os.write(screen, data)
        if keys in ready:
            typed = os.read(keys, READ_SIZE)
            before, escape, _ = typed.partition(ESCAPE)
            line.sendall(before)
            if escape or not typed:
                return


@contextmanager
def _raw(terminal: int) -> Iterator[None]:
    """Every key goes through as it is typed, while this lasts."""
    if not os.isatty(terminal):
        yield
        return
    saved = termios.tcgetattr(terminal)
    try:
        tty.setraw(terminal)
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, saved)
        note("")
