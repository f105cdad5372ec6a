"""Kind `node`: a plain namespace on some networks, to be used as a client or to run anything in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Annotated, TypeVar

from pydantic import Field

from labctl.contracts.network import Network, OwnPorts, Port, SwitchPort, SwitchPorts, netns_unit
from labctl.model.address import Address
from labctl.model.problem import Problem
from labctl.model.quantity import Ip
from labctl.model.reference import Ref
from labctl.model.resource import Resource, Spec
from labctl.model.unit import Unit
from labctl.plugin.api import CompileView, Description, Kind, TopologyView
from labctl_network.routing.unit import DEFAULT, Routing

T = TypeVar("T")


class NodeSpec(Spec):
    """The table `[node.NAME]`."""

    networks: Annotated[
        tuple[Annotated[str, Ref("network")], ...],
        Field(description="The networks it is on: eth0, eth1, … in this order."),
    ] = ()
    addresses: Annotated[dict[str, Ip], Field(default_factory=dict, description="Fixed addresses, by network.")]
    portgroups: Annotated[
        dict[str, Annotated[str, Ref("portgroup")]],
        Field(default_factory=dict, description="Its port groups, by network."),
    ]
    tags: Annotated[tuple[str, ...], Field(description="Words that firewall groups can choose it by.")] = ()


def switch_of(port: Port) -> str:
    """The node of the switch that a port is plugged into."""
    return str(port.unit.spec["switch"])


class NodeKind(Kind[NodeSpec]):
    """A network namespace with a port on each of its networks."""

    name = "node"
    summary = "a plain network node"
    spec = NodeSpec

    def check(self, resource: Resource[NodeSpec], view: TopologyView) -> Iterable[Problem]:
        """A network is named once, and an address only for a network that the node is on."""
        spec = resource.spec
        for index, network in enumerate(spec.networks):
            if network in spec.networks[:index]:
                yield Problem(
                    path=resource.path("networks", index),
                    message=f'network "{network}" is named twice',
                    hint="one port a network is enough; remove the second",
                )
        for network in spec.addresses:
            if network not in spec.networks:
                yield Problem(
                    path=resource.path("addresses", network),
                    message=f'an address on network "{network}", which the node is not on',
                    hint=f'add "{network}" to its networks',
                )

        for network, group in spec.portgroups.items():
            leads_to = view.resource(Address("portgroup", group)).spec.network
            if network != leads_to or network not in spec.networks:
                yield Problem(
                    path=resource.path("portgroups", network),
                    message=f'port group "{group}" is one of network "{leads_to}"'
                    + ("" if leads_to in spec.networks else ", which the node is not on"),
                    hint=f'write {{ {leads_to} = "{group}" }} and have "{leads_to}" among its networks',
                )

    def reserve(self, resource: Resource[NodeSpec], view: CompileView) -> None:
        """Take the fixed addresses."""
        for index, name in enumerate(resource.spec.networks):
            if (address := resource.spec.addresses.get(name)) is not None:
                network = view.provider(Address("network", name), Network)
                network.reserve(f"{resource.name}/eth{index}", str(address))

    def compile(self, resource: Resource[NodeSpec], view: CompileView) -> Iterable[Unit]:
        """The namespace and its links, and the way out by the first of its networks that has a router."""
        yield netns_unit(resource.name, resource.address)
        gateways = []
        for port in self._ports(resource, view):
            network = view.provider(Address("network", port.network), Network)
            yield replace(port.unit, needs=(*port.unit.needs, *network.guards(switch_of(port))))
            if network.gateway is not None:
                gateways.append((network.gateway, port.unit.id))
        for gateway, link in gateways[:1]:
            yield Routing(routes={DEFAULT: gateway}).unit(resource.name, resource.address, [link])

    def provide(self, contract: type[T], resource: Resource[NodeSpec], view: CompileView) -> T | None:
        """The contract SwitchPorts: its links' ends at the switches."""
        if contract is not SwitchPorts:
            return None
        ports = tuple(
            SwitchPort(
                node=switch_of(port),
                bridge=str(port.unit.spec["switch_bridge"]),
                interface=str(port.unit.spec["switch_port"]),
                network=port.network,
                mac=port.mac,
                address=port.ip,
                portgroup=resource.spec.portgroups.get(port.network, ""),
            )
            for port in self._ports(resource, view)
        )
        return OwnPorts(ports, resource.spec.tags)  # type: ignore[return-value] # T is SwitchPorts here

    def describe(self, resource: Resource[NodeSpec], view: CompileView) -> Description:
        """Its addresses."""
        ports = list(self._ports(resource, view))
        return Description(
            summary="node",
            addresses={port.network: port.ip for port in ports},
            node=resource.name,
            links={Address("network", port.network): port.interface for port in ports},
        )

    def _ports(self, resource: Resource[NodeSpec], view: CompileView) -> Iterable[Port]:
        for index, name in enumerate(resource.spec.networks):
            fixed = resource.spec.addresses.get(name)
            yield view.provider(Address("network", name), Network).port(
                resource.name, f"eth{index}", owner=resource.address, address=None if fixed is None else str(fixed)
            )
