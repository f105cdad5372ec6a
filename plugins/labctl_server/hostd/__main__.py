"""`python -m labctl_server.hostd --config FILE`: started by labd, inside the host's namespace."""

from __future__ import annotations

import argparse
from pathlib import Path


def main() -> None:
    """Run the agent until it is told to stop."""
    from labctl.agent.server import run_agent
    from labctl_server.hostd.application import HostApplication

    parser = argparse.ArgumentParser(prog="python -m labctl_server.hostd", description="The agent of a labctl host.")
    parser.add_argument("--config", type=Path, required=True, help="the agent's configuration file, as labd writes it")
    run_agent(parser.parse_args().config, HostApplication)


if __name__ == "__main__":
    main()
