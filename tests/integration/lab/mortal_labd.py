"""labd as it is, but for a journal that at a chosen transaction kills the process, or somebody else, and that counts.

The victim is `labd` (itself), or whoever carries `NAME=value` in the environment: an agent, a QEMU, the command line.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
from collections.abc import Sequence
from pathlib import Path

from labctl.agent.logfile import log_to_stderr
from labctl.daemon.labd import Daemon
from labctl.daemon.launcher import only_one
from labctl.linux import processes
from labctl.runtime.journal import Journal, Statement
from labctl.runtime.paths import LabPaths
from labctl.testing import leaks
from labctl.testing.crash import CrashJournal, kill_self

ITSELF = "labd"


class CountingJournal(CrashJournal):
    """Also writes down how many transactions there were."""

    counter: Path

    def write(self, log: Sequence[tuple[str, str]], statements: Sequence[Statement]) -> None:
        super().write(log, statements)
        self.counter.write_text(str(self.transactions))


class StrikingJournal(CountingJournal):
    """Kills a victim at one transaction, and goes on."""

    lab: str
    victim: str
    strike_at: int | None
    side: str

    def write(self, log: Sequence[tuple[str, str]], statements: Sequence[Statement]) -> None:
        due = self.transactions + 1 == self.strike_at
        if due and self.side == "before":
            self.strike()
        super().write(log, statements)
        if due and self.side == "after":
            self.strike()

    def strike(self) -> None:
        """SIGKILL whoever is meant, if it is there yet: in this lab alone, and of a process and its children the process."""
        ours = set(processes.find_by_environment(f"{leaks.TOKEN_VARIABLE}={self.lab}"))
        for found in ours & set(processes.find_by_environment(self.victim)):
            command = Path(f"/proc/{found.pid}/cmdline").read_bytes()
            if self.victim.startswith("LABCTL_NODE=") and b"--config" not in command:
                continue
            os.kill(found.pid, signal.SIGKILL)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--lab", required=True)
    parser.add_argument("--home", required=True, type=Path)
    parser.add_argument("--at", type=int)
    parser.add_argument("--side", default="after")
    parser.add_argument("--victim", default=ITSELF)
    parser.add_argument("--counter", type=Path, required=True)
    arguments = parser.parse_args()
    log_to_stderr()
    paths = LabPaths(arguments.home, arguments.lab)

    def journal(path: Path) -> Journal:
        CountingJournal.counter = arguments.counter
        if arguments.victim == ITSELF:
            return CountingJournal(path, arguments.at, arguments.side, die=kill_self)
        StrikingJournal.victim, StrikingJournal.side = arguments.victim, arguments.side
        StrikingJournal.strike_at, StrikingJournal.lab = arguments.at, arguments.lab
        return StrikingJournal(path)

    with only_one(paths.directory):
        asyncio.run(Daemon(paths, rootless=False, journal=journal).run())


if __name__ == "__main__":
    main()
