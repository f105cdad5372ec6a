"""Routers compile to links, routes and translation, learn from one another, and say what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import labctl_network.plugin
from labctl.errors import LabError
from labctl.model.unit import Unit
from labctl.plugin.api import LabInfo
from labctl.plugin.loader import Plugins
from labctl.topology.compile import compile_topology
from labctl.topology.errors import TopologyError
from labctl.topology.load import load_text
from labctl_network.routing.nat import Forwarded, Nat, commands, digest, removal
from labctl_network.routing.unit import Routing

PLUGINS = Plugins.from_modules({"network": labctl_network.plugin})
BASE = """
[lab]
name = "demo"
[network.outside]
subnet = "192.0.2.0/24"
[network.transit]
subnet = "10.255.0.0/24"
[network.web]
subnet = "10.1.0.0/24"
[network.db]
subnet = "10.3.0.0/24"
[network.storage]
role = "storage"
subnet = "10.20.0.0/24"
[node.web1]
networks = ["web", "db"]
[node.client]
networks = ["outside"]
"""
EDGE = """
[router.edge]
networks = ["transit"]
uplink = "outside"
snat = true
dnat = [{ port = "tcp/80", to = ["web1:8080", "10.1.0.99"] }, { port = "udp/5000-5010", to = "web1" }]
"""
CORE = """
[router.core]
networks = ["web", "db"]
uplink = "transit"
routes = [{ to = "0.0.0.0/0", via = "10.255.0.7" }, { to = "172.16.0.0/12", via = "10.3.0.9" }]
"""


def units(text: str) -> dict[str, Unit]:
    lab = LabInfo(
        name="demo", directory=Path("/d"), data_directory=Path("/data"), image_directory=Path("/i"), rootless=False
    )
    loaded = load_text(BASE + text, "lab.toml", PLUGINS)
    return {unit.id: unit for unit in compile_topology(loaded, lab, {}, PLUGINS).units}


def spec(unit: Unit) -> dict[str, Any]:
    return dict(unit.spec)


def test_a_router_has_the_first_address_of_its_networks_and_nodes_there_go_out_by_it() -> None:
    made = units(EDGE + CORE)
    assert spec(made["link:core/eth0"])["address"] == "10.1.0.1/24"
    assert spec(made["link:core/eth1"])["address"] == "10.3.0.1/24"
    assert made["routing:core"].needs == ("link:core/eth0", "link:core/eth1", "link:core/up0")
    routing = Routing.of(spec(made["routing:web1"]))
    assert (routing.routes, routing.forward, bool(routing.nat)) == ({"default": "10.1.0.1"}, False, False)
    assert made["routing:web1"].needs == ("link:web1/eth0",), "the first of its networks that has a router"
    assert "routing:client" not in made


def test_the_tier_above_learns_what_is_behind_and_static_routes_win() -> None:
    made = units(EDGE + CORE)
    uplink = spec(made["link:core/up0"])["address"].partition("/")[0]
    edge, core = (Routing.of(spec(made[f"routing:{name}"])) for name in ("edge", "core"))
    assert edge.routes == {"10.1.0.0/24": uplink, "10.3.0.0/24": uplink}
    assert core.routes == {"default": "10.255.0.7", "172.16.0.0/12": "10.3.0.9"}
    assert Routing.of(spec(units(EDGE + CORE.replace("routes", "# routes"))["routing:core"])).routes == {
        "default": "10.255.0.1"
    }


def test_what_is_behind_a_router_that_hides_it_is_not_learnt() -> None:
    made = units(EDGE[: EDGE.index("dnat")] + CORE + "snat = true\n")
    assert not Routing.of(spec(made["routing:edge"])).routes
    assert Routing.of(spec(made["routing:edge"])).nat.sources == ("10.255.0.0/24",)


def test_addresses_are_translated_for_all_that_is_behind_and_servers_found_by_name() -> None:
    made = units(EDGE + CORE)
    nat = Routing.of(spec(made["routing:edge"])).nat
    own = spec(made["link:edge/up0"])["address"].partition("/")[0]
    web1 = spec(made["link:web1/eth0"])["address"].partition("/")[0]
    assert nat == Nat(
        uplink="up0",
        address=own,
        sources=("10.255.0.0/24", "10.1.0.0/24", "10.3.0.0/24"),
        forwarded=(
            Forwarded(protocol="tcp", first=80, last=80, servers=((web1, 8080), ("10.1.0.99", 80))),
            Forwarded(protocol="udp", first=5000, last=5010, servers=((web1, 0),)),
        ),
        inside=("10.255.0.0/24", "10.1.0.0/24", "10.3.0.0/24"),
    )
    assert Nat.from_json(nat.to_json()) == nat
    assert digest(nat) != digest(Nat())


def test_a_router_without_translation_has_no_table() -> None:
    assert commands(Nat(uplink="up0", address="10.0.0.1", inside=("10.1.0.0/24",))) == removal()


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (
            '[router.edge]\nnetworks = ["web", "storage"]',
            'network "storage" has the role storage: a router would join what is kept apart',
            "name networks of role production",
        ),
        ('[router.edge]\nnetworks = ["web", "web"]', 'network "web" is named twice', "remove the second"),
        (
            '[router.edge]\nnetworks = ["web"]\nuplink = "web"',
            'network "web" is named twice',
            "remove the second",
        ),
        (
            '[router.a]\nnetworks = ["web"]\n[router.b]\nnetworks = ["db", "web"]',
            'router.a is the gateway of network "web" already',
            'be on it as another: uplink = "web"',
        ),
        (
            '[router.edge]\nnetworks = ["web"]\nsnat = true',
            "snat is about the uplink, and the router has none",
            'say which network leads out: uplink = "outside"',
        ),
        (
            '[router.a]\nnetworks = ["web"]\nuplink = "db"\n[router.b]\nnetworks = ["db"]\nuplink = "web"',
            "its uplink leads back to itself: a → b → a",
            "have the uplink of one of them lead elsewhere",
        ),
        (
            '[router.edge]\nnetworks = ["web"]\nroutes = [{ to = "10.9.0.0/16", via = "10.3.0.1" }]',
            "10.3.0.1 is on none of its networks",
            "the next hop is on one of web (10.1.0.0/24)",
        ),
        (
            '[router.edge]\nnetworks = ["web"]\nuplink = "outside"\ndnat = [{ port = "tcp/80", to = "wbe1" }]',
            'there is no VM or node "wbe1"',
            'did you mean "web1"?',
        ),
        (
            '[router.edge]\nnetworks = ["web"]\nuplink = "outside"\ndnat = [{ port = "tcp/80-90", to = "web1:80" }]',
            "tcp/80-90 is many ports, and the server's is one",
            "leave the server's port out: each is forwarded to its own",
        ),
        (
            '[router.edge]\nnetworks = ["web"]\nuplink = "outside"\ndnat = [{ port = "icmp", to = "web1" }]',
            '"icmp" has no port (write "tcp/80" or "udp/5000-5010")',
            "",
        ),
        (
            '[router.edge]\nnetworks = ["web"]\nuplink = "outside"\ndnat = [{ port = "tcp/80", to = "web1:http" }]',
            '"web1:http" is no server (write "web1", "web1:8080" or "10.10.0.21:8080")',
            "",
        ),
    ],
)
def test_what_is_wrong_is_told_with_what_to_do(text: str, message: str, hint: str) -> None:
    with pytest.raises(TopologyError) as caught:
        units(text)
    told = [(problem.message, problem.hint or "") for problem in caught.value.problems]
    assert any(message in said and hint in mend for said, mend in told), told


def test_a_server_that_is_not_behind_the_router_is_refused() -> None:
    with pytest.raises(LabError, match=r"web1 is on none of the networks that router\.edge leads to") as caught:
        units('[router.edge]\nnetworks = ["outside"]\nuplink = "transit"\ndnat = [{ port = "tcp/80", to = "web1" }]')
    assert "they are 192.0.2.0/24" in str(caught.value) + str(caught.value.hint)


def test_a_gateways_address_is_nobody_elses() -> None:
    with pytest.raises(Exception, match=r"10\.1\.0\.1"):
        units('[router.edge]\nnetworks = ["web"]\n[node.thief]\nnetworks = ["web"]\naddresses = { web = "10.1.0.1" }')
