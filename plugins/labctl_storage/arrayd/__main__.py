"""`python -m labctl_storage.arrayd --config FILE`: started by labd, inside the array's namespace."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

OUTSIDE = 16
"""Threads that reach what holds the array's data, which like a real one's disks is no part of the lab's networks: they wait for it."""


def main() -> None:
    """Run the agent until it is told to stop."""
    from labctl.agent.config import AgentConfig
    from labctl.agent.server import run_agent
    from labctl.linux import namespaces
    from labctl.linux.outside import threads_here
    from labctl_storage.arrayd.application import ArrayApplication

    parser = argparse.ArgumentParser(
        prog="python -m labctl_storage.arrayd", description="The agent of a labctl storage array."
    )
    parser.add_argument("--config", type=Path, required=True, help="the agent's configuration file, as labd writes it")
    path = parser.parse_args().config
    namespace = AgentConfig.model_validate_json(path.read_bytes()).namespace
    outside = None
    if namespace is not None:
        outside = threads_here(OUTSIDE)
        namespaces.enter(namespace)
    run_agent(path, partial(ArrayApplication, outside=outside))


if __name__ == "__main__":
    main()
