"""How other plugins get nodes, ports and switches from whichever plugin does networks.

Unit ids are part of the contract, so that one plugin's unit can need another's: `netns:NODE`, `bridge:NODE/NAME`, `link:NODE/INTERFACE`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from labctl.model.address import Address
from labctl.model.unit import Unit

if TYPE_CHECKING:
    from labctl.plugin.api import TopologyView

LABD_NODE = "labd"
"""The node that labd itself lives in; it has a port on each management network."""


def netns_unit(node: str, owner: Address) -> Unit:
    """The unit of a node's network namespace (type `netns`, handled by the network plugin)."""
    return Unit(id=f"netns:{node}", type="netns", resource=owner, spec={"node": node})


def bridge_unit(node: str, name: str, owner: Address, *, mtu: int = 1500) -> Unit:
    """The unit of a bridge inside a node, e.g. a host's vSwitch0 (type `bridge`)."""
    return Unit(
        id=f"bridge:{node}/{name}",
        type="bridge",
        resource=owner,
        spec={"node": node, "name": name, "mtu": mtu},
        needs=(f"netns:{node}",),
    )


@dataclass(frozen=True, kw_only=True)
class Port:
    """A node's interface on a network.

    Args:
        unit: the unit to add to the owner's (type `link`, id `link:NODE/INTERFACE`).
        network: the network's name.
        interface: the interface's name inside the node (vmk0, vmnic0, eth0).
        address: `10.20.0.11/24`, or None for a port without an address (an uplink of a vSwitch).
        mac: its MAC address.
        mtu: bytes.
    """

    unit: Unit
    network: str
    interface: str
    address: str | None
    mac: str
    mtu: int

    @property
    def ip(self) -> str:
        """The address without its prefix length.

        Raises:
            ValueError: the port has none.
        """
        if self.address is None:
            raise ValueError(f"{self.unit.id} has no address")
        return self.address.partition("/")[0]


@dataclass(frozen=True, kw_only=True)
class SwitchPort:
    """A port of a switch with one resource behind it: a VM's tap, or a node's end of its link.

    Args:
        node: in whose namespace the switch is.
        bridge: the switch's name there.
        interface: the port's name there; it need not exist yet.
        network: the network that it leads to.
        mac: the MAC address behind it.
        address: the IP address behind it, without prefix length.
        portgroup: the port group that it is in, or "".
    """

    node: str
    bridge: str
    interface: str
    network: str
    mac: str
    address: str
    portgroup: str = ""


class SwitchPorts(Protocol):
    """What a resource provides whose own ports can be filtered: a VM, a node."""

    @property
    def ports(self) -> Sequence[SwitchPort]:
        """Its ports, in the order of its NICs; those of a VM on every host that it may run on."""

    @property
    def tags(self) -> Sequence[str]:
        """The tags that it carries."""


@dataclass(frozen=True)
class OwnPorts:
    """SwitchPorts as values."""

    ports: tuple[SwitchPort, ...]
    tags: tuple[str, ...] = ()


class Network(Protocol):
    """What a resource of kind `network` provides."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def role(self) -> str:
        """production, storage or management (or another that its plugin knows)."""

    @property
    def mtu(self) -> int:
        """Bytes."""

    def port(
        self, node: str, interface: str, *, owner: Address, address: str | None = None, bridge: str | None = None
    ) -> Port:
        """A port for a node: a link between the network's switch and the node.

        Args:
            node: the node (needs unit `netns:NODE`).
            interface: its name in the node, at most 15 characters.
            owner: the resource that the link's unit belongs to.
            address: a fixed IP address; derived and kept where None.
            bridge: makes it an uplink of that bridge in the node, without an address.
        """

    def reserve(self, key: str, address: str) -> None:
        """Take a fixed address before any is derived; call it from Kind.reserve.

        Args:
            key: `NODE/INTERFACE` for a port, or the key given to guest_address.
            address: an IP address without prefix length.

        Raises:
            LabError: it is outside the subnet, or somebody else's.
        """

    def guest_address(self, key: str, *, address: str | None = None) -> tuple[str, str]:
        """An address (`10.10.0.21/24`) and a MAC for a guest's NIC that is reached through some host's uplink.

        Args:
            key: who it is for, e.g. `web1/nic0`; the same key keeps its address.
            address: a fixed one, or None.
        """

    def guards(self, node: str) -> tuple[str, ...]:
        """The ids of the units without which no guest's port on this network, in that node, may carry anything: its rules."""

    @property
    def reached_through(self) -> tuple[str, ...]:
        """The ids of the units through which labd reaches what is on a management network: an agent there needs them."""

    @property
    def gateway(self) -> str | None:
        """The gateway's address, where the network has one."""


def networks_with_role(view: TopologyView, role: str) -> list[str]:
    """The names of the networks of a role, in the file's order: how a kind finds its default network."""
    return [resource.name for resource in view.resources("network") if getattr(resource.spec, "role", None) == role]
