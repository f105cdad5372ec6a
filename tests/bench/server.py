"""vMotion against bare QEMU's own migration, many migrations of a VM that verifies what it writes, and a list of many VMs.

    ./bootstrap.sh bench server [--migrations 10] [--verified 50] [--vms 200] [--no-write]

One lab: two hosts, an array, a VM on a LUN, a client that pings it each 10 ms. The bare side is the very command line with which the lab
ran the VM, started by hand in the same hosts' namespaces on the same LUN and taps, and migrated by QMP over the same network with the same
limits, without TLS. Both run the same load: memory and disk are written all the time. Downtime is told twice: as QEMU says it (ours: from
the pause until the destination was told to run), and as the longest gap between two replies to a ping.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from report import machine, write_section

from labctl.daemon.client import DaemonClient
from labctl.linux.links import delete_links
from labctl.linux.sockets import SocketPool
from labctl.linux.taps import Tap, ensure_taps
from labctl.runtime.paths import LabPaths
from labctl_server.hostd.migration import CAPABILITIES
from labctl_server.qemu.agent import GuestAgent
from labctl_server.qemu.monitor import Monitor

LABCTL = str(Path(sys.executable).parent / "labctl")
NAME = f"bench{os.getpid()}"
DEADLINE = 600
BANDWIDTH = 2**30
DOWNTIME = 500
PORT = 4444
TARGET = 1.1
LISTED = 0.3

TOPOLOGY = """
[network.management]
role = "management"
subnet = "10.30.0.0/24"
[network.storage]
role = "storage"
subnet = "10.20.0.0/24"
[network.production]
subnet = "10.10.0.0/24"
[array.gold]
[datastore.gold]
array = "gold"
protocol = "iscsi"
size = "64GiB"
[host."esx[1-2]"]
memory = "64GiB"
[cluster.prod]
hosts = ["esx1", "esx2"]
[node.client]
networks = ["production"]
[vm.web1]
image = "micro"
memory = "256MiB"
disks = [{ datastore = "gold", size = "1GiB" }]
"""

OFF = """
[vm."off[1-{count}]"]
image = "micro"
memory = "64MiB"
power = "off"
disks = [{{ datastore = "gold", size = "128MiB" }}]
"""

LOAD = """
(while :; do dd if=/dev/urandom of=/root/load bs=64k count=4 conv=fsync; sleep 0.1; done) >/dev/null 2>&1 &
(while :; do dd if=/dev/zero of=/dev/shm/load bs=64k count=64; sleep 0.05; done) >/dev/null 2>&1 &
echo begun
"""
"""Some megabytes of memory and some hundred kilobytes of disk, several times a second."""

WRITE = """
rm -rf /root/v; mkdir /root/v; cd /root/v
(i=0; while [ ! -e stop ]; do
   dd if=/dev/urandom of=f$((i%50)) bs=64k count=4 2>/dev/null; md5sum f$((i%50)) >s$((i%50)); sync; i=$((i+1)); echo $i >count
 done; touch ended) >/dev/null 2>&1 &
echo begun
"""

VERIFY = """
cd /root/v; touch stop; while [ ! -e ended ]; do sleep 1; done
sync; echo 3 >/proc/sys/vm/drop_caches
echo $(cat count) $(cat s* | md5sum -c 2>/dev/null | grep -vc ': OK$')
"""


@dataclass(frozen=True)
class Downtime:
    """Of one migration, in milliseconds: as QEMU told it, and the longest gap between two replies to a ping."""

    told: float
    gap: float


class Lab:
    """The lab, and its command line."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self.client = DaemonClient(LabPaths(home, NAME).socket, NAME)

    def labctl(self, *arguments: str) -> str:
        """Run a command.

        Raises:
            CalledProcessError: it failed.
        """
        done = subprocess.run(
            [LABCTL, *arguments],
            env={**os.environ, "LABCTL_HOME": str(self._home)},
            capture_output=True,
            text=True,
            check=True,
            timeout=DEADLINE,
        )
        return done.stdout

    def up(self, text: str) -> None:
        """Bring it up."""
        file = self._home / "lab.toml"
        file.write_text(text)
        self.labctl("up", str(file), "--name", NAME)

    def guest(self, script: str) -> str:
        """Run a script in the VM."""
        return self.labctl("exec", "--lab", NAME, "web1", "--", "sh", "-c", script)

    def where(self) -> dict[str, Any]:
        """The VM's host, process and address."""
        status = self.client.get("/v1/status", {"observe": "true"})["resources"]
        (vm,) = (each for each in status if (each["kind"], each["name"]) == ("vm", "web1"))
        return {**vm["runtime"], "address": vm["addresses"]["production"]}

    def address(self, host: str) -> str:
        """A host's address on the management network."""
        return str(self.client.get(f"/v1/resources/host/{host}")["addresses"]["management"])

    def migrate(self) -> dict[str, Any]:
        """To the other host; the task as it ended."""
        target = {"esx1": "esx2", "esx2": "esx1"}[self.where()["host"]]
        task = self.client.action("vm", "web1", "migrate", {"to": target})["result"]
        while task["state"] == "running":
            time.sleep(0.1)
            task = self.client.action("vm", "web1", "migration")["result"]
        return dict(task)


