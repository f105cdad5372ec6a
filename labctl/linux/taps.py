"""Persistent TAP interfaces: a guest's NIC, waiting in its host's namespace for QEMU to open it.

A persistent tap outlives whoever opens it and goes away with its namespace. Nobody is made its owner: whoever may use /dev/net/tun and
has CAP_NET_ADMIN in the namespace's user namespace can attach (Documentation/networking/tuntap.rst).
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from labctl.errors import LabError, MissingRightError
from labctl.linux.configure import Configured, configure
from labctl.linux.errors import explain
from labctl.linux.namespaces import run_in
from labctl.linux.sockets import SocketPool

TUN_DEVICE = Path("/dev/net/tun")

_TUNSETIFF = 0x400454CA
_TUNSETPERSIST = 0x400454CB
_IFF_TAP = 0x0002
_IFF_NO_PI = 0x1000
_IFF_VNET_HDR = 0x4000


@dataclass(frozen=True, kw_only=True)
class Tap:
    """A persistent tap.

    Args:
        namespace: the file of its network namespace.
        name: at most 15 characters.
        mtu: bytes.
        bridge: the bridge in that namespace that it is a port of, or None.
        mac: of the machine's side, or None for the kernel's choice.
    """

    namespace: Path
    name: str
    mtu: int = 1500
    bridge: str | None = None
    mac: str | None = None


def ensure_taps(pool: SocketPool, taps: Sequence[Tap]) -> dict[Tap, LabError]:
    """Make taps, plug them into bridges and bring them up; those that exist are mended.

    Returns:
        The failures, by tap.
    """
    failures: dict[Tap, LabError] = {}
    work: dict[Configured, Tap] = {}
    for tap in taps:
        try:
            run_in(tap.namespace, partial(_create, tap.name))
        except LabError as error:
            failures[tap] = error
            continue
        except OSError as error:
            failures[tap] = _explain(tap, error)
            continue
        wanted = Configured(
            namespace=tap.namespace, name=tap.name, kind="tun", mac=tap.mac, mtu=tap.mtu, bridge=tap.bridge
        )
        work[wanted] = tap
    failures.update({work[wanted]: failed for wanted, failed in configure(pool, list(work)).items()})
    return failures


def _create(name: str) -> None:
    fd = os.open(TUN_DEVICE, os.O_RDWR | os.O_CLOEXEC)
    try:
        # QEMU opens it with the same flags (it wants offloads: IFF_VNET_HDR).
        fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR))
        fcntl.ioctl(fd, _TUNSETPERSIST, 1)
    except OSError as error:
        if error.errno != errno.EBUSY:  # EBUSY: it exists and a guest has it open
            raise
    finally:
        os.close(fd)


def _explain(tap: Tap, error: OSError) -> LabError:
    what = f"create tap {tap.name} in {tap.namespace}"
    if error.filename == str(TUN_DEVICE):
        if error.errno in (errno.EPERM, errno.EACCES):
            return MissingRightError(
                f"cannot {what}: {TUN_DEVICE} may not be opened",
                hint=f"let users open it: `sudo chmod 0666 {TUN_DEVICE}` (the usual default)",
            )
        return LabError(f"cannot {what}: there is no {TUN_DEVICE}", hint="load the module: `sudo modprobe tun`")
    return explain(what, error)
