"""Kind `router`: a namespace that is the gateway of networks, and may translate addresses towards another.

A router above others (tier 0 over tier 1, as NSX calls them) is nothing but one whose network is their uplink: it learns what is
behind them (labctl_network.routing.tiers).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address

from labctl.contracts.network import Network, SwitchPorts, netns_unit
from labctl.errors import LabError
from labctl.model.address import Address
from labctl.model.problem import Problem
from labctl.model.resource import Resource
from labctl.model.suggest import did_you_mean
from labctl.model.unit import Unit
from labctl.plugin.api import CompileView, Description, Kind, TopologyView
from labctl_network import addressing
from labctl_network.kinds.router_spec import RouterSpec
from labctl_network.ports import PORT_OWNERS
from labctl_network.routing.nat import Forwarded, Nat
from labctl_network.routing.tiers import UPLINK, behind, loop, ports_of, routes_of, subnet_of
from labctl_network.routing.unit import Routing

ROUTED_ROLE = "production"
"""Networks of other roles are kept apart from what guests reach."""


class RouterKind(Kind[RouterSpec]):
    """A router."""

    name = "router"
    summary = "the gateway of networks: routes, SNAT, DNAT"
    spec = RouterSpec

    def check(self, resource: Resource[RouterSpec], view: TopologyView) -> Iterable[Problem]:
        """Its networks are production's, and have no other gateway; what it translates has an uplink, and goes to somebody."""
        yield from _check_networks(resource, view)
        spec = resource.spec
        if spec.uplink is None:
            for key in ("address", "snat", "dnat"):
                if getattr(spec, key):
                    yield Problem(
                        path=resource.path(key),
                        message=f"{key} is about the uplink, and the router has none",
                        hint='say which network leads out: uplink = "outside"',
                    )
        elif round_trip := loop(resource, view):
            yield Problem(
                path=resource.path("uplink"),
                message=f"its uplink leads back to itself: {' → '.join(round_trip)}",
                hint="have the uplink of one of them lead elsewhere",
            )
        yield from _check_routes(resource, view)
        yield from _check_dnat(resource, view)

    def reserve(self, resource: Resource[RouterSpec], view: CompileView) -> None:
        """Take the gateways' addresses, and a fixed one on the uplink."""
        for number, name in enumerate(resource.spec.networks):
            network = view.provider(Address("network", name), Network)
            network.reserve(f"{resource.name}/eth{number}", str(addressing.gateway(subnet_of(name, view))))
        if resource.spec.uplink is not None and resource.spec.address is not None:
            network = view.provider(Address("network", resource.spec.uplink), Network)
            network.reserve(f"{resource.name}/{UPLINK}", str(resource.spec.address))

    def compile(self, resource: Resource[RouterSpec], view: CompileView) -> Iterable[Unit]:
        """The namespace, its links, and what it does."""
        yield netns_unit(resource.name, resource.address)
        ports = ports_of(resource, view)
        for port in ports:
            yield port.unit
        routing = Routing(routes=routes_of(resource, view), forward=True, nat=_nat(resource, view))
        yield routing.unit(resource.name, resource.address, (port.unit.id for port in ports))

    def describe(self, resource: Resource[RouterSpec], view: CompileView) -> Description:
        """Its addresses and routes."""
        spec, ports = resource.spec, ports_of(resource, view)
        does = [f"gateway of {', '.join(spec.networks)}"]
        does += [f"out by {spec.uplink}"] if spec.uplink else []
        does += ["SNAT"] if spec.snat else []
        does += [f"DNAT of {', '.join(each.port for each in spec.dnat)}"] if spec.dnat else []
        return Description(
            summary="; ".join(does),
            addresses={port.network: port.ip for port in ports},
            node=resource.name,
            links={Address("network", port.network): port.interface for port in ports},
            properties={
                "networks": list(spec.networks),
                "uplink": spec.uplink,
                "snat": spec.snat,
                "dnat": {each.port: list(each.to) for each in spec.dnat},
                "routes": dict(routes_of(resource, view)),
            },
        )


