"""The shapes of the rtnetlink messages that the lab sends, and the reading of those that it gets. Pure: bytes in, bytes out.

Numbers are from linux/if_link.h, linux/if_addr.h, linux/rtnetlink.h and linux/veth.h; they are the kernel's ABI and never change.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface, ip_network

from labctl.linux.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    Request,
    attribute,
    attributes,
    nested,
    text,
    u8,
    u32,
)

RTM_NEWLINK = 16
RTM_DELLINK = 17
RTM_GETLINK = 18
RTM_NEWADDR = 20
RTM_DELADDR = 21
RTM_GETADDR = 22
RTM_NEWROUTE = 24

IFF_UP = 0x1
_IFF_LOWER_UP = 0x10000

_IFLA_ADDRESS = 1
_IFLA_IFNAME = 3
_IFLA_MTU = 4
_IFLA_LINK = 5
_IFLA_MASTER = 10
_IFLA_LINKINFO = 18
_IFLA_NET_NS_FD = 28
_IFLA_EXT_MASK = 29
_IFLA_INFO_KIND = 1
_IFLA_INFO_DATA = 2
_VETH_INFO_PEER = 1
_IFLA_BR_FORWARD_DELAY = 1
_IFLA_BR_STP_STATE = 5
_IFLA_BR_MCAST_SNOOPING = 23
_IFLA_VXLAN_ID = 1
_RTEXT_FILTER_SKIP_STATS = 8
_IFA_ADDRESS = 1
_IFA_LOCAL = 2
_IFA_BROADCAST = 4
_RTA_DST = 1
_RTA_OIF = 4
_RTA_GATEWAY = 5
_RT_TABLE_MAIN = 254
_RTPROT_STATIC = 4
_RTN_UNICAST = 1

_IFINFOMSG = struct.Struct("=BxHiII")  # family, type, index, flags, change
_IFADDRMSG = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, index
_RTMSG = struct.Struct("=BBBBBBBBI")  # family, dst_len, src_len, tos, table, protocol, scope, type, flags


@dataclass(frozen=True, kw_only=True, slots=True)
class LinkState:
    """An interface as it is.

    Args:
        index: its number in its namespace.
        name: its name.
        kind: veth, bridge, tun, vxlan …; "" for hardware and lo.
        mac: `02:…`, or "" where it has none.
        mtu: bytes.
        up: whether it is administratively up.
        carrier: whether its other end is up too.
        master: the index of the bridge that it is a port of, or 0.
        peer: the index of its other end in that end's namespace, or 0.
        addresses: `10.0.0.1/24`; only where asked for.
    """

    index: int
    name: str
    kind: str
    mac: str
    mtu: int
    up: bool
    carrier: bool
    master: int
    peer: int
    addresses: tuple[str, ...] = ()


def mac_bytes(mac: str) -> bytes:
    """A MAC address, `02:00:00:00:00:01`, as 6 bytes.

    Raises:
        ValueError: it is none.
    """
    raw = bytes.fromhex(mac.replace(":", ""))
    if len(raw) != 6:
        raise ValueError(f"{mac!r} is not a MAC address")
    return raw


def common(
    *, name: str | None = None, mac: str | None = None, mtu: int | None = None, master: int | None = None
) -> bytes:
    """The attributes that all links share; master 0 takes the link out of its bridge."""
    parts: list[bytes] = []
    if name is not None:
        parts.append(text(_IFLA_IFNAME, name))
    if mac is not None:
        parts.append(attribute(_IFLA_ADDRESS, mac_bytes(mac)))
    if mtu is not None:
        parts.append(u32(_IFLA_MTU, mtu))
    if master is not None:
        parts.append(u32(_IFLA_MASTER, master))
    return b"".join(parts)


def new_veth(local: bytes, peer: bytes, *, peer_namespace: int) -> Request:
    """Create a veth pair in one message: the local end up, the other one whole but down.

    The other end cannot come up yet: the kernel opens it before it knows its peer (veth_open: ENOTCONN).

    Args:
        local: attributes of the end in the socket's namespace (see `common`).
        peer: attributes of the other end; it cannot have a master yet.
        peer_namespace: an open file descriptor of the other end's namespace.
    """
    other = _link_header(0) + peer + u32(_IFLA_NET_NS_FD, peer_namespace)
    info = nested(
        _IFLA_LINKINFO,
        text(_IFLA_INFO_KIND, "veth"),
        nested(_IFLA_INFO_DATA, nested(_VETH_INFO_PEER, other)),
    )
    return Request(RTM_NEWLINK, _link_header(0, up=True) + local + info, NLM_F_CREATE | NLM_F_EXCL)


def new_bridge(local: bytes) -> Request:
    """Create a bridge that forwards at once: no spanning tree, no forward delay, no multicast snooping."""
    info = nested(
        _IFLA_LINKINFO,
        text(_IFLA_INFO_KIND, "bridge"),
        nested(
            _IFLA_INFO_DATA,
            u32(_IFLA_BR_FORWARD_DELAY, 0),
            u32(_IFLA_BR_STP_STATE, 0),
            u8(_IFLA_BR_MCAST_SNOOPING, 0),
        ),
    )
    return Request(RTM_NEWLINK, _link_header(0, up=True) + local + info, NLM_F_CREATE | NLM_F_EXCL)


def new_plain(kind: str, local: bytes, data: bytes = b"") -> Request:
    """Create a link of a kind without ends or ports, left down (`ifb`, `dummy`, `vxlan`)."""
    info = nested(_IFLA_LINKINFO, text(_IFLA_INFO_KIND, kind), nested(_IFLA_INFO_DATA, data))
    return Request(RTM_NEWLINK, _link_header(0) + local + info, NLM_F_CREATE | NLM_F_EXCL)


def vxlan_id(number: int) -> bytes:
    """The data of a vxlan link: its network identifier."""
    return u32(_IFLA_VXLAN_ID, number)


def set_link(index: int, changed: bytes, *, up: bool | None = None) -> Request:
    """Change a link: attributes of `common`, and up or down unless None."""
    return Request(RTM_NEWLINK, _link_header(index, up=up) + changed)


def delete_link(*, name: str) -> Request:
    """Delete a link, and with a veth its other end."""
    return Request(RTM_DELLINK, _link_header(0) + text(_IFLA_IFNAME, name))


def get_link(name: str) -> Request:
    """Look up a link by name."""
    return Request(
        RTM_GETLINK, _link_header(0) + text(_IFLA_IFNAME, name) + u32(_IFLA_EXT_MASK, _RTEXT_FILTER_SKIP_STATS)
    )


def links_dump() -> bytes:
    """The body of a dump of all links."""
    return _link_header(0) + u32(_IFLA_EXT_MASK, _RTEXT_FILTER_SKIP_STATS)


def addresses_dump() -> bytes:
    """The body of a dump of all addresses."""
    return _IFADDRMSG.pack(0, 0, 0, 0, 0)


def new_address(index: int, address: str) -> Request:
    """Give a link an address, `10.0.0.1/24`; fine where it has it already."""
    return Request(RTM_NEWADDR, _address_body(index, address), NLM_F_CREATE | NLM_F_REPLACE)


def delete_address(index: int, address: str) -> Request:
    """Take an address away."""
    return Request(RTM_DELADDR, _address_body(index, address))


def new_route(destination: str, *, gateway: str | None = None, index: int | None = None) -> Request:
    """Add or replace a route in the main table.

    Args:
        destination: `10.0.0.0/8`, or `default`.
        gateway: the next hop, or None for what is on the link.
        index: the link; found by the gateway where None.
    """
    return Request(RTM_NEWROUTE, _route_body(destination, gateway, index), NLM_F_CREATE | NLM_F_REPLACE)


def link_index(body: bytes) -> int:
    """The index in a link's message."""
    index: int = _IFINFOMSG.unpack_from(body)[2]
    return index


