"""Our NFS server against nfs-ganesha: the same folder, the same clients, the same network, in turn.

    ./bootstrap.sh bench nfs [--quick] [--repeat 5] [--seconds 0.8] [--only TEXT] [--no-write]

Each cell is measured in rounds, ours and ganesha in turn; its figures are medians. Clients are `qemu-img bench` (it speaks NFSv3 alone;
several connections are several processes of it) and libnfs for metadata (NFSv3 and NFSv4.0).
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
from dataclasses import dataclass
from pathlib import Path

from iscsi_sides import Link, default_control, linked
from nfs_sides import GANESHA, OURS, Servers, serving
from report import machine, write_section

GIB = 1 << 30
DISK_SIZE = GIB
FLAT = "reno"
SHARED_MEMORY = Path("/dev/shm")
DEADLINE = 60
FILES = 1000
LISTED = 5000
PACKAGES = {
    "ganesha.nfsd": "nfs-ganesha nfs-ganesha-vfs",
    "rpcbind": "rpcbind",
    "qemu-img": "qemu-utils",
    "nfs-ls": "libnfs-utils",
    "ip": "iproute2",
}


@dataclass(frozen=True)
class Cell:
    """One line of the table of reads and writes: see iscsi.Cell."""

    write: bool
    size: int
    depth: int
    connections: int

    @property
    def label(self) -> str:
        """Its name, as it stands in the table."""
        kind = "write" if self.write else "read"
        return f"{kind} {self.size >> 10} KiB, depth {self.depth}, {self.connections} conn."

    @property
    def target(self) -> float:
        """The ratio to ganesha that it is to reach."""
        return 1.5 if self.depth == 32 and self.size == 4096 else 1.0

    def command(self, url: str, index: int, count: int) -> list[str]:
        """The client's command line; `index` tells the connections apart."""
        offset = DISK_SIZE // self.connections * index
        kind = ["-w"] if self.write else []
        return [
            "qemu-img", "bench", *kind, "-f", "raw", "-t", "none", "-c", str(count), "-d", str(self.depth),
            "-s", str(self.size), "-o", str(offset), url,
        ]  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """One run: operations a second, and seconds of the server's CPU for a GiB."""

    rate: float
    cpu: float


def cells(*, quick: bool) -> list[Cell]:
    """Every combination; `quick` has those of one connection."""
    return [
        Cell(write, size, depth, connections)
        for write in (False, True)
        for size in (4096, 128 << 10)
        for depth in (1, 32)
        for connections in ((1,) if quick else (1, 4))
    ]


def main(arguments: list[str]) -> int:
    """Measure, print the tables, and write them to the reference."""
    parser = argparse.ArgumentParser(prog="bench nfs", description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="few cells, short runs, nothing written: while developing")
    parser.add_argument("--repeat", type=int, help="rounds of each cell; default: 5, quick: 3")
    parser.add_argument("--seconds", type=float, help="of a run; default: 0.8, quick: 0.4")
    parser.add_argument("--only", default="", help="cells whose name contains this; `metadata` for those alone")
    parser.add_argument("--no-write", action="store_true", help="leave docs/reference/benchmarks.md alone")
    options = parser.parse_args(arguments)
    if lacking := _lacking():
        sys.stderr.write(f"{lacking}\n")
        return 1
    repeat = options.repeat or (3 if options.quick else 5)
    seconds = options.seconds or (0.4 if options.quick else 0.8)
    chosen = [cell for cell in cells(quick=options.quick) if options.only in cell.label]
    files = FILES // 4 if options.quick else FILES
    with tempfile.TemporaryDirectory(prefix="lc-bench-", dir=SHARED_MEMORY if SHARED_MEMORY.is_dir() else None) as home:
        text = "\n".join([*_head(repeat), *_tables(Path(home), chosen, options.only, repeat, seconds, files), *_foot()])
    sys.stdout.write(f"{text}\n")
    if not options.no_write and not options.quick and not options.only:
        write_section("nfs", text)
    return 0