def _nat(resource: Resource[RouterSpec], view: CompileView) -> Nat:
    spec = resource.spec
    if spec.uplink is None:
        return Nat()
    inside = tuple(str(subnet) for subnet in behind(resource, view))
    return Nat(
        uplink=UPLINK,
        address=ports_of(resource, view)[-1].ip,
        sources=inside if spec.snat else (),
        forwarded=tuple(
            Forwarded(
                protocol=each.service.protocol,
                first=each.service.ports[0],
                last=each.service.ports[1],
                servers=tuple(
                    (_address(name, resource, view), port or _one(each.service.ports)) for name, port in each.servers
                ),
            )
            for each in spec.dnat
        ),
        inside=inside,
    )


def _one(ports: tuple[int, int]) -> int:
    """The port itself; 0 for several, which keep theirs."""
    return ports[0] if ports[0] == ports[1] else 0


def _address(name: str, resource: Resource[RouterSpec], view: CompileView) -> str:
    """A server's address: that of a VM or node on a network that the router leads to.

    Raises:
        LabError: it is on none.
    """
    reached = behind(resource, view)
    for kind in PORT_OWNERS:
        if any(each.name == name for each in view.resources(kind)):
            ports = view.provider(Address(kind, name), SwitchPorts).ports
            for port in ports:
                if any(IPv4Address(port.address) in subnet for subnet in reached):
                    return port.address
            raise LabError(
                f"{name} is on none of the networks that {resource.address} leads to",
                hint=f"they are {', '.join(map(str, reached))}",
            )
    return name


def _check_networks(resource: Resource[RouterSpec], view: TopologyView) -> Iterator[Problem]:
    spec = resource.spec
    named = [(("networks", index), name) for index, name in enumerate(spec.networks)]
    named += [(("uplink",), spec.uplink)] if spec.uplink is not None else []  # type: ignore[list-item] # paths of two lengths
    for index, (place, name) in enumerate(named):
        role = view.resource(Address("network", name)).spec.role
        if role != ROUTED_ROLE:
            yield Problem(
                path=resource.path(*place),
                message=f'network "{name}" has the role {role}: a router would join what is kept apart',
                hint=f"name networks of role {ROUTED_ROLE}",
            )
        elif name in [other for _, other in named[:index]]:
            yield Problem(
                path=resource.path(*place), message=f'network "{name}" is named twice', hint="remove the second"
            )
        elif place[0] == "networks" and (other := _other_gateway(name, resource, view)) is not None:
            yield Problem(
                path=resource.path(*place),
                message=f'{other} is the gateway of network "{name}" already',
                hint=f'be on it as another: uplink = "{name}"',
            )


def _other_gateway(network: str, resource: Resource[RouterSpec], view: TopologyView) -> Address | None:
    for other in view.resources("router"):
        if other.address == resource.address:
            return None
        if network in other.spec.networks:
            return other.address
    return None


def _check_routes(resource: Resource[RouterSpec], view: TopologyView) -> Iterator[Problem]:
    spec = resource.spec
    on = {name: subnet_of(name, view) for name in (*spec.networks, *([spec.uplink] if spec.uplink else []))}
    for index, route in enumerate(spec.routes):
        if not any(route.via in subnet for subnet in on.values()):
            yield Problem(
                path=resource.path("routes", index, "via"),
                message=f"{route.via} is on none of its networks",
                hint=f"the next hop is on one of {', '.join(f'{name} ({subnet})' for name, subnet in on.items())}",
            )


def _check_dnat(resource: Resource[RouterSpec], view: TopologyView) -> Iterator[Problem]:
    known = [each.name for kind in PORT_OWNERS for each in view.resources(kind)]
    for index, forward in enumerate(resource.spec.dnat):
        first, last = forward.service.ports
        if first != last and any(port for _, port in forward.servers):
            yield Problem(
                path=resource.path("dnat", index, "to"),
                message=f"{forward.port} is many ports, and the server's is one",
                hint="leave the server's port out: each is forwarded to its own",
            )
        for name, _ in forward.servers:
            if name not in known and not _is_address(name):
                yield Problem(
                    path=resource.path("dnat", index, "to"),
                    message=f'there is no VM or node "{name}"',
                    hint=did_you_mean(name, known) or "name a VM, a node or an address",
                )


def _is_address(text: str) -> bool:
    try:
        IPv4Address(text)
    except ValueError:
        return False
    return True