def namespace(node: str) -> Path:
    """A node's."""
    return Path("/run/netns", f"{NAME}-{node}")


@contextmanager
def pinging(address: str) -> Iterator[list[float]]:
    """Ping from the client; afterwards the list holds the longest gap in milliseconds."""
    argv = ["nsenter", f"--net={namespace('client')}", "ping", "-D", "-n", "-i", "0.01", address]
    found: list[float] = []
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as ping:
        assert ping.stdout is not None
        time.sleep(0.3)
        try:
            yield found
        finally:
            time.sleep(0.5)  # the first replies afterwards
            ping.send_signal(signal.SIGINT)
            stamps = [float(stamp) for stamp in re.findall(r"^\[([0-9.]+)\] \d+ bytes", ping.stdout.read(), re.M)]
    found.append(1000 * max(after - before for before, after in pairwise(stamps)))


def ours(lab: Lab, times: int) -> list[Downtime]:
    """The lab's vMotion."""
    lab.guest(LOAD)
    found = []
    for _ in range(times):
        with pinging(lab.where()["address"]) as gap:
            task = lab.migrate()
            if task["state"] != "completed":
                raise RuntimeError(task["message"])
        found.append(Downtime(told=float(task["downtime"]), gap=gap[0]))
    return found


async def bare(lab: Lab, argv: Sequence[str], times: int, folder: Path) -> list[Downtime]:
    """QEMU's own, by hand, with the command line with which the lab ran the VM."""
    now = lab.where()
    lab.labctl("vm", "stop", "--force", "web1", "--lab", NAME)
    pool = SocketPool()
    taps = [Tap(namespace=namespace(host), name="web1.0", mtu=1500, bridge="vSwitch0") for host in ("esx1", "esx2")]
    for failure in ensure_taps(pool, taps).values():
        raise failure
    running = _Bare(argv, now["host"], folder / "0")
    try:
        await running.connect()
        agent = GuestAgent(running.folder / "agent.sock", "web1")
        await agent.call("guest-ping", timeout=120)
        await agent.exec(["sh", "-c", LOAD])
        await agent.close()
        found = []
        for number in range(times):
            target = {"esx1": "esx2", "esx2": "esx1"}[running.host]
            uri = f"tcp:{lab.address(target)}:{PORT + number}"
            fresh = _Bare([*argv, "-incoming", uri], target, folder / str(number + 1))
            try:
                await fresh.connect()
                with pinging(now["address"]) as gap:
                    told = await running.migrate(uri)
                    await fresh.runs()
            except BaseException:
                fresh.end()
                raise
            await running.close()
            running = fresh
            found.append(Downtime(told=told, gap=gap[0]))
        return found
    finally:
        await running.close()
        delete_links(pool, [(tap.namespace, tap.name) for tap in taps])
        pool.close()
        lab.labctl("vm", "start", "web1", "--lab", NAME)


def command_of(pid: int) -> list[str]:
    """A process's command line."""
    return [word.decode() for word in Path("/proc", str(pid), "cmdline").read_bytes().split(b"\0")[:-1]]


