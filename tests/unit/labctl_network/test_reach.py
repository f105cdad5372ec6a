"""The way of a frame: through vSwitches, uplinks and the network's switch, and not further than needed."""

from __future__ import annotations

import pytest

from labctl.errors import UsageError
from labctl_network.reach import Attachment, RouterLegs, of_link, of_vm, path


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


ROUTED = [
    *LAB,
    link("node", "app1", "eth0", "10.2.0.11/24", network="app"),
    link("router", "core", "eth0", "10.10.0.1/24"),
    link("router", "core", "eth1", "10.2.0.1/24", network="app"),
    link("router", "core", "up0", "10.255.0.11/24", network="transit"),
    link("router", "edge", "eth0", "10.255.0.1/24", network="transit"),
    link("router", "edge", "up0", "192.0.2.1/24", network="outside"),
    link("node", "user", "eth0", "192.0.2.11/24", network="outside"),
    link("node", "probe", "eth0", "10.255.0.12/24", network="transit"),
]
CORE = RouterLegs(name="core", networks=("production", "app"), uplink="transit")
EDGE = RouterLegs(name="edge", networks=("transit",), uplink="outside", hidden=True)


def routed(source: str, target: str, *routers: RouterLegs) -> list[str]:
    found = path(ROUTED, source, target, {}, routers)
    return [f"{hop['kind']} {hop['name']}" for hop in found["hops"] if hop["kind"] in ("router", "link")]  # type: ignore[index, union-attr, call-overload]


def test_between_networks_frames_go_by_way_of_their_gateway() -> None:
    assert routed("web1", "app1", CORE) == [
        "link esx1/vmnic0", "link core/eth0", "router eth0 → eth1", "link core/eth1", "link app1/eth0",
    ]  # fmt: skip
    assert routed("web1", "web2", CORE) == [], "those of one network do without"


def test_out_it_goes_from_tier_to_tier_and_in_only_as_far_as_is_known() -> None:
    ways = [hop for hop in routed("app1", "user", CORE, EDGE) if hop.startswith("router")]
    assert ways == ["router eth1 → up0", "router eth0 → up0"]
    assert "router up0 → eth0" in routed("probe", "web1", CORE, EDGE), "edge has learnt what is behind core"
    for source, routers in (("user", (CORE, EDGE)), ("probe", (CORE,))):
        with pytest.raises(UsageError) as caught:
            routed(source, "web1", *routers)
        assert str(caught.value.hint).endswith("no router leads from one to the other")
