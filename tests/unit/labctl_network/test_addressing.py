"""Addresses and names are derived the same way each time, and none is handed out that should not be."""

from ipaddress import IPv4Address, IPv4Network
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labctl_network import addressing

SUBNETS = st.builds(
    lambda address, prefix: IPv4Network((address, prefix), strict=False),
    st.integers(0x0A000000, 0x0AFFFFFF),
    st.integers(20, 29),
)


def test_derived_addresses_begin_at_the_eleventh() -> None:
    first = list(islice(addressing.candidates(IPv4Network("10.10.0.0/24")), 2))
    assert first == ["10.10.0.11", "10.10.0.12"]


@given(SUBNETS)
def test_every_candidate_is_a_hosts_and_neither_the_gateways_nor_labds(subnet: IPv4Network) -> None:
    handed = list(addressing.candidates(subnet))
    assert len(handed) == len(set(handed)) == subnet.num_addresses - 4
    assert all(addressing.is_host_address(subnet, address) for address in handed)
    assert str(addressing.gateway(subnet)) not in handed
    assert next(iter(addressing.labd_candidates(subnet))) not in handed


@given(SUBNETS)
def test_network_and_broadcast_are_no_hosts(subnet: IPv4Network) -> None:
    assert not addressing.is_host_address(subnet, str(subnet.network_address))
    assert not addressing.is_host_address(subnet, str(subnet.broadcast_address))
    assert not addressing.is_host_address(subnet, str(IPv4Address(int(subnet.broadcast_address) + 1)))


def test_nonsense_is_no_address() -> None:
    assert not addressing.is_host_address(IPv4Network("10.0.0.0/24"), "esx1")


@given(st.text("abcdefghij-0123456789", min_size=1, max_size=32), st.sampled_from(["eth0", "vmk0", "vmnic12"]))
def test_a_switch_port_has_a_name_that_the_kernel_takes(node: str, interface: str) -> None:
    assert len(addressing.switch_port_name(node, interface)) <= addressing.MAX_INTERFACE_NAME


def test_long_names_stay_apart() -> None:
    names = {addressing.switch_port_name(f"a-very-long-node-name-{n}", "eth0") for n in range(200)}
    assert len(names) == 200


@pytest.mark.parametrize("mac", [addressing.port_mac("a", "esx1", "vmk0"), addressing.guest_mac("a", "web1/nic0")])
def test_macs_are_unicast_and_locally_administered(mac: str) -> None:
    assert int(mac[:2], 16) & 0b11 == 0b10


def test_two_labs_share_no_mac() -> None:
    assert addressing.port_mac("a", "esx1", "vmk0") != addressing.port_mac("b", "esx1", "vmk0")
    assert addressing.port_mac("a", "esx1", "vmk0") == addressing.port_mac("a", "esx1", "vmk0")
