"""An agent's process: started in its node, found again by its token, ended in order.

The token stands in the process's environment before the process exists, so a labd that was killed between the spawn and the record finds
it and never starts a second one. What the agent itself starts (QEMU) inherits the token; the agent alone was started with its
configuration file as an argument.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from labctl.linux import processes
from labctl.linux.processes import ProcessId
from labctl.runtime.agents.files import AgentFiles
from labctl.runtime.agents.supervisor import ended

TOKEN = "LABCTL_TOKEN"  # noqa: S105 - the name of a variable
LAB = "LABCTL_LAB"
NODE = "LABCTL_NODE"

STOP_GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL."""


def find(files: AgentFiles) -> ProcessId | None:
    """The living process of the agent whose files these are, or None."""
    if not files.has_token():
        return None
    config = os.fsencode(files.config)
    for process in processes.find_by_environment(f"{TOKEN}={files.token()}"):
        try:
            arguments = Path(f"/proc/{process.pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if config in arguments:
            return process
    return None


def spawn(
    module: str, files: AgentFiles, *, lab: str, node: str, namespace: Path | None, cgroup: Path | None
) -> ProcessId:
    """Start an agent in its node, in a session of its own.

    Args:
        module: what `python -m` starts.
        files: where its token, configuration and log are.
        lab: the lab's name, for its environment.
        node: its node.
        namespace: the file of the node's network namespace; None starts it in ours.
        cgroup: the node's cgroup, or None.

    Raises:
        LabError: the namespace is gone, or the process cannot be started.
    """
    return processes.spawn(
        [sys.executable, "-m", module, "--config", str(files.config)],
        namespace=namespace,
        cgroups=() if cgroup is None else (cgroup,),
        environment={**os.environ, LAB: lab, NODE: node, TOKEN: files.token(), "PYTHONUNBUFFERED": "1"},
        directory=files.root,
        log=files.log,
    )


async def stop(process: ProcessId, *, grace: float = STOP_GRACE) -> None:
    """End a process: SIGTERM, and SIGKILL after the grace.

    Raises:
        TimedOutError: it does not die even of SIGKILL.
    """
    processes.send_signal(process, signal.SIGTERM)
    try:
        await asyncio.wait_for(ended(process), grace)
    except TimeoutError:
        await asyncio.to_thread(processes.terminate, [process], grace=0)
