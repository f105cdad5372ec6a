"""Kind `network`: a switch in a namespace of its own, and the addresses on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Literal, TypeVar

from pydantic import Field, field_validator

from labctl.contracts.network import LABD_NODE, Network, Port, bridge_unit, netns_unit, networks_with_role
from labctl.errors import LabError
from labctl.model.address import Address
from labctl.model.problem import Problem
from labctl.model.quantity import Subnet
from labctl.model.resource import Resource, Spec
from labctl.model.unit import Unit
from labctl.plugin.api import Action, CompileView, Description, Kind, TopologyView
from labctl_network import addressing
from labctl_network.impair.links import LinkActions
from labctl_network.kinds.reaching import ReachActions
from labctl_network.routing.tiers import gateway_of

T = TypeVar("T")

SWITCH_BRIDGE = "br0"
"""The bridge inside a network's switch namespace."""

FIRST_INTERFACE = "vmk0"
"""Labd's interface on the first management network."""

SMALLEST_PREFIX = 29
"""A /29 has room for a gateway, labd and four nodes; less is a mistake."""

PROTECTED_ROLE = "production"
"""The firewall's rules hold on networks of this role: what the lab itself runs on is none of a guest's, and stays reachable."""

COLOURS = {"production": "#1f1f1f", "storage": "#1a7f37", "management": "#7a3fb0"}
"""As on a data centre's drawings: black, green and purple cables."""


class NetworkSpec(Spec):
    """The table `[network.NAME]`."""

    role: Annotated[
        Literal["production", "storage", "management"],
        Field(description="What the network is for; links are drawn by it."),
    ] = "production"
    subnet: Annotated[Subnet, Field(description="The addresses on it, e.g. 10.10.0.0/24.")]
    mtu: Annotated[int, Field(ge=576, le=65535, description="Bytes; 9000 is usual for storage.")] = 1500

    @field_validator("subnet")
    @classmethod
    def _has_room(cls, subnet: Subnet) -> Subnet:
        if subnet.prefixlen > SMALLEST_PREFIX:
            raise ValueError(f"{subnet} is too small for a network: use a /{SMALLEST_PREFIX} or larger")
        return subnet


class NetworkKind(Kind[NetworkSpec]):
    """A switch, its subnet, and the ports that other kinds ask for."""

    name = "network"
    summary = "a switched network in a namespace of its own"
    spec = NetworkSpec

    def __init__(self) -> None:
        self._links = LinkActions()
        self._reach = ReachActions()

    def check(self, resource: Resource[NetworkSpec], view: TopologyView) -> Iterable[Problem]:
        """Subnets must not overlap: each overlap is reported once, at the later of the two."""
        for other in view.resources("network"):
            if other.address == resource.address:
                return
            if resource.spec.subnet.overlaps(other.spec.subnet):
                yield Problem(
                    path=resource.path("subnet"),
                    message=f"subnet {resource.spec.subnet} overlaps {other.spec.subnet} of {other.address}",
                    hint="give each network addresses of its own, e.g. 10.10.0.0/24, 10.20.0.0/24, 10.30.0.0/24",
                )

    def compile(self, resource: Resource[NetworkSpec], view: CompileView) -> Iterable[Unit]:
        """The switch; on a management network labd's own port too."""
        switch = switch_node(resource.name)
        yield netns_unit(switch, resource.address)
        yield bridge_unit(switch, SWITCH_BRIDGE, resource.address, mtu=resource.spec.mtu)
        if resource.spec.role == "management":
            if _labd_interface(resource, view) == FIRST_INTERFACE:
                yield netns_unit(LABD_NODE, resource.address)
            yield self.network(resource, view).labd_port().unit

    def provide(self, contract: type[T], resource: Resource[NetworkSpec], view: CompileView) -> T | None:
        """The contract Network."""
        offered = self.network(resource, view)
        return offered if contract is Network else None  # type: ignore[return-value] # T is Network here

    def describe(self, resource: Resource[NetworkSpec], view: CompileView) -> Description:
        """Role, subnet and MTU."""
        spec, gateway = resource.spec, self.network(resource, view).gateway
        return Description(
            summary=f"{spec.role}, {spec.subnet}, MTU {spec.mtu}",
            node=switch_node(resource.name),
            drawn="bus",
            colour=COLOURS[spec.role],
            properties={"role": spec.role, "subnet": str(spec.subnet), "mtu": spec.mtu, "gateway": gateway},
        )

    def actions(self) -> Mapping[str, Action]:
        """What can be done to its links, and asked of who is on it."""
        return {**self._links.by_name(), **self._reach.by_name()}

    def network(self, resource: Resource[NetworkSpec], view: CompileView) -> SwitchedNetwork:
        """The resource as a contract."""
        return SwitchedNetwork(resource, view)


