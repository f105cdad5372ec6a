"""User namespaces: a lab for somebody who is not root.

A holder is a process that does nothing but keep a user namespace and a private mount namespace alive; in there the user is root, may
make network namespaces, and mounts what nobody outside sees. Whoever enters it is mapped to root too. The namespaces end with the
holder and what was started inside (user_namespaces(7), mount_namespaces(7)).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from labctl.errors import MissingRightError, MissingToolError, NotRunningError
from labctl.linux.processes import ProcessId, alive, identify

START_DEADLINE = 20.0
"""Seconds for the holder to be ready: it takes milliseconds unless the machine is overloaded."""

_HOLD = "echo ready; exec sleep infinity <&- >&- 2>&-"

_SWITCHES = (
    ("kernel/unprivileged_userns_clone", "0", "sudo sysctl -w kernel.unprivileged_userns_clone=1"),
    ("user/max_user_namespaces", "0", "sudo sysctl -w user.max_user_namespaces=15000"),
    (
        "kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
    ),
)
"""Settings that forbid it: path below /proc/sys, the forbidding value, the mend."""


def start_holder(environment: Mapping[str, str], *, network: bool = False) -> ProcessId:
    """Start a holder: detached, in a new user namespace where we are root and a mount namespace that propagates nothing.

    Args:
        environment: all of the holder's; put a token in, to find it by (`processes.find_by_environment`).
        network: whether it gets a network namespace of its own too.

    Returns:
        Who it is; it is our child.

    Raises:
        MissingRightError: we may not make user namespaces; the hint says which setting forbids it.
        MissingToolError: util-linux's unshare is missing.
    """
    unshare = _tool("unshare")
    flags = ["--user", "--map-root-user", "--mount", "--propagation", "private", *(["--net"] if network else [])]
    reading, writing = os.pipe2(os.O_CLOEXEC)
    complaint_reading, complaint_writing = os.pipe2(os.O_CLOEXEC)
    try:
        try:
            pid = os.posix_spawn(
                unshare,
                [unshare, *flags, "/bin/sh", "-c", _HOLD],
                dict(environment),
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, writing, 1),
                    (os.POSIX_SPAWN_DUP2, complaint_writing, 2),
                ],
                setsid=True,
            )
        finally:
            os.close(writing)
            os.close(complaint_writing)
        # unshare replaces itself by the shell, and that by sleep: the pid stays. End of file: it died.
        if os.read(reading, 16).startswith(b"ready"):
            return identify(pid)
        complaint = os.read(complaint_reading, 4096).decode(errors="replace").strip()
        os.waitpid(pid, 0)
    finally:
        os.close(reading)
        os.close(complaint_reading)
    raise MissingRightError(
        f"cannot make a user namespace: {complaint or 'the kernel refused'}",
        hint=why_forbidden() or "run labctl as root instead",
    )


def enter_command(holder: ProcessId, argv: Sequence[str], *, network: bool = False) -> list[str]:
    """The command that runs another inside a holder's namespaces, as root there.

    Args:
        holder: from `start_holder`.
        argv: what to run.
        network: whether to enter its network namespace too.

    Raises:
        NotRunningError: the holder is gone.
        MissingToolError: util-linux's nsenter is missing.
    """
    if not alive(holder):
        raise NotRunningError("the lab's user namespace is gone", hint="run `labctl up` again: it makes the lab anew")
    flags = ["--user", "--mount", "--preserve-credentials", *(["--net"] if network else [])]
    return [_tool("nsenter"), "--target", str(holder.pid), *flags, "--", *argv]


def probe() -> str | None:
    """Whether we can make a user namespace with network namespaces in it, by trying: None, or why not."""
    try:
        done = subprocess.run(
            [_tool("unshare"), "--user", "--map-root-user", "--mount", "--net", "true"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=START_DEADLINE,
            check=False,
        )
    except MissingToolError as error:
        return error.message
    except subprocess.TimeoutExpired:
        return f"no answer within {START_DEADLINE:g} s"
    return None if done.returncode == 0 else done.stderr.strip() or "the kernel refused"


def why_forbidden(proc_sys: Path = Path("/proc/sys")) -> str | None:
    """What to change so that users may make user namespaces, or None where no setting is known to forbid it."""
    for name, forbidding, mend in _SWITCHES:
        try:
            value = (proc_sys / name).read_text().strip()
        except OSError:
            continue
        if value == forbidding:
            return f"{name.replace('/', '.')} is {value}: `{mend}`"
    return None


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise MissingToolError(f'no program "{name}" on PATH', hint="install util-linux: `sudo apt install util-linux`")
    return found
