from __future__ import annotations

from typing import Any

import pytest
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from labctl.linux import rtnetlink
from labctl.linux.netlink import NLM_F_REQUEST, Request


def decoded(shape: type[Any], request: Request) -> Any:
    """What pyroute2, the oracle, reads from a request of ours."""
    header = (16 + len(request.body)).to_bytes(4, "little") + request.kind.to_bytes(2, "little")
    message = shape(header + (request.flags | NLM_F_REQUEST).to_bytes(2, "little") + bytes(8) + request.body)
    message.decode()
    return message


def test_a_veth_pair_reads_as_meant() -> None:
    request = rtnetlink.new_veth(
        rtnetlink.common(name="p1", mac="02:00:00:00:00:01", mtu=9000, master=7),
        rtnetlink.common(name="eth0", mac="02:00:00:00:00:02", mtu=9000),
        peer_namespace=5,
    )
    link = decoded(ifinfmsg, request)
    assert (link["index"], link["flags"], link["change"]) == (0, 1, 1)
    assert link.get_attr("IFLA_IFNAME") == "p1"
    assert link.get_attr("IFLA_ADDRESS") == "02:00:00:00:00:01"
    assert link.get_attr("IFLA_MTU") == 9000
    assert link.get_attr("IFLA_MASTER") == 7
    info = link.get_attr("IFLA_LINKINFO")
    assert info.get_attr("IFLA_INFO_KIND") == "veth"
    peer = info.get_attr("IFLA_INFO_DATA").get_attr("VETH_INFO_PEER")
    assert peer.get_attr("IFLA_IFNAME") == "eth0"
    assert peer.get_attr("IFLA_ADDRESS") == "02:00:00:00:00:02"
    assert peer.get_attr("IFLA_NET_NS_FD") == 5
    assert peer["flags"] == 0, "the kernel refuses a peer that comes up before its other end"


def test_a_bridge_forwards_at_once() -> None:
    info = decoded(ifinfmsg, rtnetlink.new_bridge(rtnetlink.common(name="br0"))).get_attr("IFLA_LINKINFO")
    assert info.get_attr("IFLA_INFO_KIND") == "bridge"
    data = info.get_attr("IFLA_INFO_DATA")
    assert data.get_attr("IFLA_BR_FORWARD_DELAY") == 0
    assert data.get_attr("IFLA_BR_STP_STATE") == 0
    assert data.get_attr("IFLA_BR_MCAST_SNOOPING") == 0


@pytest.mark.parametrize(
    ("address", "family", "local", "broadcast"),
    [
        ("10.20.0.11/24", 2, "10.20.0.11", "10.20.0.255"),
        ("10.20.0.0/31", 2, "10.20.0.0", None),
        ("fd00::1/64", 10, "fd00::1", None),
    ],
)
def test_an_address_reads_as_meant(address: str, family: int, local: str, broadcast: str | None) -> None:
    request = rtnetlink.new_address(3, address)
    message = decoded(ifaddrmsg, request)
    assert (message["family"], message["index"], message["prefixlen"]) == (family, 3, int(address.partition("/")[2]))
    assert message.get_attr("IFA_LOCAL") == local
    assert message.get_attr("IFA_BROADCAST") == broadcast
    assert rtnetlink.read_address(request.body) == (3, address)


def test_a_default_route_has_no_destination() -> None:
    message = decoded(rtmsg, rtnetlink.new_route("default", gateway="10.0.0.1"))
    assert (message["dst_len"], message["table"], message["type"]) == (0, 254, 1)
    assert message.get_attr("RTA_DST") is None
    assert message.get_attr("RTA_GATEWAY") == "10.0.0.1"


def test_a_route_through_a_link_stays_on_it() -> None:
    message = decoded(rtmsg, rtnetlink.new_route("10.9.0.0/16", index=4))
    assert (message["dst_len"], message["scope"]) == (16, 253)
    assert message.get_attr("RTA_DST") == "10.9.0.0"
    assert message.get_attr("RTA_OIF") == 4


def test_a_link_is_read_from_what_the_oracle_wrote() -> None:
    message = ifinfmsg()
    message["index"], message["flags"] = 9, 0x10001
    message["attrs"] = [
        ("IFLA_IFNAME", "eth0"),
        ("IFLA_ADDRESS", "02:00:00:00:00:02"),
        ("IFLA_MTU", 1400),
        ("IFLA_MASTER", 2),
        ("IFLA_LINK", 8),
        ("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", "veth")]}),
    ]
    message.encode()
    state = rtnetlink.read_link(bytes(message.data[16:]), ["10.0.0.1/8"])
    assert state == rtnetlink.LinkState(
        index=9,
        name="eth0",
        kind="veth",
        mac="02:00:00:00:00:02",
        mtu=1400,
        up=True,
        carrier=True,
        master=2,
        peer=8,
        addresses=("10.0.0.1/8",),
    )


@pytest.mark.parametrize("wrong", ["02:00", "nonsense", "02:00:00:00:00:00:01"])
def test_what_is_no_mac_address_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"MAC|hexadecimal"):
        rtnetlink.mac_bytes(wrong)