class SwitchedNetwork:
    """The contract `Network` over one resource."""

    def __init__(self, resource: Resource[NetworkSpec], view: CompileView) -> None:
        self._resource = resource
        self._view = view

    @property
    def name(self) -> str:
        """The network's name."""
        return self._resource.name

    @property
    def role(self) -> str:
        """The network's role."""
        return self._resource.spec.role

    @property
    def mtu(self) -> int:
        """The network's MTU in bytes."""
        return self._resource.spec.mtu

    @property
    def gateway(self) -> str | None:
        """The address of the router whose network it is; networks without one are separate."""
        found = gateway_of(self.name, self._view)
        return None if found is None else str(found)

    def reserve(self, key: str, address: str) -> None:
        """Take a fixed address (see the contract)."""
        subnet = self._resource.spec.subnet
        if not addressing.is_host_address(subnet, address):
            raise LabError(
                f"address {address} is not a host's in {subnet} of {self._resource.address}",
                hint=f"use an address from {subnet.network_address + 2} to {subnet.broadcast_address - 1}",
            )
        self._view.reserve(self._pool, key, address)

    def port(
        self, node: str, interface: str, *, owner: Address, address: str | None = None, bridge: str | None = None
    ) -> Port:
        """A link between the switch and a node (see the contract)."""
        chosen = None if bridge else self._choose(f"{node}/{interface}", address)
        return self._port(node, interface, owner, chosen, bridge)

    def guards(self, node: str) -> tuple[str, ...]:
        """The firewall of the node where the topology has rules that hold for this network, and its ports' rules likewise."""
        has_rules = self.role == PROTECTED_ROLE and self._view.resources("firewall")
        has_groups = any(each.spec.network == self.name for each in self._view.resources("portgroup"))
        return (*((f"firewall:{node}",) if has_rules else ()), *((f"ports:{node}",) if has_groups else ()))

    @property
    def reached_through(self) -> tuple[str, ...]:
        """Labd's own link, on a management network."""
        if self.role != "management":
            return ()
        return (f"link:{LABD_NODE}/{_labd_interface(self._resource, self._view)}",)

    def labd_port(self) -> Port:
        """Labd's own port, at the subnet's second address."""
        interface = _labd_interface(self._resource, self._view)
        subnet = self._resource.spec.subnet
        address = self._view.choose(
            self._pool,
            f"{LABD_NODE}/{interface}",
            addressing.labd_candidates(subnet),
            valid=lambda value: addressing.is_host_address(subnet, value),
        )
        return self._port(LABD_NODE, interface, self._resource.address, address, None)

    def guest_address(self, key: str, *, address: str | None = None) -> tuple[str, str]:
        """An address and a MAC for a guest (see the contract)."""
        chosen = self._choose(key, address)
        return f"{chosen}/{self._resource.spec.subnet.prefixlen}", addressing.guest_mac(self._view.lab.name, key)

    @property
    def _pool(self) -> str:
        return f"address/{self.name}"

    def _choose(self, key: str, fixed: str | None) -> str:
        if fixed is not None:
            self.reserve(key, fixed)
            return fixed
        subnet = self._resource.spec.subnet
        reserved = str(addressing.gateway(subnet))
        try:
            return self._view.choose(
                self._pool,
                key,
                addressing.candidates(subnet),
                valid=lambda value: value != reserved and addressing.is_host_address(subnet, value),
            )
        except LabError as error:
            raise LabError(
                f"{subnet} of {self._resource.address} has no address left for {key}",
                hint="give the network a larger subnet",
            ) from error

    def _port(self, node: str, interface: str, owner: Address, address: str | None, bridge: str | None) -> Port:
        spec = self._resource.spec
        switch = switch_node(self.name)
        needs = [f"netns:{node}", f"bridge:{switch}/{SWITCH_BRIDGE}"]
        if bridge is not None:
            needs.append(f"bridge:{node}/{bridge}")
        with_prefix = None if address is None else f"{address}/{spec.subnet.prefixlen}"
        mac = addressing.port_mac(self._view.lab.name, node, interface)
        unit = Unit(
            id=f"link:{node}/{interface}",
            type="link",
            resource=owner,
            spec={
                "node": node,
                "interface": interface,
                "switch": switch,
                "switch_bridge": SWITCH_BRIDGE,
                "switch_port": addressing.switch_port_name(node, interface),
                "address": with_prefix,
                "bridge": bridge,
                "mac": mac,
                "mtu": spec.mtu,
            },
            needs=tuple(needs),
        )
        return Port(unit=unit, network=self.name, interface=interface, address=with_prefix, mac=mac, mtu=spec.mtu)


def _labd_interface(resource: Resource[NetworkSpec], view: TopologyView) -> str:
    """Labd's interface on a management network: vmk0 on the first of them, vmk1 on the second."""
    return f"vmk{networks_with_role(view, 'management').index(resource.name)}"


def switch_node(network: str) -> str:
    """The node of a network's switch; the dot keeps it apart from resources' names."""
    return f"sw.{network}"