def read_link(body: bytes, addresses: Sequence[str] = ()) -> LinkState:
    """A link's message as a state."""
    _family, _type, index, flags, _change = _IFINFOMSG.unpack_from(body)
    found = attributes(body, _IFINFOMSG.size)
    info = attributes(found.get(_IFLA_LINKINFO, b""))
    return LinkState(
        index=index,
        name=_string(found.get(_IFLA_IFNAME, b"")),
        kind=_string(info.get(_IFLA_INFO_KIND, b"")),
        mac=found.get(_IFLA_ADDRESS, b"").hex(":"),
        mtu=_number(found.get(_IFLA_MTU)),
        up=bool(flags & IFF_UP),
        carrier=bool(flags & _IFF_LOWER_UP),
        master=_number(found.get(_IFLA_MASTER)),
        peer=_number(found.get(_IFLA_LINK)),
        addresses=tuple(addresses),
    )


def read_address(body: bytes) -> tuple[int, str]:
    """An address's message as (index of its link, `10.0.0.1/24`)."""
    _family, prefix, _flags, _scope, index = _IFADDRMSG.unpack_from(body)
    found = attributes(body, _IFADDRMSG.size)
    raw = found.get(_IFA_LOCAL) or found[_IFA_ADDRESS]
    return index, f"{ip_address(raw)}/{prefix}"


def _link_header(index: int, *, up: bool | None = None) -> bytes:
    return _IFINFOMSG.pack(0, 0, index, IFF_UP if up else 0, 0 if up is None else IFF_UP)


def _address_body(index: int, address: str) -> bytes:
    parsed: IPv4Interface | IPv6Interface = ip_interface(address)
    packed = parsed.ip.packed
    family = socket.AF_INET if parsed.version == 4 else socket.AF_INET6
    body = _IFADDRMSG.pack(family, parsed.network.prefixlen, 0, 0, index)
    body += attribute(_IFA_LOCAL, packed) + attribute(_IFA_ADDRESS, packed)
    if parsed.version == 4 and parsed.network.prefixlen < 31:  # RFC 3021: a /31 has no broadcast
        body += attribute(_IFA_BROADCAST, parsed.network.broadcast_address.packed)
    return body


def _route_body(destination: str, gateway: str | None, index: int | None) -> bytes:
    via = None if gateway is None else ip_address(gateway)
    if destination == "default":
        destination = "::/0" if via is not None and via.version == 6 else "0.0.0.0/0"
    network = ip_network(destination)
    family = socket.AF_INET if network.version == 4 else socket.AF_INET6
    scope = 0 if via is not None or network.version == 6 else 253  # RT_SCOPE_LINK
    body = _RTMSG.pack(family, network.prefixlen, 0, 0, _RT_TABLE_MAIN, _RTPROT_STATIC, scope, _RTN_UNICAST, 0)
    body += attribute(_RTA_DST, network.network_address.packed) if network.prefixlen else b""
    body += attribute(_RTA_GATEWAY, via.packed) if via is not None else b""
    return body + (u32(_RTA_OIF, index) if index is not None else b"")


def _string(raw: bytes) -> str:
    return raw.rstrip(b"\0").decode(errors="replace")


def _number(raw: bytes | None) -> int:
    return 0 if raw is None else int.from_bytes(raw, sys.byteorder)
