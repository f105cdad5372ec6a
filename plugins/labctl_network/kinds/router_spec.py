"""The table of kind `router`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from labctl.model.quantity import Ip, Subnet
from labctl.model.reference import Ref
from labctl.model.resource import Spec
from labctl_network.firewall.policy import ALL_PORTS, Service, parse_service


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _port(value: Any) -> Any:
    if isinstance(value, str):
        found = parse_service(value)
        if found.ports == ALL_PORTS or found.ports[0] == 0:
            raise ValueError(f'"{value}" has no port (write "tcp/80" or "udp/5000-5010")')
    return value


def _server(value: Any) -> Any:
    if isinstance(value, str):
        name, colon, port = value.rpartition(":")
        if (
            colon and not (name and port.isascii() and port.isdecimal() and 0 < int(port) <= ALL_PORTS[1])
        ) or not value:
            raise ValueError(f'"{value}" is no server (write "web1", "web1:8080" or "10.10.0.21:8080")')
    return value


class Forward(Spec):
    """One of a router's `dnat`."""

    port: Annotated[str, BeforeValidator(_port), Field(description="Of the router's address on its uplink: tcp/80.")]
    to: Annotated[
        tuple[Annotated[str, BeforeValidator(_server)], ...],
        BeforeValidator(_listed),
        Field(
            min_length=1, description="VMs, nodes or addresses, with a port where it is another; several take turns."
        ),
    ]

    @property
    def service(self) -> Service:
        """The port, read."""
        return parse_service(self.port)

    @property
    def servers(self) -> list[tuple[str, int]]:
        """Name or address, and port, of each; 0 for the port that was asked for."""
        found = []
        for each in self.to:
            name, colon, port = each.rpartition(":")
            found.append((name, int(port)) if colon else (each, 0))
        return found


class Route(Spec):
    """One of a router's `routes`."""

    to: Annotated[Subnet, Field(description="Where to: a subnet.")]
    via: Annotated[Ip, Field(description="The next hop, on one of the router's networks.")]


class RouterSpec(Spec):
    """The table `[router.NAME]`."""

    networks: Annotated[
        tuple[Annotated[str, Ref("network")], ...],
        Field(min_length=1, description="The networks whose gateway it is: it has the first address of each."),
    ]
    uplink: Annotated[
        str | None, Ref("network"), Field(description="The network that leads out, where it is one of many.")
    ] = None
    address: Annotated[Ip | None, Field(description="Its address on the uplink; derived if not said.")] = None
    snat: Annotated[
        bool, Field(description="Whether what leaves by the uplink comes from the router's own address.")
    ] = False
    dnat: Annotated[
        tuple[Forward, ...], Field(description="Ports of its address on the uplink that servers answer.")
    ] = ()
    routes: Annotated[tuple[Route, ...], Field(description="Static routes.")] = ()
