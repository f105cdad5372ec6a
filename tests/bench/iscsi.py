"""Our iSCSI target against tgt: the same file, the same clients, the same network, in turn.

    ./bootstrap.sh bench iscsi [--quick] [--repeat 5] [--seconds 0.5] [--only TEXT] [--no-write]

Each cell is measured in rounds, ours and tgt in turn, so that a busy moment of the machine meets both; its figures are medians.
Clients are `qemu-img bench` (reads and writes) and `iscsi-perf` (it can only read); several connections are several processes of them.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from iscsi_sides import OURS, TGT, Link, Targets, awake, default_control, linked, serving
from report import machine, write_section

GIB = 1 << 30
DISK_SIZE = GIB
BLOCK = 512
FLAT = "reno"  # allowed in every namespace; does not pace, so it shows how far the rest goes
SHARE_OF_STREAM = (
    0.6  # of what a bare stream carries, at 128 KiB and depth 32 under the machine's own congestion control
)
SHARED_MEMORY = Path("/dev/shm")
DEADLINE = 60
QEMU, PERF = "qemu-img", "iscsi-perf"
PACKAGES = {"tgtd": "tgt", QEMU: "qemu-utils", PERF: "libiscsi-bin", "ip": "iproute2", "chrt": "util-linux"}


@dataclass(frozen=True)
class Cell:
    """One line of the table.

    Args:
        client: QEMU or PERF.
        write: else it reads.
        size: bytes of a request.
        depth: requests of a connection under way.
        connections: how many.
        awake: the CPUs are kept from sleeping.
    """

    client: str
    write: bool
    size: int
    depth: int
    connections: int
    awake: bool = False

    @property
    def label(self) -> str:
        """Its name, as it stands in the table."""
        kind = "write" if self.write else "read"
        suffix = ", CPUs awake" if self.awake else ""
        return f"{self.client} {kind} {self.size >> 10} KiB, depth {self.depth}, {self.connections} conn.{suffix}"

    def target(self, control: str) -> float:
        """The ratio to tgt that it is to reach."""
        if self.depth == 32 and self.size == 4096:
            return 5.0
        return 1.5 if self.depth == 32 else 1.2

    def command(self, url: str, index: int, count: int, seconds: float) -> list[str]:
        """The client's command line; `index` tells the connections apart."""
        if self.client == PERF:
            limit = str(max(1, round(seconds)))
            return [PERF, "-m", str(self.depth), "-b", str(self.size // BLOCK), "-t", limit, url]
        offset = DISK_SIZE // self.connections * index
        kind = ["-w"] if self.write else []
        return [
            QEMU, "bench", *kind, "-f", "raw", "-t", "none", "-c", str(count), "-d", str(self.depth),
            "-s", str(self.size), "-o", str(offset), url,
        ]  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """One run: operations a second, and seconds of the target's CPU for a GiB."""

    rate: float
    cpu: float


def cells(*, quick: bool) -> list[Cell]:
    """Every combination; `quick` has the ones that tell most."""
    clients = ((QEMU, False), (QEMU, True), (PERF, False))
    sizes, depths = (4096, 128 << 10), (1, 32)
    if quick:
        return [Cell(QEMU, write, size, depth, 1) for write in (False, True) for size in sizes for depth in depths]
    table = [
        Cell(client, write, size, depth, connections)
        for client, write in clients
        for size in sizes
        for depth in depths
        for connections in (1, 4)
    ]
    lone = [Cell(QEMU, write, size, 1, 1, awake=True) for write in (False, True) for size in sizes]
    return table + lone


def main(arguments: list[str]) -> int:
    """Measure, print the table, and write it to the reference."""
    parser = argparse.ArgumentParser(prog="bench iscsi", description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="few cells, short runs, nothing written: while developing")
    parser.add_argument("--repeat", type=int, help="rounds of each cell; default: 5, quick: 3")
    parser.add_argument("--seconds", type=float, help="of a run; default: 0.5, quick: 0.4")
    parser.add_argument("--only", default="", help="cells whose name contains this")
    parser.add_argument("--no-write", action="store_true", help="leave docs/reference/benchmarks.md alone")
    options = parser.parse_args(arguments)
    if lacking := _lacking():
        sys.stderr.write(f"{lacking}\n")
        return 1
    repeat = options.repeat or (3 if options.quick else 5)
    seconds = options.seconds or (0.4 if options.quick else 0.5)
    chosen = [cell for cell in cells(quick=options.quick) if options.only in cell.label]
    plan = {FLAT: chosen}
    if not options.quick and default_control() != FLAT:
        plan[default_control()] = [cell for cell in chosen if cell.size > 4096 and cell.depth > 1]
    text = "\n".join([*_head(repeat), *_tables(plan, repeat, seconds), *_foot()])
    sys.stdout.write(f"{text}\n")
    if not options.no_write and not options.quick and not options.only:
        write_section("iscsi", text)
    return 0


def _tables(plan: dict[str, list[Cell]], repeat: int, seconds: float) -> list[str]:
    lines = []
    folder = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="lc-bench-", dir=folder) as home:
        disk = Path(home) / "disk.img"
        make_disk(disk)
        for control, chosen in plan.items():
            if not chosen:
                continue
            with linked(control) as link, serving(link, disk) as targets:
                limits = [link.stream(seconds) for _ in range(repeat)]
                limit = statistics.median(limits)
                lines += _table_head(control, limit)
                for cell in chosen:
                    samples = measure(link, targets, cell, repeat, seconds)
                    lines.append(row(cell, control, samples, limit))
                    sys.stderr.write(f"{control}: {lines[-1]}\n")
    return lines


def make_disk(path: Path) -> None:
    """A disk without holes."""
    part = os.urandom(1 << 20)
    with path.open("wb") as file:
        for _ in range(DISK_SIZE // len(part)):
            file.write(part)


def measure(link: Link, targets: Targets, cell: Cell, repeat: int, seconds: float) -> dict[str, list[Sample]]:
    """Rounds of a cell, after a short one that warms up and tells how many requests fill the time."""
    samples: dict[str, list[Sample]] = {OURS: [], TGT: []}
    counts = {side: 400 * min(cell.depth, 8) for side in samples}
    with awake() if cell.awake else nullcontext():
        for number in range(repeat + 1):
            for side, runs in samples.items():
                sample = _sample(link, targets, side, cell, counts[side], seconds)
                counts[side] = max(cell.depth, round(sample.rate * seconds / cell.connections))
                if number:
                    runs.append(sample)
    return samples


def _sample(link: Link, targets: Targets, side: str, cell: Cell, count: int, seconds: float) -> Sample:
    before = targets.cpu(side)
    clients = [
        subprocess.Popen(
            link.command(link.client, *cell.command(targets.url(side), index, count, seconds)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for index in range(cell.connections)
    ]
    rate = operations = 0.0
    for client in clients:
        output = client.communicate(timeout=DEADLINE)[0]
        if client.returncode != 0:
            raise SystemExit(f"{cell.label} against {side} failed:\n{output}")
        done, took = _result(cell, output, count, seconds)
        operations += done
        rate += done / took
    cpu = (targets.cpu(side) - before) / (operations * cell.size / GIB)
    return Sample(rate, cpu)


def _result(cell: Cell, output: str, count: int, seconds: float) -> tuple[float, float]:
    """Operations of one client, and the seconds that they took."""
    if cell.client == QEMU:
        took = re.search(r"Run completed in ([\d.]+) seconds", output)
        assert took is not None, output
        return count, float(took[1])
    limit = max(1, round(seconds))
    averages = re.findall(r"iops average (\d+)", output)
    assert averages, output
    return int(averages[-1]) * limit, limit


def row(cell: Cell, control: str, samples: dict[str, list[Sample]], limit: float) -> str:
    """A line of the table: medians, the median of the rounds' ratios, and the share of a bare stream."""
    ours, theirs = samples[OURS], samples[TGT]
    ratio = statistics.median(a.rate / b.rate for a, b in zip(ours, theirs, strict=True))
    rate, other = (statistics.median(sample.rate for sample in runs) for runs in (ours, theirs))
    cpu, other_cpu = (statistics.median(sample.cpu for sample in runs) for runs in (ours, theirs))
    target = cell.target(control)
    mark = "" if ratio >= target else " ✗"
    share = rate * cell.size / limit
    wanted = f" (≥ {SHARE_OF_STREAM:.0%})".replace("%", " %") if control != FLAT else ""
    wanted += " ✗" if wanted and share < SHARE_OF_STREAM else ""
    return (
        f"| {cell.label} | {rate:,.0f} | {other:,.0f} | {rate * cell.size / 1e6:,.0f} | {other * cell.size / 1e6:,.0f} "
        f"| {cpu:.2f} | {other_cpu:.2f} | {share * 100:.0f} %{wanted} | **{ratio:.2f}** (≥ {target}){mark} |"
    )


def _head(repeat: int) -> list[str]:
    return [
        "## iscsi: ours and tgt",
        "",
        f"`./bootstrap.sh bench iscsi` · {machine()} · tgt {_tgt_version()} as Debian configures it · median of {repeat}, "
        f"load {os.getloadavg()[0]:.1f} at the start",
    ]


def _table_head(control: str, limit: float) -> list[str]:
    return [
        "",
        f"Congestion control **{control}** on both sides; a bare TCP stream carries {limit / 1e6:,.0f} MB/s "
        f"({limit * 8 / 1e9:.1f} Gbit/s).",
        "",
        "| | IOPS | tgt | MB/s | tgt | CPU s/GiB | tgt | of bare TCP | ratio (target) |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]


def _foot() -> list[str]:
    return [
        "",
        "Both targets run in one network namespace and serve the same 1 GiB file on tmpfs; the clients run in another, joined by",
        "veth. Rounds alternate between the targets; the ratio is the median of the rounds'. CPU is the target's own, user and",
        "system. iscsi-perf cannot write. At depth 1 a figure is mostly the CPUs' wake-up from sleep, so those of QEMU with one",
        "connection are measured again while a SCHED_IDLE loop keeps every CPU awake.",
    ]


def _lacking() -> str | None:
    if os.geteuid() != 0:
        return "the benchmark needs root, for its network namespaces. Run it with sudo."
    missing = [package for tool, package in PACKAGES.items() if shutil.which(tool) is None]
    return f"missing packages: sudo apt install {' '.join(missing)}" if missing else None


def _tgt_version() -> str:
    return subprocess.run(["tgtd", "--version"], capture_output=True, text=True, check=False).stdout.strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
