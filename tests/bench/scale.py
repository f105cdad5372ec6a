"""Building and removing one switch with N nodes: labctl's network layer against Mininet, interleaved, in one run.

    ./bootstrap.sh bench scale [--sizes 10,100,300] [--repeat 3] [--no-write]

Each run is a fresh process in a fresh network namespace (so that Mininet's bridge and links do not meet the machine's own); the
interpreter's start and imports are not counted on either side. A run counts only if a ping from the first node to the last is answered.
Removal counts until the kernel has truly taken the last namespace and link apart (namespaces_gone.py).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from report import machine, write_section

HERE = Path(__file__).resolve().parent
SYSTEM_PYTHON = "/usr/bin/python3"  # Debian's package mininet is installed for this one
SIDES = {
    "labctl": [sys.executable, str(HERE / "scale_labctl.py")],
    "Mininet": [SYSTEM_PYTHON, str(HERE / "scale_mininet.py")],
}
DEADLINE = 600  # seconds for one run
PACKAGES = {"mn": "mininet", "brctl": "bridge-utils", "ping": "iputils-ping", "unshare": "util-linux", "ip": "iproute2"}


@dataclass(frozen=True)
class Timing:
    """Seconds, each the median of its runs."""

    up: float
    down: float


def main(arguments: list[str]) -> int:
    """Measure, print the table, and write it to the reference."""
    parser = argparse.ArgumentParser(prog="bench scale", description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--sizes", default="10,100,300", help="numbers of nodes")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each side at each size")
    parser.add_argument("--no-write", action="store_true", help="leave docs/reference/benchmarks.md alone")
    options = parser.parse_args(arguments)
    if lacking := _lacking():
        sys.stderr.write(f"{lacking}\n")
        return 1
    sizes = [int(size) for size in options.sizes.split(",")]
    results = {size: measure(size, options.repeat) for size in sizes}
    text = section(results, options.repeat)
    sys.stdout.write(f"{text}\n")
    if not options.no_write:
        write_section("scale", text)
    return 0


def measure(size: int, repeat: int) -> dict[str, Timing]:
    """Both sides' medians, their runs interleaved so that a busy moment of the machine meets both."""
    runs: dict[str, list[Timing]] = {side: [] for side in SIDES}
    for number in range(repeat):
        for side, command in SIDES.items():
            sys.stderr.write(f"{size} nodes, run {number + 1} of {repeat}: {side} …\n")
            runs[side].append(_run([*command, str(size)]))
    return {
        side: Timing(statistics.median(t.up for t in timings), statistics.median(t.down for t in timings))
        for side, timings in runs.items()
    }


def section(results: dict[int, dict[str, Timing]], repeat: int) -> str:
    """The results as Markdown."""
    lines = [
        "## scale: one switch, N nodes",
        "",
        f"`./bootstrap.sh bench scale` · {machine()} · Mininet {_mininet_version()} (LinuxBridge, no controller) · median of {repeat}",
        "",
        "| nodes | labctl up | Mininet up | ratio | labctl down | Mininet down | ratio |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for size, sides in results.items():
        ours, theirs = sides["labctl"], sides["Mininet"]
        lines.append(
            f"| {size} | {_cell(ours.up, size)} | {_cell(theirs.up, size)} | {theirs.up / ours.up:.0f}x "
            f"| {_cell(ours.down, size)} | {_cell(theirs.down, size)} | {theirs.down / ours.down:.0f}x |"
        )
    lines += [
        "",
        "In brackets: milliseconds a node. Each node is a network namespace with an address on a veth link to one bridge,",
        "proven by a ping from the first to the last. Mininet starts a shell in each host, which is how it holds the namespace",
        "and configures it; labctl needs none: it batches netlink messages and forks nothing. Removal counts until the kernel",
        "has taken the last namespace and link apart, on both sides; the way of finding out adds 1 to 7 ms.",
    ]
    return "\n".join(lines)


def _cell(seconds: float, size: int) -> str:
    return f"{seconds:.2f} s ({seconds / size * 1000:.1f})"


def _run(command: list[str]) -> Timing:
    done = subprocess.run(["unshare", "--net", *command], capture_output=True, text=True, timeout=DEADLINE, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return Timing(**json.loads(done.stdout.splitlines()[-1]))


def _lacking() -> str | None:
    if os.geteuid() != 0:
        return "the benchmark needs root: Mininet does. Run it with sudo."
    missing = [package for tool, package in PACKAGES.items() if shutil.which(tool) is None]
    return f"missing packages: sudo apt install {' '.join(missing)}" if missing else None


def _mininet_version() -> str:
    done = subprocess.run(["mn", "--version"], capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
