"""`labctl exec` and `labctl shell`.

In a node (a host, an array, a client) the command becomes a process of this machine that lives in the node's namespaces and cgroup:
its terminal, its input and its exit code are the user's own. In a guest it goes through the VM's action `exec` to the guest agent.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn
from urllib.parse import quote

import typer
import typer.core

from labctl.cli import options
from labctl.cli.output import print_json
from labctl.cli.resource import find_enterable
from labctl.cli.target import lab_client
from labctl.daemon.client import DaemonClient
from labctl.errors import UsageError

exec_app = typer.Typer(add_completion=False)
shell_app = typer.Typer(add_completion=False)

NOT_FOUND = 127
"""The shell's exit code for a command that does not exist."""


class PassOn(typer.core.TyperCommand):
    """What stands behind `--` belongs to the command, dashes and all; without `--`, whatever stands behind the node does."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse."""
        ctx.allow_interspersed_args = "--" in args
        return super().parse_args(ctx, args)


EXEC_EPILOG = """Examples:

  labctl exec client -- ping -c 3 10.10.0.11

  labctl exec esx1 -- tcpdump -ni vmk1     sees what the host sends to its storage

  labctl exec web1 -- uname -a             inside the guest
"""

SHELL_EPILOG = """Examples:

  labctl shell esx1                        this machine's files, esx1's network

  labctl shell esx1 --lab blue
"""


@exec_app.command(cls=PassOn, epilog=EXEC_EPILOG)
def exec(
    node: options.Node,
    command: Annotated[list[str], typer.Argument(help="The command and its arguments.", show_default=False)],
    lab: options.Lab = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Run a command inside a node or a guest; its exit code becomes this one's. Options of labctl stand before the `--`."""
    words = command[1:] if command and command[0] == "--" else command
    if not words:
        raise UsageError("exec needs a command", hint=f"labctl exec {node} -- ip address")
    client = lab_client(lab, home)
    item = find_enterable(client, node)
    if item.get("guest"):
        _in_guest(client, item, words, json)
    words = enter_node(client, str(item["node"]), words)
    if json:
        _captured(words)
    _become(words)


@shell_app.command(epilog=SHELL_EPILOG)
def shell(
    node: options.Node,
    lab: options.Lab = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Open a shell inside a node; a guest has `labctl console`.

    With --json, print how the node is entered instead.
    """
    client = lab_client(lab, home)
    item = find_enterable(client, node)
    if item.get("guest"):
        raise UsageError(f"{node} is a guest", hint=f"`labctl console {node}`, or `labctl exec {node} -- COMMAND`")
    if json:
        print_json(client.get(f"/v1/nodes/{quote(str(item['node']))}"))
        return
    os.environ["PS1"] = f"{client.lab}/{node} \\w \\$ "
    os.environ["LABCTL_SHELL"] = f"{client.lab}/{node}"
    path = os.environ.get("SHELL", "/bin/sh")
    # bash reads PS1 from its start-up files only; --norc keeps ours.
    words = [path, "--norc"] if path.endswith("/bash") else [path]
    _become(enter_node(client, str(item["node"]), words))


def enter_node(client: DaemonClient, node: str, words: list[str]) -> list[str]:
    """Move this process into a node's cgroup and network namespace; returns the command to become.

    There is no way back: call it right before the command. Rootless, it is nsenter that enters, since the user namespace comes first.

    Raises:
        LabError: the node is gone, or entering it is not allowed.
    """
    from labctl.linux import namespaces

    place = client.get(f"/v1/nodes/{quote(node)}")
    _join_cgroup(place.get("cgroup"))
    if place.get("holder"):
        from labctl.linux.processes import ProcessId
        from labctl.linux.userns import enter_command

        return enter_command(ProcessId(**place["holder"]), ["nsenter", f"--net={place['network']}", "--", *words])
    namespaces.enter(Path(place["network"]))
    return words


def _join_cgroup(folder: str | None) -> None:
    """So that `down` ends this process with the node. Without the right it is left out: a user's own command, nothing of the lab's."""
    if folder is None:
        return
    try:
        with open(os.path.join(folder, "cgroup.procs"), "w", encoding="ascii") as file:  # noqa: PTH118, PTH123 - a kernel file
            file.write(str(os.getpid()))
    except OSError:
        return


def _in_guest(client: DaemonClient, item: dict[str, Any], words: list[str], json: bool) -> NoReturn:
    answer = client.action(item["kind"], item["name"], "exec", {"command": words})["result"]
    if json:
        print_json(answer)
    else:
        sys.stdout.write(str(answer.get("stdout", "")))
        sys.stderr.write(str(answer.get("stderr", "")))
    raise typer.Exit(int(answer.get("exit_code", 0)))


def _become(words: list[str]) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execvp(words[0], words)  # noqa: S606 - running the user's command is what this is for
    except OSError as error:
        raise _not_found(words, error) from error


def _captured(words: list[str]) -> NoReturn:
    try:
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", check=False)
    except OSError as error:
        raise _not_found(words, error) from error
    print_json({"exit_code": done.returncode, "stdout": done.stdout, "stderr": done.stderr})
    raise typer.Exit(done.returncode if done.returncode >= 0 else 128 - done.returncode)


def _not_found(words: list[str], error: OSError) -> typer.Exit:
    from labctl.cli.output import note

    note(f"error: cannot run {words[0]}: {error.strerror}")
    return typer.Exit(NOT_FOUND)