class _Bare:
    """A QEMU that was started by hand."""

    def __init__(self, argv: Sequence[str], host: str, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.host, self.folder = host, folder
        words = ["nsenter", f"--net={namespace(host)}", "--", *argv]
        self._process = subprocess.Popen(words, cwd=folder, stdout=subprocess.DEVNULL)
        self.monitor = Monitor("web1")

    async def connect(self) -> None:
        await self.monitor.connect(self.folder / "qmp.sock", timeout=30)
        told: list[Any] = [{"capability": name, "state": state} for name, state in CAPABILITIES.items()]
        await self.monitor.execute("migrate-set-capabilities", {"capabilities": told})
        await self.monitor.execute("migrate-set-parameters", {"max-bandwidth": BANDWIDTH, "downtime-limit": DOWNTIME})

    async def migrate(self, uri: str) -> float:
        """Milliseconds of downtime, as QEMU has it."""
        await self.monitor.execute("migrate", {"uri": uri})
        while (told := await self.monitor.execute("query-migrate"))["status"] != "completed":
            if told["status"] == "failed":
                raise RuntimeError(told)
            await asyncio.sleep(0.02)
        return float(told["downtime"])

    async def runs(self) -> None:
        while await self.monitor.status() != "running":  # noqa: ASYNC110 - QEMU is asked
            await asyncio.sleep(0.005)
        await self.monitor.execute("announce-self", {"initial": 50, "max": 550, "rounds": 5, "step": 50})

    async def close(self) -> None:
        await self.monitor.close()
        self.end()

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


def verified(lab: Lab, times: int) -> tuple[int, int, int]:
    """Migrations of a VM that writes and verifies: how many failed, how many files were written, how many are wrong."""
    lab.guest(WRITE)
    failed = sum(lab.migrate()["state"] != "completed" for _ in range(times))
    written, wrong = map(int, lab.guest(VERIFY).split())
    return failed, written, wrong


def listed(lab: Lab, count: int) -> float:
    """Seconds of `labctl vm list` with so many VMs, of which one runs; the median of five."""
    lab.up(TOPOLOGY + OFF.format(count=count - 1))
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        told = lab.labctl("vm", "list", "--lab", NAME)
        seconds.append(time.perf_counter() - start)
    if len(told.splitlines()) != count + 1:
        raise RuntimeError(told)
    return statistics.median(seconds)


def main(arguments: list[str]) -> int:
    """Measure, print the table, and write it to the reference."""
    parser = argparse.ArgumentParser(prog="bench server")
    parser.add_argument("--migrations", type=int, default=10, help="of each side, timed")
    parser.add_argument("--verified", type=int, default=50, help="migrations of a VM that verifies")
    parser.add_argument("--vms", type=int, default=200, help="that are listed")
    parser.add_argument("--no-write", action="store_true", help="leave docs/reference/benchmarks.md alone")
    options = parser.parse_args(arguments)
    home = Path(tempfile.mkdtemp(prefix="lc-bench-", dir="/tmp"))
    lab = Lab(home)
    try:
        lab.up(TOPOLOGY)
        argv = command_of(lab.where()["pid"])  # before a migration has made it one that waits for another
        sides = {"labctl": ours(lab, options.migrations)}
        sides["bare QEMU"] = asyncio.run(bare(lab, argv, options.migrations, home / "bare"))
        checked = verified(lab, options.verified)
        seconds = listed(lab, options.vms)
    finally:
        environment = {**os.environ, "LABCTL_HOME": str(home)}
        subprocess.run([LABCTL, "down", NAME, "--purge"], env=environment, capture_output=True, check=False)
        shutil.rmtree(home)
    text = section(sides, checked, options.verified, seconds, options.vms)
    sys.stdout.write(f"{text}\n")
    if not options.no_write:
        write_section("server", text)
    return 0


def section(
    sides: dict[str, list[Downtime]], checked: tuple[int, int, int], times: int, seconds: float, vms: int
) -> str:
    """The section of the reference."""
    failed, written, wrong = checked
    rows = []
    medians = []
    for name, found in sides.items():
        told, gaps = [each.told for each in found], [each.gap for each in found]
        medians.append((statistics.median(told), statistics.median(gaps)))
        rows.append(
            f"| {name} | {medians[-1][0]:.0f} ({min(told):.0f} to {max(told):.0f}) | "
            f"{medians[-1][1]:.0f} ({min(gaps):.0f} to {max(gaps):.0f}) |"
        )
    ratios = [own / other for own, other in zip(*medians, strict=True)]
    return f"""## Servers: vMotion, lists

`./bootstrap.sh bench server`, {machine()}.

A VM of 256 MiB on a LUN, under a load that writes memory and disk, {len(sides["labctl"])} times from host to host; bare QEMU is the same
command line, migrated by hand between the same namespaces. Milliseconds, median (least to most). The gap is between replies to a ping
each 10 ms; the ratio is to be {TARGET} at most.

| | downtime, as QEMU tells it | gap seen by a ping |
|---|---|---|
{chr(10).join(rows)}
| ratio | {ratios[0]:.2f} | {ratios[1]:.2f} |

Of {times} migrations to and fro of a VM that writes and verifies files, {failed} failed; of {written} files written meanwhile,
{wrong} were wrong.

`labctl vm list` with {vms} VMs, of which one runs: {seconds:.2f} s (at most {LISTED:g} s)."""
