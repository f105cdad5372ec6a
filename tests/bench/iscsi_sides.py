"""The two sides of the iSCSI benchmark: namespaces joined by a veth pair, our target and tgt in one of them, clients in the other.

Everything has this process's number in its name, and goes when the block is left. Both targets run all the time: idle, they cost nothing.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

SERVER_ADDRESS = "10.99.77.1"
CLIENT_ADDRESS = "10.99.77.2"
DEADLINE = 20.0  # seconds for a target to listen
OURS, TGT = "ours", "tgt"
PORTS = {OURS: 3260, TGT: 3261}
NAMES = {OURS: "iqn.2026-11.bench:ours", TGT: "iqn.2026-11.bench:tgt"}
_CONTROL = "net.ipv4.tcp_congestion_control"
_CLOCK_SCHED = 2  # CPUCLOCK_SCHED of linux/posix-timers.h: what a process's threads ran, in nanoseconds

_SINK = """
import socket, sys, time
sock = socket.create_server((sys.argv[1], 5001))
print("ready", flush=True)
peer, _ = sock.accept()
buffer, total, start = bytearray(1 << 20), 0, time.perf_counter()
while count := peer.recv_into(buffer):
    total += count
print(total / (time.perf_counter() - start))
"""
_SOURCE = """
import socket, sys, time
sock = socket.create_connection((sys.argv[1], 5001))
data, end = bytes(1 << 20), time.perf_counter() + float(sys.argv[2])
while time.perf_counter() < end:
    sock.sendall(data)
"""


def default_control() -> str:
    """The congestion control that the machine gives new connections."""
    return Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


@dataclass(frozen=True)
class Link:
    """Two namespaces that see each other.

    Args:
        server: the name of the one in which targets listen.
        client: the name of the other.
    """

    server: str
    client: str

    def command(self, side: str, *command: str) -> list[str]:
        """A command line that runs `command` in a namespace."""
        return ["ip", "netns", "exec", side, *command]

    def stream(self, seconds: float) -> float:
        """Bytes a second of one bare TCP connection from the server's side to the client's, a MiB a call."""
        sink = subprocess.Popen(
            self.command(self.client, sys.executable, "-c", _SINK, CLIENT_ADDRESS), stdout=subprocess.PIPE, text=True
        )
        assert sink.stdout is not None
        sink.stdout.readline()
        _run(*self.command(self.server, sys.executable, "-c", _SOURCE, CLIENT_ADDRESS, str(seconds)))
        return float(sink.communicate()[0])


@contextmanager
def linked(control: str) -> Iterator[Link]:
    """Two namespaces with a veth pair; both use the congestion control that is named."""
    link = Link(f"lbs{os.getpid()}", f"lbc{os.getpid()}")
    with ExitStack() as stack:
        for name in (link.server, link.client):
            _run("ip", "netns", "add", name)
            stack.callback(_run, "ip", "netns", "del", name)
            _run(*link.command(name, "sysctl", "-q", "-w", f"{_CONTROL}={control}"))
        _run("ip", "-n", link.server, "link", "add", "v0", "type", "veth", "peer", "name", "v0", "netns", link.client)
        for name, address in ((link.server, SERVER_ADDRESS), (link.client, CLIENT_ADDRESS)):
            _run("ip", "-n", name, "address", "add", f"{address}/24", "dev", "v0")
            for device in ("lo", "v0"):
                _run("ip", "-n", name, "link", "set", device, "up")
        yield link


class Targets:
    """Both targets, running.

    Args:
        processes: by side.
    """

    def __init__(self, processes: dict[str, subprocess.Popen[bytes]]) -> None:
        self._processes = processes

    def url(self, side: str) -> str:
        """The disk of a side."""
        lun = 0 if side == OURS else 1  # tgt's LUN 0 is its controller
        return f"iscsi://{SERVER_ADDRESS}:{PORTS[side]}/{NAMES[side]}/{lun}"

    def cpu(self, side: str) -> float:
        """Seconds of CPU that a target has used, all its threads together."""
        return process_cpu(self._processes[side].pid)


def process_cpu(pid: int) -> float:
    """Seconds of CPU that a process has used, all its threads together (clock_getcpuclockid(3))."""
    return time.clock_gettime((~pid << 3) | _CLOCK_SCHED)


@contextmanager
def serving(link: Link, disk: Path) -> Iterator[Targets]:
    """Both targets over the same file; tgt as Debian configures it."""
    control = str(os.getpid() % 30000)
    with ExitStack() as stack:
        ours = link.command(
            link.server, sys.executable, "-m", "labemu_iscsi", "--portal", f"{SERVER_ADDRESS}:{PORTS[OURS]}",
            "--target", NAMES[OURS], "--lun", f"file://{disk}",
        )  # fmt: skip
        portal = f"portal={SERVER_ADDRESS}:{PORTS[TGT]}"
        tgt = link.command(link.server, "tgtd", "-f", "-C", control, "--iscsi", portal)
        processes = {}
        for side, command in ((OURS, ours), (TGT, tgt)):
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            stack.callback(process.wait)
            stack.callback(process.kill)  # tgtd ignores SIGTERM
            processes[side] = process
        _wait(lambda: Path(f"/var/run/tgtd/socket.{control}").exists())
        admin = ["tgtadm", "-C", control, "--lld", "iscsi"]
        target = ["--mode", "target", "--tid", "1"]
        _wait(lambda: subprocess.run([*admin, "--op", "show", "--mode", "sys"], capture_output=True).returncode == 0)
        _run(*admin, "--op", "new", *target, "-T", NAMES[TGT])
        _run(*admin, "--op", "new", "--mode", "logicalunit", "--tid", "1", "--lun", "1", "-b", str(disk))
        _run(*admin, "--op", "bind", *target, "-I", "ALL")
        for side in (OURS, TGT):
            _wait(lambda side=side: _listens(link, side))  # type: ignore[misc]
        yield Targets(processes)


def _listens(link: Link, side: str) -> bool:
    probe = link.command(link.client, "iscsi-ls", f"iscsi://{SERVER_ADDRESS}:{PORTS[side]}")
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit("a target did not come up")
        time.sleep(0.02)


@contextmanager
def awake() -> Iterator[None]:
    """Keep every CPU from sleeping: a loop on each that gives way to anything else (SCHED_IDLE)."""
    with ExitStack() as stack:
        for cpu in sorted(os.sched_getaffinity(0)):
            loop = ["taskset", "-c", str(cpu), "chrt", "--idle", "0", sys.executable, "-c", "while True: pass"]
            process = subprocess.Popen(loop)
            stack.callback(process.wait)
            stack.callback(process.kill)
        yield
