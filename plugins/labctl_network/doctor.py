"""What the network plugin looks at for `labctl doctor`."""

from __future__ import annotations

import os
import shutil

from labctl.linux import syscalls
from labctl.linux.namespaces import in_own_thread
from labctl.plugin.api import DoctorFinding
from labctl_network.impair.apply import has_netem


def netem() -> DoctorFinding:
    """Whether the kernel impairs links itself; without it a relay does, so nothing is missing."""
    if shutil.which("tc") is None:
        return DoctorFinding(name="tc", ok=False, detail="not found", mend="apt-get install iproute2", required=False)
    if os.geteuid() != 0:
        return DoctorFinding(name="netem", ok=True, detail="not tried as an ordinary user", required=False)

    def attempt() -> bool:
        syscalls.unshare(syscalls.CLONE_NEWNET)
        return has_netem()

    found = in_own_thread(attempt)
    said = (
        "impairs links" if found else "this kernel lacks it: a relay process impairs links, up to some 100 Mbit/s each"
    )
    mend = "" if found else "`sudo modprobe sch_netem`"
    return DoctorFinding(name="netem", ok=found, detail=said, mend=mend, required=False)
