"""What watching costs: the speed of storage with and without `labctl trace record` and `live` on its link, and what they lose.

    ./bootstrap.sh bench trace-live [--repeat 5] [--seconds 1] [--no-write]

Our iSCSI target, `qemu-img bench` as its client, 32 requests at a time, as fast as they can. Each round has a run with nothing, with each
watcher and with dumpcap, in turn, so that a busy moment of the machine meets all. Files go to memory.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from iscsi import QEMU, SHARED_MEMORY, make_disk
from iscsi_sides import OURS, Link, Targets, default_control, linked, serving
from report import machine, write_section

MOST = 10.0
"""Per cent that a watcher may cost."""

DEPTH = 32
NOTHING, RECORD, LIVE, DUMPCAP = "nothing", "record", "live", "dumpcap"
WATCHERS = (NOTHING, RECORD, LIVE, DUMPCAP)
WORKLOADS = (
    ("read 4 KiB", 4096, False),
    ("write 4 KiB", 4096, True),
    ("read 128 KiB", 131072, False),
    ("write 128 KiB", 131072, True),
)
HERE = Path(__file__).resolve().parent


@dataclass
class Taken:
    """What the runs of a workload with one watcher came to.

    Args:
        rates: requests a second.
        work: seconds of CPU that client and target had for a request: what the kernel does for the watcher in their time is in it, and
            that other programs were busy is not.
        drops: packets that found no room in the kernel's ring.
        skipped: blocks of packets that a live view left out rather than lag.
        cpu: the watcher's seconds of CPU for a second of the run.
    """

    rates: list[float] = field(default_factory=list)
    work: list[float] = field(default_factory=list)
    drops: int = 0
    skipped: int = 0
    cpu: list[float] = field(default_factory=list)


@contextmanager
def watching(link: Link, what: str, folder: Path, taken: Taken) -> Iterator[None]:
    """Watch the client's end of the link; adds what the watcher says to `taken`."""
    path = folder / "watched.pcapng"
    if what == NOTHING:
        yield
    elif what == DUMPCAP:
        words = link.command(link.client, "dumpcap", "-q", "-i", "v0", "-w", str(path), "-B", "64")
        with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
            _await(path)
            yield
            process.terminate()
            assert process.stderr is not None
            taken.drops += _dropped(process.stderr.read())
    else:
        words = [sys.executable, str(HERE / "trace_watch.py"), what, link.client, "v0", str(path)]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            process.stdout.readline()
            begin = time.monotonic()
            yield
            seconds = time.monotonic() - begin
            said, _ = process.communicate()
            told = json.loads(said)
            taken.drops += told["drops"]
            taken.skipped += told["skipped"]
            taken.cpu.append(told["cpu"] / seconds)
    path.unlink(missing_ok=True)


def _await(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists():
        if time.monotonic() > deadline:
            raise SystemExit("dumpcap did not begin")
        time.sleep(0.05)
    time.sleep(0.5)  # it makes the file before it opens the interface


def _dropped(said: str) -> int:
    """`Packets received/dropped on interface 'v0': 5/0 (pcap:0/dumpcap:0/…)`."""
    _, _, rest = said.partition("received/dropped on interface")
    return int(rest.partition("/")[2].split()[0]) if rest else 0


def requests(link: Link, targets: Targets, size: int, count: int, *, write: bool) -> tuple[float, float]:
    """Requests a second of one run, and seconds of CPU for each."""
    words = [
        QEMU, "bench", *(["-w"] if write else []), "-f", "raw", "-t", "none", "-c", str(count), "-d", str(DEPTH), "-s", str(size),
        targets.url(OURS),
    ]  # fmt: skip
    before = _cpu(targets)
    done = subprocess.run(link.command(link.client, *words), capture_output=True, text=True, timeout=120, check=True)
    return count / float(done.stdout.rpartition("completed in ")[2].split()[0]), (_cpu(targets) - before) / count


def _cpu(targets: Targets) -> float:
    """Seconds that the target has used, and the clients that have ended."""
    clients = resource.getrusage(resource.RUSAGE_CHILDREN)
    return targets.cpu(OURS) + clients.ru_utime + clients.ru_stime


def measure(folder: Path, repeat: int, seconds: float) -> dict[str, dict[str, Taken]]:
    """Results by workload and watcher."""
    found = {name: {what: Taken() for what in WATCHERS} for name, _, _ in WORKLOADS}
    disk = folder / "disk.img"
    make_disk(disk)
    with linked(default_control()) as link, serving(link, disk) as targets:
        for name, size, write in WORKLOADS:
            count = max(200, int(seconds * requests(link, targets, size, 2000, write=write)[0]))
            for _ in range(repeat):
                for what, taken in found[name].items():
                    with watching(link, what, folder, taken):
                        rate, work = requests(link, targets, size, count, write=write)
                    taken.rates.append(rate)
                    taken.work.append(work)
    return found


def rows(found: dict[str, dict[str, Taken]]) -> Iterator[str]:
    """A line of the table for each workload and watcher."""
    for name, by_watcher in found.items():
        bare = by_watcher[NOTHING]
        for what, taken in by_watcher.items():
            rate, work = (statistics.median(each) for each in (taken.rates, taken.work))
            line = f"| {name} | {what} | {rate:,.0f} | {work * 1e6:.0f} µs |"
            if what == NOTHING:
                yield f"{line} | | | | |"
                continue
            slower = 100 * (1 - rate / statistics.median(bare.rates))
            dearer = 100 * (work / statistics.median(bare.work) - 1)
            marks = "" if slower <= MOST else " ✗", "" if not taken.drops else " ✗"
            cpu = f"{100 * statistics.median(taken.cpu):.0f} %" if taken.cpu else ""
            target = f"**{slower:.0f} %** (≤ {MOST:g}){marks[0]}"
            yield f"{line} {target} | {dearer:.0f} % | {taken.drops:,}{marks[1]} | {taken.skipped:,} | {cpu} |"


def main(arguments: list[str]) -> int:
    """Run it, print the table, and put it into the documentation."""
    parser = argparse.ArgumentParser(prog="bench trace-live", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeat", type=int, default=5, help="rounds; default: 5")
    parser.add_argument("--seconds", type=float, default=1.0, help="of a run without a watcher; default: 1")
    parser.add_argument("--no-write", action="store_true", help="leave docs/reference/benchmarks.md alone")
    options = parser.parse_args(arguments)
    load = os.getloadavg()[0]
    memory = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="labctl-bench-", dir=memory) as folder:
        found = measure(Path(folder), options.repeat, options.seconds)
    text = "\n".join(
        (
            "## trace-live: what watching costs",
            "",
            f"`./bootstrap.sh bench trace-live` · {machine()} · median of {options.repeat}, load {load:.1f} at the start",
            "",
            "| iSCSI, depth 32 | watched by | requests/s | CPU a request | slower (target) | dearer | lost | left out | watcher's CPU |",
            "|---|---|---:|---:|---:|---:|---:|---:|---:|",
            *rows(found),
            "",
            "`labctl trace record` and `dumpcap` keep every packet whole, in memory; `labctl trace live` decodes it. Client, target and",
            "watcher share the machine's CPUs: slower is what is left where none is spare; dearer is how much more CPU client and target",
            "need for a request, copies into the watcher's ring among it. Lost are packets that the ring (64 MiB) had no room for;",
            "left out are blocks of packets (1 MiB) that `live` passed over because it was a second behind.",
        )
    )
    sys.stdout.write(text + "\n")
    if not options.no_write:
        write_section("trace-live", text)
    return 0
