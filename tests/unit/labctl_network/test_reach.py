"""The way of a frame: through vSwitches, uplinks and the network's switch, and not further than needed."""

from __future__ import annotations

import pytest

from labctl.errors import UsageError
from labctl_network.reach import Attachment, of_link, of_vm, path


def link(
    kind: str, node: str, interface: str, address: str | None, *, network: str = "production", bridge: str | None = None
):
    spec = {
        "node": node, "interface": interface, "switch": f"sw.{network}", "address": address, "bridge": bridge,
        "mac": "02:1a:bc:00:00:01",
    }  # fmt: skip
    return of_link(kind, node, spec)


UPLINKS = [link("host", host, "vmnic0", None, bridge="vSwitch0") for host in ("esx1", "esx2")]
CLIENT = link("node", "client", "eth0", "10.10.0.21/24")
ARRAY = link("array", "san1", "stor0", "10.20.0.11/24", network="storage")


def vm(name: str, host: str, address: str) -> Attachment:
    nic = {"network": "production", "vswitch": "vSwitch0", "mac": "52:54:00:00:00:01", "address": f"{address}/24"}
    return of_vm(name, {"host": host, "nics": [nic]}, UPLINKS)[0]


LAB = [
    *UPLINKS,
    CLIENT,
    ARRAY,
    vm("web1", "esx1", "10.10.0.11"),
    vm("web2", "esx1", "10.10.0.12"),
    vm("db1", "esx2", "10.10.0.13"),
]


def way(source: str, target: str, **broken: str) -> list[str]:
    found = path(LAB, source, target, {key.replace("_", "/"): value for key, value in broken.items()})
    return [f"{hop['kind']} {hop['where']} {hop['name']}" for hop in found["hops"]]  # type: ignore[index, union-attr, call-overload]


def test_between_vms_of_one_host_only_its_vswitch_sees_a_frame() -> None:
    assert way("web1", "web2") == ["nic web1 nic0", "vswitch esx1 vSwitch0", "nic web2 nic0"]


def test_between_hosts_a_frame_crosses_both_uplinks_and_the_switch() -> None:
    assert way("web1", "db1") == [
        "nic web1 nic0",
        "vswitch esx1 vSwitch0",
        "link esx1 esx1/vmnic0",
        "switch production br0",
        "link esx2 esx2/vmnic0",
        "vswitch esx2 vSwitch0",
        "nic db1 nic0",
    ]


def test_a_node_hangs_on_its_own_cable_and_an_address_is_as_good_as_a_name() -> None:
    assert way("10.10.0.21", "web1")[:3] == ["nic client eth0", "link client client/eth0", "switch production br0"]


def test_what_cables_suffer_shows_and_a_pulled_one_cuts_the_way() -> None:
    found = path(LAB, "client", "web1", {"esx1/vmnic0": "down", "client/eth0": "delay 5 ms"})
    assert [hop["suffers"] for hop in found["hops"]] == [None, "delay 5 ms", None, "down", None, None]  # type: ignore[index, union-attr, call-overload]
    assert found["cut"] == "esx1/vmnic0"


def test_there_is_no_way_between_networks() -> None:
    with pytest.raises(UsageError, match="web1 and san1 have no network in common") as caught:
        way("web1", "san1")
    assert caught.value.hint == "web1 is on production, san1 on storage; nothing routes between networks"


def test_somebody_unknown_is_told_with_who_may_be_meant() -> None:
    with pytest.raises(UsageError, match="nobody in the lab is called wep1") as caught:
        way("wep1", "db1")
    assert caught.value.hint == 'did you mean "web1"?'
