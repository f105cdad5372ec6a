"""`python -m labctl_storage.arrayd --config FILE`: started by labd, inside the array's namespace."""

from __future__ import annotations

import argparse
from pathlib import Path


def main() -> None:
    """Run the agent until it is told to stop."""
    from labctl.agent.server import run_agent
    from labctl_storage.arrayd.application import ArrayApplication

    parser = argparse.ArgumentParser(
        prog="python -m labctl_storage.arrayd", description="The agent of a labctl storage array."
    )
    parser.add_argument("--config", type=Path, required=True, help="the agent's configuration file, as labd writes it")
    run_agent(parser.parse_args().config, ArrayApplication)


if __name__ == "__main__":
    main()
