"""What the network plugin looks at for `labctl doctor`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

from labctl.linux import syscalls
from labctl.linux.namespaces import in_own_thread
from labctl.plugin.api import DoctorFinding
from labctl_network import ports
from labctl_network.firewall import ruleset
from labctl_network.firewall.nft import DEADLINE
from labctl_network.firewall.policy import Category, Policy, ProtectedPort, Rule, Verdict
from labctl_network.impair.apply import has_netem
from labctl_network.ports import PortRules
from labctl_network.routing import nat
from labctl_network.routing.nat import Forwarded, Nat


def firewall() -> DoctorFinding:
    """Whether the kernel enforces firewalls, port groups and NAT: their tables are tried in a namespace that goes at once."""
    needed = "[firewall.*], [portgroup.*] and [router.*]"
    if shutil.which("nft") is None:
        mend = "apt-get install nftables"
        return DoctorFinding(name="firewall", ok=False, detail="no nft", mend=mend, required=False)
    if os.geteuid() != 0:
        return DoctorFinding(name="firewall", ok=True, detail="not tried as an ordinary user", required=False)

    def attempt() -> str:
        syscalls.unshare(syscalls.CLONE_NEWNET)
        return refusal()

    why = in_own_thread(attempt)
    if why:
        mend = "use a kernel with nftables for the families bridge, netdev and ip with NAT (6.1 as Debian builds it has all)"
        return DoctorFinding(name="firewall", ok=False, detail=f"{needed}: {why}", mend=mend, required=False)
    return DoctorFinding(name="firewall", ok=True, detail=f"the kernel enforces {needed}", required=False)


def refusal() -> str:
    """Why the kernel refuses what rules, port groups and routers need, tried in this thread's namespace; "" if it does not."""
    bridge = ["ip", "link", "add", "br0", "type", "bridge"]
    rule = Rule(id="try/it", category=Category.APPLICATION, verdict=Verdict.REJECT, sources=((1, 2),), log=True)
    port = ProtectedPort(
        owner="try", node="try", bridge="br0", interface="try", network="try", mac="02:00:00:00:00:02", address="0.0.0.1", profile=0
    )  # fmt: skip
    web = Forwarded(protocol="tcp", first=80, last=80, servers=(("0.0.0.2", 80), ("0.0.0.3", 80)))
    policy = Policy(rules=(rule,), profiles=((0,),), ports=(port,))
    tables = [
        *ruleset.commands(policy, ["br0"], "02:00:00:00:00:01", []),
        *ports.commands(PortRules(ports=(), vlans={})),
        *nat.commands(
            Nat(uplink="up0", address="0.0.0.1", sources=("0.0.0.0/8",), forwarded=(web,), inside=("0.0.0.0/8",))
        ),
    ]
    told = json.dumps({"nftables": tables})
    for argv, text in ((bridge, ""), (["nft", "-j", "-f", "-"], told)):
        done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=DEADLINE, check=False)
        if done.returncode:
            return (done.stderr.strip().splitlines() or [f"{argv[0]} ended with {done.returncode}"])[0]
    return ""


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
