"""What this machine offers to a lab, found out by trying; each lack with its mend, for `labctl doctor`.

Kinds of links are tried in a throw-away network namespace. Who is not root tries in a throw-away user namespace, in a child
process (`python -m labctl.linux.probes`), since a process with threads cannot enter one.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from labctl.linux import cgroups, rtnetlink, syscalls, userns
from labctl.linux.namespaces import in_own_thread, loopback_up
from labctl.linux.netlink import NetlinkSocket, Request
from labctl.linux.taps import TUN_DEVICE

CHILD_DEADLINE = 20.0
"""Seconds for the probes in a child process."""

_LINKS: Mapping[str, tuple[str, bool, Callable[[int], Request]]] = {
    "veth": (
        "the cables between nodes",
        True,
        lambda fd: rtnetlink.new_veth(rtnetlink.common(name="a"), rtnetlink.common(name="b"), peer_namespace=fd),
    ),
    "bridge": ("switches", True, lambda _fd: rtnetlink.new_bridge(rtnetlink.common(name="c"))),
    "vxlan": (
        "overlay segments",
        False,
        lambda _fd: rtnetlink.new_plain("vxlan", rtnetlink.common(name="d"), rtnetlink.vxlan_id(1)),
    ),
    "ifb": ("shaping of what comes in", False, lambda _fd: rtnetlink.new_plain("ifb", rtnetlink.common(name="e"))),
}
"""Kind → (what it is for, whether every lab needs it, the request that makes one)."""


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One thing that a lab may need.

    Args:
        name: what was looked at.
        ok: whether it is there.
        detail: what was found.
        mend: what to do where it is not.
        required: whether every lab needs it.
    """

    name: str
    ok: bool
    detail: str = ""
    mend: str = ""
    required: bool = True


def facts() -> list[Fact]:
    """All facts, in the order to show them."""
    links, tun = _network_facts()
    return [_rights(), *links, tun, _cgroups(), _nft(), _congestion_control()]


def _rights() -> Fact:
    refused = userns.probe() if os.geteuid() != 0 else None
    if os.geteuid() == 0:
        return Fact(name="rights", ok=True, detail="root")
    return Fact(
        name="rights",
        ok=refused is None,
        detail="an ordinary user, rootless labs work" if refused is None else f"an ordinary user: {refused}",
        mend="" if refused is None else userns.why_forbidden() or "run labctl as root (sudo)",
    )


def _network_facts() -> tuple[list[Fact], Fact]:
    found = _try_all() if os.geteuid() == 0 else _try_in_child()
    links = [
        Fact(
            name=f"link kind {kind}",
            ok=not found[kind],
            detail=found[kind] or purpose,
            mend=f"load the kernel's module: `sudo modprobe {kind}`" if found[kind] else "",
            required=required,
        )
        for kind, (purpose, required, _request) in _LINKS.items()
    ]
    tun = Fact(
        name=str(TUN_DEVICE),
        ok=not found["tun"],
        detail=found["tun"] or "guests' NICs",
        mend=f"`sudo modprobe tun`, and for rootless labs `sudo chmod 0666 {TUN_DEVICE}`" if found["tun"] else "",
    )
    return links, tun


def _try_all() -> dict[str, str]:
    """Try each kind in a namespace of its own: kind → "" or what went wrong."""

    def work() -> dict[str, str]:
        try:
            syscalls.unshare(syscalls.CLONE_NEWNET)
            loopback_up()
        except OSError as error:
            return dict.fromkeys([*_LINKS, "tun"], f"no network namespace: {error.strerror}")
        with contextlib.closing(NetlinkSocket()) as handle, _own_namespace() as fd:
            found = {kind: _try_link(handle, request(fd)) for kind, (_why, _need, request) in _LINKS.items()}
        return {**found, "tun": _try_tun()}

    return in_own_thread(work)


def _try_link(handle: NetlinkSocket, request: Request) -> str:
    (answer,) = handle.request([request])
    if answer.errno == errno.EOPNOTSUPP:
        return "this kernel lacks it"
    return f"{os.strerror(answer.errno)} {answer.detail}".strip() if answer.errno else ""


def _try_tun() -> str:
    try:
        fd = os.open(TUN_DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        return f"cannot be opened: {error.strerror}"
    try:
        fcntl.ioctl(fd, 0x400454CA, struct.pack("16sH22x", b"probe", 0x1002))  # TUNSETIFF: IFF_TAP | IFF_NO_PI
    except OSError as error:
        return f"no tap could be made: {error.strerror}"
    finally:
        os.close(fd)
    return ""


def _try_in_child() -> dict[str, str]:
    """The same in a user namespace."""
    command = ["unshare", "--user", "--map-root-user", "--net", sys.executable, "-m", "labctl.linux.probes"]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=CHILD_DEADLINE, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return dict.fromkeys([*_LINKS, "tun"], f"could not be tried: {error}")
    if done.returncode:
        return dict.fromkeys([*_LINKS, "tun"], f"could not be tried: {done.stderr.strip()}")
    found: dict[str, str] = json.loads(done.stdout)
    return found


def _cgroups() -> Fact:
    hierarchy = cgroups.find()
    if hierarchy is None:
        return Fact(
            name="control groups",
            ok=False,
            detail="no cgroup2 that we may write to: nodes are killed process by process, and have no limits",
            mend="as an ordinary user: `systemd-run --user --scope -p Delegate=yes labctl …`; else mount cgroup2",
            required=False,
        )
    try:
        unified = (hierarchy.unified / "cgroup.controllers").read_text().split()
    except OSError:
        unified = []
    lacking = [name for name in ("memory", "cpu") if name not in unified and name not in hierarchy.controllers]
    return Fact(
        name="control groups",
        ok=not lacking,
        detail=f"no controller for {' and '.join(lacking)}: no limits" if lacking else str(hierarchy.unified),
        mend="hand the controllers to us: `Delegate=cpu memory` in the user's systemd slice" if lacking else "",
        required=False,
    )


def _nft() -> Fact:
    found = shutil.which("nft", path=os.environ.get("PATH", "") + os.pathsep + "/usr/sbin")
    return Fact(
        name="nft",
        ok=found is not None,
        detail=found or "not on PATH: no firewall rules",
        mend="" if found else "`sudo apt install nftables`",
        required=False,
    )


def _congestion_control() -> Fact:
    allowed = Path("/proc/sys/net/ipv4/tcp_allowed_congestion_control").read_text().split()
    return Fact(
        name="TCP congestion control reno",
        ok="reno" in allowed,
        detail=f"allowed: {' '.join(allowed)}",
        mend="" if "reno" in allowed else "`sudo sysctl -w net.ipv4.tcp_allowed_congestion_control='reno cubic'`",
        required=False,
    )


@contextlib.contextmanager
def _own_namespace() -> Iterator[int]:
    fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_try_all()))
