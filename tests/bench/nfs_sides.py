"""The two sides of the NFS benchmark: our server and nfs-ganesha, in a namespace each, since each wants port 111 for a port mapper.

ganesha finds its port mapper through /run/rpcbind.sock whatever the network namespace: both run in a mount namespace with a private /run.
Everything goes when the block is left.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from iscsi_sides import SERVER_ADDRESS, Link

OURS, GANESHA = "ours", "ganesha"
ADDRESSES = {OURS: SERVER_ADDRESS, GANESHA: "10.99.78.1"}
CLIENT_ADDRESS = "10.99.78.2"
EXPORT = "/bench"
DEADLINE = 40.0
_CLOCK_SCHED = 2  # see iscsi_sides
METADATA = Path(__file__).resolve().parent / "nfs_metadata.py"

_GANESHA = """
NFS_CORE_PARAM {{ Bind_addr = {address}; mount_path_pseudo = true; Protocols = 3, 4; Enable_NLM = false; Enable_RQUOTA = false; }}
NFSV4 {{ Graceless = true; Only_Numeric_Owners = true; }}
NFS_KRB5 {{ Active_krb5 = false; }}
EXPORT {{ Export_Id = 1; Path = {folder}; Pseudo = {export}; Access_Type = RW; Squash = No_Root_Squash; SecType = sys;
  Protocols = 3, 4; Transports = TCP; FSAL {{ Name = VFS; }} }}
LOG {{ Default_Log_Level = WARN; }}
"""
_PRIVATE = (
    'mount -t tmpfs tmpfs /run && mkdir -p /run/ganesha && rpcbind -w -h "$1" && '
    'exec ganesha.nfsd -F -f "$2" -L "$3" -p /run/ganesha.pid'
)


class Servers:
    """Both servers, running over the same folder.

    Args:
        link: where.
        processes: by side; of each, all that it started counts as its own.
    """

    def __init__(self, link: Link, processes: dict[str, int]) -> None:
        self._link = link
        self._processes = processes

    def url(self, side: str, path: str = "", *, version: int = 3) -> str:
        """The export of a side, or something in it."""
        tail = "?version=4" if version == 4 else ""
        return f"nfs://{ADDRESSES[side]}{EXPORT}{path}{tail}"

    def cpu(self, side: str) -> float:
        """Seconds of CPU that a server has used, all its threads together (clock_getcpuclockid(3))."""
        return time.clock_gettime((~self._processes[side] << 3) | _CLOCK_SCHED)

    def metadata(self, side: str, *, version: int, count: int, depth: int) -> dict[str, float]:
        """Operations a second of each kind; see nfs_metadata."""
        folder = f"/{side}-{version}-{depth}-{time.monotonic_ns()}"
        url = self.url(side, version=version)
        command = self._link.command(
            self._link.client, sys.executable, str(METADATA), url, folder, str(count), str(depth)
        )
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode != 0:
            raise SystemExit(f"metadata against {side}, version {version}, depth {depth}, failed: {done.stderr}")
        found: dict[str, float] = json.loads(done.stdout)
        return found


@contextmanager
def _third(link: Link, control: str) -> Iterator[str]:
    """One more namespace, joined to the client's as the server's is; its name."""
    name = f"lbg{os.getpid()}"
    with ExitStack() as stack:
        _run("ip", "netns", "add", name)
        stack.callback(_run, "ip", "netns", "del", name)
        _run(*link.command(name, "sysctl", "-q", "-w", f"net.ipv4.tcp_congestion_control={control}"))
        _run("ip", "-n", name, "link", "add", "v0", "type", "veth", "peer", "name", "v1", "netns", link.client)
        for namespace, device, address in ((name, "v0", ADDRESSES[GANESHA]), (link.client, "v1", CLIENT_ADDRESS)):
            _run("ip", "-n", namespace, "address", "add", f"{address}/24", "dev", device)
            _run("ip", "-n", namespace, "link", "set", device, "up")
        _run("ip", "-n", name, "link", "set", "lo", "up")
        yield name


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


@contextmanager
def serving(link: Link, control: str, folder: Path, scratch: Path) -> Iterator[Servers]:
    """Both servers over `folder`; `scratch` is for settings and logs, `control` the congestion control."""
    with ExitStack() as stack:
        namespace = stack.enter_context(_third(link, control))
        (scratch / "state").mkdir()
        ours = link.command(
            link.server, sys.executable, "-m", "labemu_nfs", "--listen", ADDRESSES[OURS],
            "--export", f"{EXPORT}=file://{folder}", "--state-dir", str(scratch / "state"),
        )  # fmt: skip
        settings, log = scratch / "ganesha.conf", scratch / "ganesha.log"
        settings.write_text(_GANESHA.format(address=ADDRESSES[GANESHA], folder=folder, export=EXPORT))
        theirs = link.command(
            namespace, "unshare", "--mount", "sh", "-c", _PRIVATE, "sh", ADDRESSES[GANESHA], str(settings), str(log)
        )
        processes = {}
        logs = {OURS: scratch / "ours.log", GANESHA: log}
        for side, command in ((OURS, ours), (GANESHA, theirs)):
            with logs[side].open("ab") as said:
                process = subprocess.Popen(command, stdout=said, stderr=said, start_new_session=True)
            stack.callback(process.wait)
            stack.callback(_end, process)
            processes[side] = process.pid
        stack.callback(_end_rpcbind)
        for side in (OURS, GANESHA):
            _wait(lambda side=side: _lists(link, side), side, logs[side])  # type: ignore[misc]
        yield Servers(link, processes)


def _end(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGKILL)


def _end_rpcbind() -> None:
    """rpcbind leaves its session when it becomes a daemon: it is the one that listens at ganesha's address only."""
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if entry.read_bytes() == f"rpcbind\0-w\0-h\0{ADDRESSES[GANESHA]}\0".encode():
                os.kill(int(entry.parent.name), signal.SIGKILL)
        except (FileNotFoundError, ProcessLookupError):
            continue


def _lists(link: Link, side: str) -> bool:
    probe = link.command(link.client, "nfs-ls", f"nfs://{ADDRESSES[side]}{EXPORT}")
    return subprocess.run(probe, capture_output=True, check=False, timeout=20).returncode == 0


def _wait(condition: Callable[[], bool], side: str, log: Path) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        if time.monotonic() > deadline:
            told = log.read_text()[-2000:] if log.exists() else ""
            raise SystemExit(f"{side} did not come up\n{told}")
        time.sleep(0.1)
