"""What a test may need of the machine: each need has a name, a probe that really tries it, and a mend.

A need is probed at most once in a process, when the first test asks. A probe tries the thing itself in a throw-away namespace and
under a deadline; that a file exists or a program is on the PATH is not taken as proof where more can be known cheaply.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PROBE_DEADLINE = 20.0  # seconds; QEMU's first start on a busy machine takes some
NOBODY = 65534

Probe = Callable[[], str | None]
"""Returns None where the need is met, else what is wrong."""


@dataclass(frozen=True, kw_only=True)
class Need:
    """One right or tool that a test cannot do without."""

    name: str
    probe: Probe
    mend: str


def _run(argv: Sequence[str]) -> str | None:
    """Run a probe's command; what went wrong, or None."""
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PROBE_DEADLINE, check=False
        )
    except FileNotFoundError:
        return f"no {argv[0]} on the PATH"
    except subprocess.TimeoutExpired:
        return f"`{' '.join(argv)}` did not end within {PROBE_DEADLINE:g} s"
    if done.returncode == 0:
        return None
    lines = (done.stderr or done.stdout).strip().splitlines()
    return f"`{' '.join(argv)}` ended with {done.returncode}" + (f": {lines[-1]}" if lines else "")


def in_private_network(script: str) -> list[str]:
    """The command that runs a shell script in a new network namespace, as root or in a user namespace of one's own."""
    rights = ["-n"] if os.geteuid() == 0 else ["-Urn"]
    return ["unshare", *rights, "--kill-child", "sh", "-ec", script]


def as_nobody(argv: Sequence[str]) -> list[str]:
    """The command that runs another as an ordinary user, which we already are where we are not root."""
    if os.geteuid() != 0:
        return list(argv)
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs", *argv]


def _root() -> str | None:
    return None if os.geteuid() == 0 else f"the user id is {os.geteuid()}"


def _tun() -> str | None:
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR))
    except OSError as error:
        return str(error)
    return _run(in_private_network("ip tuntap add probe0 mode tap; ip link show probe0"))


def _cgroup2() -> str | None:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        if fields[fields.index("-") + 1] == "cgroup2":
            return None if os.access(fields[4], os.W_OK) else f"{fields[4]} cannot be written"
    return "no cgroup2 is mounted"


def _qemu_driver(scheme: str) -> Probe:
    """QEMU says that a URL is incomplete where it has the driver, and that the protocol is unknown where it has not."""

    def probe() -> str | None:
        if shutil.which("qemu-img") is None:
            return "no qemu-img on the PATH"
        done = subprocess.run(
            ["qemu-img", "info", f"{scheme}://"], capture_output=True, text=True, timeout=PROBE_DEADLINE, check=False
        )
        unknown = "Unknown protocol" in done.stderr or "Unknown driver" in done.stderr
        return f"QEMU has no {scheme} block driver" if unknown else None

    return probe


def command(name: str, argv: Sequence[str], mend: str) -> Need:
    """A need that is met when a command ends well."""
    return Need(name=name, probe=lambda: _run(argv), mend=mend)


def program(name: str, executable: str, package: str) -> Need:
    """A need that is met when an executable is on the PATH (for those without a harmless way to run)."""
    return Need(
        name=name,
        probe=lambda: None if shutil.which(executable) else f"no {executable} on the PATH",
        mend=f"apt-get install {package}",
    )


_VETH = "ip link add veth0 type veth peer name veth1; ip link add br0 type bridge; ip link set veth0 master br0 up"
_NFT = "nft add table inet probe; nft list table inet probe"
_VXLAN = "ip link add vxlan0 type vxlan id 7 dstport 4789 local 127.0.0.1"
_MOUNTS = "mount -t tmpfs probe /mnt"

_BUILT_IN = (
    Need(name="root", probe=_root, mend="run the tests as root"),
    Need(
        name="userns",
        probe=lambda: _run(as_nobody(["unshare", "-Urnm", "true"])),
        mend="sysctl kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0 and user.max_user_namespaces>0",
    ),
    Need(name="tun", probe=_tun, mend="modprobe tun; as an ordinary user also chmod 0666 /dev/net/tun"),
    Need(name="cgroup2", probe=_cgroup2, mend="mount cgroup2 (systemd does), and run the tests as root"),
    command("net", in_private_network(_VETH), "a kernel with veth and bridge, and root or user namespaces"),
    command("nft", in_private_network(_NFT), "apt-get install nftables, and a kernel with nf_tables"),
    command("vxlan", in_private_network(_VXLAN), "a kernel with vxlan"),
    command("mounts", ["unshare", "-m", "sh", "-ec", _MOUNTS], "run the tests as root"),
    command("qemu", ["qemu-system-x86_64", "-version"], "apt-get install qemu-system-x86"),
    Need(name="qemu-iscsi", probe=_qemu_driver("iscsi"), mend="apt-get install qemu-block-extra"),
    Need(name="qemu-nfs", probe=_qemu_driver("nfs"), mend="apt-get install qemu-block-extra, built with libnfs"),
    command("qemu-img", ["qemu-img", "--version"], "apt-get install qemu-utils"),
    command("tcpdump", ["tcpdump", "--version"], "apt-get install tcpdump"),
    command("tshark", ["tshark", "--version"], "apt-get install tshark"),
    command("dumpcap", ["dumpcap", "-v"], "apt-get install wireshark-common, and a user who may capture"),
    program("libiscsi", "iscsi-ls", "libiscsi-bin"),
    program("libnfs", "nfs-ls", "libnfs-utils"),
    program("mininet", "mn", "mininet"),
    program("debootstrap", "debootstrap", "debootstrap"),
    program("e2fsprogs", "mke2fs", "e2fsprogs"),
    program("busybox", "busybox", "busybox-static"),
    program("apt", "apt-get", "apt (this machine is no Debian or Ubuntu)"),
    command("fio", ["fio", "--version"], "apt-get install fio"),
    command("graphviz", ["dot", "-V"], "apt-get install graphviz"),
    command("shellcheck", ["shellcheck", "--version"], "apt-get install shellcheck"),
)

_needs = {need.name: need for need in _BUILT_IN}


def register(need: Need) -> None:
    """Add a need of your own, so that `@pytest.mark.needs("its-name")` knows it; a second one of the same name replaces the first."""
    _needs[need.name] = need
    missing.cache_clear()


def known() -> list[str]:
    """The names of all needs, sorted."""
    return sorted(_needs)


@cache
def missing(name: str) -> str | None:
    """What the machine lacks for a need and how to mend it, or None where it is met.

    Raises:
        KeyError: no need has that name: a mistake in the test.
    """
    need = _needs[name]
    wrong = need.probe()
    return None if wrong is None else f"needs {name}: {wrong} (mend: {need.mend})"
