"""Which router leads where: gateways, and the routes that routers behind one another make known. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network

from labctl.contracts.network import Network, Port
from labctl.model.address import Address
from labctl.model.resource import Resource
from labctl.plugin.api import CompileView, TopologyView
from labctl_network import addressing
from labctl_network.kinds.router_spec import RouterSpec
from labctl_network.routing.unit import DEFAULT

UPLINK = "up0"
"""A router's interface on its uplink; eth0, eth1, … are on its networks."""

Router = Resource[RouterSpec]


def gateway_of(network: str, view: TopologyView) -> IPv4Address | None:
    """The address of the router that leads out of a network, if there is one: the network's first."""
    served = any(network in router.spec.networks for router in view.resources("router"))
    return addressing.gateway(subnet_of(network, view)) if served else None


def subnet_of(network: str, view: TopologyView) -> IPv4Network:
    """A network's addresses."""
    subnet: IPv4Network = view.resource(Address("network", network)).spec.subnet
    return subnet


def ports_of(router: Router, view: CompileView) -> list[Port]:
    """Its ports: those of its networks, in their order, then the uplink's."""
    spec = router.spec
    found = [
        _port(router, name, f"eth{number}", str(addressing.gateway(subnet_of(name, view))), view)
        for number, name in enumerate(spec.networks)
    ]
    if spec.uplink is not None:
        found.append(_port(router, spec.uplink, UPLINK, None if spec.address is None else str(spec.address), view))
    return found


def behind(router: Router, view: TopologyView) -> list[IPv4Network]:
    """The subnets that a router leads to, but for its uplink's: its networks', and those of routers behind it."""
    own = [subnet_of(name, view) for name in router.spec.networks]
    return [*own, *(subnet for below in _below(router, view) for subnet in behind(below, view))]


def routes_of(router: Router, view: CompileView) -> Mapping[str, str]:
    """Its routes: to what is behind it, those that were said, and out by the uplink's own gateway."""
    found: dict[str, str] = {}
    for below in _below(router, view):
        via = ports_of(below, view)[-1].ip
        found |= {str(subnet): via for subnet in behind(below, view)}
    spec = router.spec
    out = None if spec.uplink is None else gateway_of(spec.uplink, view)
    if out is not None:
        found[DEFAULT] = str(out)
    for route in spec.routes:
        found[DEFAULT if route.to.prefixlen == 0 else str(route.to)] = str(route.via)
    return found


def loop(router: Router, view: TopologyView) -> list[str]:
    """The routers through which a router's uplink leads back to itself, or []."""
    seen = [router.name]
    above = list(_above(router, view))
    while above:
        if above[0].name in seen:
            return [*seen[seen.index(above[0].name) :], above[0].name]
        seen.append(above[0].name)
        above = list(_above(above[0], view))
    return []


def _below(router: Router, view: TopologyView) -> Iterator[Router]:
    """The routers whose uplink is one of its networks, and which show what is behind them."""
    for other in _routers(view):
        if other.spec.uplink in router.spec.networks and not other.spec.snat and other.name != router.name:
            yield other


def _above(router: Router, view: TopologyView) -> Iterator[Router]:
    return (other for other in _routers(view) if router.spec.uplink in other.spec.networks)


def _routers(view: TopologyView) -> Iterable[Router]:
    return view.resources("router")


def _port(router: Router, network: str, interface: str, address: str | None, view: CompileView) -> Port:
    offered = view.provider(Address("network", network), Network)
    return offered.port(router.name, interface, owner=router.address, address=address)
