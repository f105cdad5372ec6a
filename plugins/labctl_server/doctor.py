"""What hosts and VMs need of the machine: QEMU with its drivers, the tools that build images, memory; each lack with its mend."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence

from labctl.model.quantity import GIB, format_bytes
from labctl.plugin.api import DoctorFinding
from labctl_server.qemu.command import QEMU
from labctl_server.qemu.kvm import probe_kvm

PROBE_DEADLINE = 10.0
"""Seconds for a tool to say what it can do."""

COMFORTABLE_MEMORY = 2 * GIB
"""The quickstart takes about 0.8 GiB: two guests, two hosts, an array, labd."""

_SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
"""An ordinary user's PATH lacks sbin, where mke2fs lives."""

_IMAGE_TOOLS = {"dpkg-deb": "dpkg", "apt-get": "apt", "mke2fs": "e2fsprogs", "debugfs": "e2fsprogs"}


def examine() -> Sequence[DoctorFinding]:
    """All findings, in the order to show them."""
    return (_qemu(), *(_driver(name) for name in ("iscsi", "nfs")), _kvm(), *_image_tools(), _memory())


def _qemu() -> DoctorFinding:
    said = _ask([QEMU, "--version"])
    version = re.search(r"version (\S+)", said or "")
    return DoctorFinding(
        name="QEMU",
        ok=said is not None,
        detail=f"version {version[1]}" if version else f"no {QEMU} that runs",
        mend="" if said is not None else "`sudo apt install qemu-system-x86`",
    )


def _driver(protocol: str) -> DoctorFinding:
    """Whether QEMU opens disks over a protocol. Debian ships these drivers as modules of a package of their own."""
    # Where it has the driver, it complains of the incomplete address instead.
    argv = [QEMU, "-machine", "none", "-display", "none", "-drive", f"if=none,file={protocol}://"]
    said = _ask(argv, failing=True)
    there = said is not None and "Unknown protocol" not in said
    return DoctorFinding(
        name=f"QEMU's {protocol} driver",
        ok=there,
        detail=f"guests' disks over {protocol}" if there else "QEMU knows no such driver",
        mend="" if there else "`sudo apt install qemu-block-extra`",
    )


def _kvm() -> DoctorFinding:
    verdict = probe_kvm()
    return DoctorFinding(
        name="KVM",
        ok=verdict.usable,
        detail=verdict.reason,
        mend=""
        if verdict.usable
        else "guests run emulated, some ten times slower; KVM needs VT-x or AMD-V, and access to /dev/kvm",
        required=False,
    )


def _image_tools() -> Sequence[DoctorFinding]:
    found = []
    for tool, package in _IMAGE_TOOLS.items():
        path = shutil.which(tool, path=f"{os.environ.get('PATH', '')}:{_SYSTEM_PATH}")
        found.append(
            DoctorFinding(
                name=tool,
                ok=path is not None,
                detail=path or "not found; the image micro is built with it",
                mend="" if path else f"`sudo apt install {package}`",
            )
        )
    return found


def _memory() -> DoctorFinding:
    size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    enough = size >= COMFORTABLE_MEMORY
    return DoctorFinding(
        name="memory",
        ok=enough,
        detail=format_bytes(size - size % (GIB // 2)) if size >= GIB else format_bytes(size),
        mend="" if enough else f"the quickstart is comfortable with {format_bytes(COMFORTABLE_MEMORY)}",
        required=False,
    )


def _ask(argv: Sequence[str], *, failing: bool = False) -> str | None:
    """What a tool says; None where there is none, or where it fails although it should not."""
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PROBE_DEADLINE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if failing or done.returncode == 0 else None
