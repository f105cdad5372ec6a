"""What the VMs of a host share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from labctl.agent.application import Publisher
from labctl_server.hostd.driver import GuestDriver
from labctl_server.hostd.encryption import Credentials
from labctl_server.hostd.maintenance import Maintenance
from labctl_server.hostd.migration import Peer, Progress
from labctl_server.hostd.store import Order, VmStore
from labctl_server.hostd.taps import Taps


@dataclass(frozen=True, kw_only=True)
class Host:
    """A host, as its VMs see it.

    Args:
        lab: the lab's name.
        name: the host's name.
        store: their records.
        taps: their NICs' other ends.
        driver: what runs them.
        publish: where events go.
        maintenance: whether VMs may run here.
        peer: leads to the agent of the host that a VM is to move to.
        credentials: what QEMU shows of this host in a migration.
        departures: each VM's last migration away from here, also when the VM is forgotten.
    """

    lab: str
    name: str
    store: VmStore
    taps: Taps
    driver: GuestDriver
    publish: Publisher
    maintenance: Maintenance
    peer: Callable[[Order], Peer]
    credentials: Credentials
    departures: dict[str, Progress] = field(default_factory=dict)