def _tables(home: Path, chosen: list[Cell], only: str, repeat: int, seconds: float, files: int) -> list[str]:
    folder, scratch = home / "export", home / "scratch"
    folder.mkdir()
    scratch.mkdir()
    part = os.urandom(1 << 20)
    with (folder / "disk").open("wb") as file:
        for _ in range(DISK_SIZE // len(part)):
            file.write(part)
    with linked(FLAT) as link, serving(link, FLAT, folder, scratch) as servers:
        limit = statistics.median(link.stream(seconds) for _ in range(repeat))
        lines = _table_head(limit)
        for cell in chosen:
            lines.append(_row(cell, _measure(link, servers, cell, repeat, seconds), limit))
            sys.stderr.write(f"{lines[-1]}\n")
        if only in ("", "metadata"):
            lines += _metadata(servers, repeat, files)
    return lines


def _measure(link: Link, servers: Servers, cell: Cell, repeat: int, seconds: float) -> dict[str, list[Sample]]:
    samples: dict[str, list[Sample]] = {OURS: [], GANESHA: []}
    counts = {side: 400 * min(cell.depth, 8) for side in samples}
    for number in range(repeat + 1):
        for side, runs in samples.items():
            sample = _sample(link, servers, side, cell, counts[side])
            counts[side] = max(cell.depth, round(sample.rate * seconds / cell.connections))
            if number:
                runs.append(sample)
    return samples


def _sample(link: Link, servers: Servers, side: str, cell: Cell, count: int) -> Sample:
    before = servers.cpu(side)
    url = servers.url(side, "/disk")
    clients = [
        subprocess.Popen(
            link.command(link.client, *cell.command(url, index, count)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for index in range(cell.connections)
    ]
    rate = 0.0
    for client in clients:
        output = client.communicate(timeout=DEADLINE)[0]
        took = re.search(r"Run completed in ([\d.]+) seconds", output)
        if client.returncode != 0 or took is None:
            raise SystemExit(f"{cell.label} against {side} failed:\n{output}")
        rate += count / float(took[1])
    return Sample(rate, (servers.cpu(side) - before) / (count * cell.connections * cell.size / GIB))


def _row(cell: Cell, samples: dict[str, list[Sample]], limit: float) -> str:
    ours, theirs = samples[OURS], samples[GANESHA]
    ratio = statistics.median(a.rate / b.rate for a, b in zip(ours, theirs, strict=True))
    rate, other = (statistics.median(sample.rate for sample in runs) for runs in (ours, theirs))
    cpu, other_cpu = (statistics.median(sample.cpu for sample in runs) for runs in (ours, theirs))
    return (
        f"| {cell.label} | {rate:,.0f} | {other:,.0f} | {rate * cell.size / 1e6:,.0f} | {other * cell.size / 1e6:,.0f} "
        f"| {cpu:.2f} | {other_cpu:.2f} | {rate * cell.size / limit * 100:.0f} % | {_verdict(ratio, cell.target)} |"
    )


def _verdict(ratio: float, target: float) -> str:
    return f"**{ratio:.2f}** (≥ {target}){'' if ratio >= target else ' ✗'}"


def _metadata(servers: Servers, repeat: int, files: int) -> list[str]:
    lines = [
        "",
        f"Metadata through libnfs, operations a second; {files:,} files, listings of {LISTED:,} (entries a second).",
        "",
        "| | ours | ganesha | ratio (target) |",
        "|---|---:|---:|---:|",
    ]
    for version, target in ((3, 1.0), (4, 1.5)):
        for depth, count in ((1, files), (32, LISTED)):
            runs: dict[str, list[dict[str, float]]] = {OURS: [], GANESHA: []}
            for _ in range(repeat):
                for side, found in runs.items():
                    found.append(servers.metadata(side, version=version, count=count, depth=depth))
            for kind in runs[OURS][0]:
                pairs = [(a[kind], b[kind]) for a, b in zip(runs[OURS], runs[GANESHA], strict=True)]
                ratio = statistics.median(a / b for a, b in pairs)
                mine, theirs = (statistics.median(values) for values in zip(*pairs, strict=True))
                name = "NFSv3" if version == 3 else "NFSv4.0"
                line = f"| {name} {kind}, depth {depth} | {mine:,.0f} | {theirs:,.0f} | {_verdict(ratio, target)} |"
                lines.append(line)
                sys.stderr.write(f"{line}\n")
    return lines


def _head(repeat: int) -> list[str]:
    version = subprocess.run(["ganesha.nfsd", "-v"], capture_output=True, text=True, check=False).stdout.split("\n")[0]
    return [
        "## nfs: ours and nfs-ganesha",
        "",
        f"`./bootstrap.sh bench nfs` · {machine()} · {version.strip()}, FSAL VFS · median of {repeat}, "
        f"load {os.getloadavg()[0]:.1f} at the start",
    ]


def _table_head(limit: float) -> list[str]:
    return [
        "",
        f"Congestion control **{FLAT}** on both sides (the machine's default is {default_control()}); a bare TCP stream carries "
        f"{limit / 1e6:,.0f} MB/s ({limit * 8 / 1e9:.1f} Gbit/s). `qemu-img bench` over NFSv3:",
        "",
        "| | IOPS | ganesha | MB/s | ganesha | CPU s/GiB | ganesha | of bare TCP | ratio (target) |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]


def _foot() -> list[str]:
    return [
        "",
        "Each server runs in a network namespace of its own; both serve the same folder on tmpfs, with a 1 GiB file in it; the clients",
        "run in a third, joined to each by veth. Rounds alternate; the ratio is the median of the rounds'. CPU is the server's",
        "own, user and system. At depth 1 a figure is mostly the CPUs' wake-up from sleep.",
    ]


def _lacking() -> str | None:
    if os.geteuid() != 0:
        return "the benchmark needs root, for its network namespaces. Run it with sudo."
    missing = [package for tool, package in PACKAGES.items() if shutil.which(tool) is None]
    return f"missing packages: sudo apt install {' '.join(missing)}" if missing else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
