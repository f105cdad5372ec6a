"""`python -m labctl.daemon --lab NAME --home DIR [--rootless]`: what the launcher starts."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from pathlib import Path

from labctl.agent.logfile import log_to_stderr
from labctl.errors import ExitCode, LabError
from labctl.runtime.paths import LabPaths


def main() -> int:
    """Run labd; returns its exit code."""
    parser = argparse.ArgumentParser(prog="labd", description="The daemon of one lab; `labctl up` starts it.")
    parser.add_argument("--lab", required=True, help="the lab's name")
    parser.add_argument("--home", required=True, type=Path, help="the folder of all labs")
    parser.add_argument("--rootless", action="store_true", help="we are inside the lab's own user namespace")
    arguments = parser.parse_args()
    log_to_stderr()
    paths = LabPaths(arguments.home, arguments.lab)
    from labctl.daemon.labd import Daemon
    from labctl.daemon.launcher import only_one

    try:
        with only_one(paths.directory):
            asyncio.run(Daemon(paths, rootless=arguments.rootless).run())
    except LabError as error:
        logging.getLogger("labd").error("%s%s", error.message, f" ({error.hint})" if error.hint else "")
        return int(error.exit_code)
    return int(ExitCode.OK)


if __name__ == "__main__":
    sys.exit(main())
