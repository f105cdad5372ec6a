"""The quickstart as its user times it: up, up again, status, help, down, and what each VM takes in memory.

    ./bootstrap.sh bench quickstart [--repeat 3] [--no-write]

Each figure is of a whole command. `up` ends when both guests' agents answer; the micro image is built before the first run.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from report import machine, write_section

LABCTL = str(Path(sys.executable).parent / "labctl")
LAB = f"bench{os.getpid()}"
DEADLINE = 300
MIB = 1 << 20

TARGETS = {
    "up, both guest agents answering": "≤ 15 s",
    "up again, nothing to do": "≤ 0.7 s",
    "status": "",
    "--help": "≤ 0.25 s",
    "down": "",
}


def main(arguments: list[str]) -> int:
    """Measure, print the table, and write it to the reference."""
    parser = argparse.ArgumentParser(prog="bench quickstart")
    parser.add_argument("--repeat", type=int, default=3, help="runs")
    parser.add_argument("--no-write", action="store_true", help="leave docs/reference/benchmarks.md alone")
    options = parser.parse_args(arguments)
    home = tempfile.mkdtemp(prefix="lc-bench-", dir="/tmp")
    os.environ["LABCTL_HOME"] = home
    try:
        labctl("image", "build", "micro")
        times, memory = measure(options.repeat)
    finally:
        subprocess.run([LABCTL, "down", LAB, "--purge"], capture_output=True, check=False)
        shutil.rmtree(home)
    text = section(times, memory, options.repeat)
    sys.stdout.write(f"{text}\n")
    if not options.no_write:
        write_section("quickstart", text)
    return 0


def labctl(*arguments: str) -> float:
    """Run a command; returns seconds.

    Raises:
        CalledProcessError: it failed.
    """
    start = time.perf_counter()
    subprocess.run([LABCTL, *arguments], capture_output=True, check=True, timeout=DEADLINE)
    return time.perf_counter() - start


def measure(repeat: int) -> tuple[dict[str, list[float]], list[int]]:
    """Seconds by what was done, and each VM's resident set in bytes."""
    times: dict[str, list[float]] = defaultdict(list)
    memory: list[int] = []
    commands = (
        ("up, both guest agents answering", ("up", "quickstart", "--name", LAB)),
        ("up again, nothing to do", ("up", "quickstart", "--name", LAB)),
        ("status", ("status", LAB)),
        ("--help", ("--help",)),
    )
    for _ in range(repeat):
        for name, command in commands:
            times[name].append(labctl(*command))
        memory += resident()
        times["down"].append(labctl("down", LAB))
    return times, memory


def resident() -> Iterable[int]:
    """The resident set of each QEMU of the lab, in bytes (VmRSS, proc_pid_status(5))."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"LABCTL_VM={LAB}/".encode() not in (process / "environ").read_bytes():
                continue
            status = (process / "status").read_text()
        except OSError:
            continue
        yield next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS:"))


def section(times: dict[str, list[float]], memory: list[int], repeat: int) -> str:
    """The table as Markdown."""
    rows = [
        f"| {name} | {statistics.median(seconds):.2f} s | {min(seconds):.2f} to {max(seconds):.2f} s | {TARGETS[name]} |"
        for name, seconds in times.items()
    ]
    rows.append(
        f"| a VM's resident set (VmRSS) | {statistics.median(memory) / MIB:.0f} MiB | "
        f"{min(memory) / MIB:.0f} to {max(memory) / MIB:.0f} MiB | ≤ 160 MiB |"
    )
    return "\n".join(
        [
            "## quickstart: what its user waits for",
            "",
            f"`./bootstrap.sh bench quickstart` · {machine()} · median of {repeat}, load {os.getloadavg()[0]:.1f} at the end",
            "",
            "| | median | range | target |",
            "|---|---:|---:|---:|",
            *rows,
            "",
            "Whole commands, two guests under TCG with 128 MiB each, the image built before. As root: an ordinary user may",
            "not give back the guests' kernel files, and a VM takes some 185 MiB.",
        ]
    )
