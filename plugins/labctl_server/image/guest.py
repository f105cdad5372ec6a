"""What a guest of a built-in image is told on its kernel's command line: its name and its addresses."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from labctl.errors import LabError


@dataclass(frozen=True, kw_only=True)
class GuestNic:
    """What a guest is told of one of its NICs.

    Args:
        mac: by which the guest finds it, `52:54:00:12:34:56`.
        address: `10.10.0.21/24`, or None.
        gateway: `10.10.0.1`, or None.
        mtu: bytes, or None for the default.
    """

    mac: str
    address: str | None = None
    gateway: str | None = None
    mtu: int | None = None


def guest_arguments(hostname: str, nics: Sequence[GuestNic] = ()) -> str:
    """The kernel arguments that tell a micro guest who it is.

    Raises:
        LabError: a name that the kernel's command line cannot hold.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]{0,62}", hostname):
        raise LabError(f'"{hostname}" cannot be a host name', hint="use letters, digits and hyphens, at most 63")
    words = [f"labctl.hostname={hostname}"]
    for nic in nics:
        words.append(f"labctl.nic={nic.mac.lower()},{nic.address or ''},{nic.gateway or ''},{nic.mtu or ''}")
    return " ".join(words)
