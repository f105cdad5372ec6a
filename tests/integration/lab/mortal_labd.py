"""labd as it is, but for a journal that kills the process at a chosen transaction, and tells in a file how many there were."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from pathlib import Path

from labctl.agent.logfile import log_to_stderr
from labctl.daemon.labd import Daemon
from labctl.daemon.launcher import only_one
from labctl.runtime.journal import Statement
from labctl.runtime.paths import LabPaths
from labctl.testing.crash import CrashJournal, kill_self


class CountingJournal(CrashJournal):
    """Also writes down how many transactions there were."""

    counter: Path

    def write(self, log: Sequence[tuple[str, str]], statements: Sequence[Statement]) -> None:
        super().write(log, statements)
        self.counter.write_text(str(self.transactions))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--lab", required=True)
    parser.add_argument("--home", required=True, type=Path)
    parser.add_argument("--at", type=int)
    parser.add_argument("--side", default="after")
    parser.add_argument("--counter", type=Path, required=True)
    arguments = parser.parse_args()
    log_to_stderr()
    paths = LabPaths(arguments.home, arguments.lab)

    def journal(path: Path) -> CountingJournal:
        CountingJournal.counter = arguments.counter
        return CountingJournal(path, arguments.at, arguments.side, die=kill_self)

    with only_one(paths.directory):
        asyncio.run(Daemon(paths, rootless=False, journal=journal).run())


if __name__ == "__main__":
    main()
