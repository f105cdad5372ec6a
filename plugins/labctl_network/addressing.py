"""Which addresses and names are handed out. Pure and deterministic.

In each subnet the first host address is kept for a gateway and the second for labd; derived addresses start at the eleventh, as people
do by hand, and fall back to the rest only when those run out. MAC addresses are derived from names: a lab that is brought up again
has the same ones, and two labs side by side do not share any.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

FIRST_DERIVED = 11
"""Offset in the subnet of the first derived address; the ones below are for gateways, services and people's own use."""

MAX_INTERFACE_NAME = 15
"""IFNAMSIZ less the NUL (linux/if.h)."""

_GUEST_PREFIX = bytes([0x52, 0x54, 0x00])  # QEMU's customary locally administered prefix
_PORT_PREFIX = bytes([0x02, 0x1A, 0xBC])


def gateway(subnet: IPv4Network) -> IPv4Address:
    """The address that is kept for a gateway: the first host's."""
    return subnet.network_address + 1


def labd_candidates(subnet: IPv4Network) -> Iterator[str]:
    """Addresses for labd itself: the second host's, else any."""
    yield str(subnet.network_address + 2)
    yield from candidates(subnet)


def candidates(subnet: IPv4Network) -> Iterator[str]:
    """Addresses to hand out, best first. Lazy, so that a /8 costs nothing."""
    last = subnet.num_addresses - 2
    for offset in range(FIRST_DERIVED, last + 1):
        yield str(subnet.network_address + offset)
    for offset in range(3, min(FIRST_DERIVED, last + 1)):
        yield str(subnet.network_address + offset)


def is_host_address(subnet: IPv4Network, address: str) -> bool:
    """Whether an address can be a node's in that subnet."""
    try:
        parsed = IPv4Address(address)
    except ValueError:
        return False
    return parsed in subnet and parsed not in (subnet.network_address, subnet.broadcast_address)


def port_mac(lab: str, node: str, interface: str) -> str:
    """The MAC address of a node's interface."""
    return _mac(_PORT_PREFIX, f"{lab}/{node}/{interface}")


def guest_mac(lab: str, key: str) -> str:
    """The MAC address of a guest's NIC."""
    return _mac(_GUEST_PREFIX, f"{lab}/guest/{key}")


def bridge_mac(lab: str, node: str) -> str:
    """The MAC address of all switches of a node that has a firewall: fixed, since a bridge's own choice changes with its ports."""
    return _mac(_PORT_PREFIX, f"{lab}/{node}/bridges")


def switch_port_name(node: str, interface: str) -> str:
    """The name of a link's end at the switch: `esx1-vmk0`, or with a stable hash where that is too long."""
    name = f"{node}-{interface}"
    if len(name) <= MAX_INTERFACE_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:6]
    return f"{name[: MAX_INTERFACE_NAME - 7]}.{digest}"


def _mac(prefix: bytes, seed: str) -> str:
    return (prefix + hashlib.sha256(seed.encode()).digest()[:3]).hex(":")
