"""Port groups compile to rules for each node with ports of their networks, and say what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import labctl_network.plugin
from labctl.model.unit import Unit
from labctl.plugin.api import LabInfo
from labctl.plugin.loader import Plugins
from labctl.topology.compile import compile_topology
from labctl.topology.errors import TopologyError
from labctl.topology.load import load_text
from labctl_network.ports import PortRules, digest
from labctl_network.shaping import LEAST_AVERAGE, Shaping, limits

PLUGINS = Plugins.from_modules({"network": labctl_network.plugin})
BASE = """
[lab]
name = "demo"

[network.production]
subnet = "10.10.0.0/24"

[network.backup]
subnet = "10.11.0.0/24"

[portgroup.red]
network = "production"
vlan = 10

[portgroup.loose]
network = "production"
promiscuous = "accept"
mac_changes = "accept"
forged_transmits = "accept"
"""
NODES = """
[node.a]
networks = ["production", "backup"]
portgroups = { production = "red" }

[node.b]
networks = ["production"]
portgroups = { production = "loose" }

[node.c]
networks = ["production"]
"""


def units(text: str) -> dict[str, Unit]:
    lab = LabInfo(
        name="demo", directory=Path("/d"), data_directory=Path("/data"), image_directory=Path("/i"), rootless=False
    )
    loaded = load_text(BASE + text, "lab.toml", PLUGINS)
    return {unit.id: unit for unit in compile_topology(loaded, lab, {}, PLUGINS).units}


def rules() -> PortRules:
    found = {key: unit for key, unit in units(NODES).items() if unit.type == "ports"}
    assert list(found) == ["ports:sw.production"]
    return PortRules.from_json(found["ports:sw.production"].spec)


def test_every_port_of_a_network_with_groups_has_its_rules_those_without_a_group_too() -> None:
    told = [(p.vlan, p.promiscuous, p.mac_changes, p.forged_transmits) for p in rules().ports]
    assert told == [(10, False, False, False), (0, True, True, True), (0, False, True, True)]


def test_the_vlan_of_each_address_is_known_and_which_switch_has_a_promiscuous_port() -> None:
    assert rules().vlans == {rules().ports[0].mac: 10}
    assert rules().bridges == {"br0": True}


def test_rules_survive_json_and_are_told_from_others() -> None:
    again = PortRules.from_json(json.loads(json.dumps(rules().to_json())))
    assert again == rules()
    assert digest(again) == digest(rules()) != digest(PortRules(ports=(), vlans={}))


def test_the_rules_are_there_before_a_port_carries_anything() -> None:
    found = units(NODES)
    assert "ports:sw.production" in found["link:c/eth0"].needs
    assert not any("ports:" in need for need in found["link:a/eth1"].needs)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '[node.x]\nnetworks = ["backup"]\nportgroups = { backup = "red" }\n',
            'port group "red" is one of network "production", which the node is not on '
            '(write { production = "red" } and have "production" among its networks)',
        ),
        (
            '[node.x]\nnetworks = ["production"]\nportgroups = { production = "rad" }\n',
            'no portgroup named "rad" (did you mean "red"?)',
        ),
    ],
)
def test_a_wrong_port_group_is_told_with_what_would_be_right(text, said) -> None:
    with pytest.raises(TopologyError) as caught:
        units(text)
    assert said in str(caught.value.message)


SHAPED = BASE.replace("vlan = 10", 'vlan = 10\nshaping = { average = "16mbit", burst = "3MiB" }')


def test_a_shaped_port_has_buckets_of_its_own_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "BASE", SHAPED)
    shaping = rules().ports[0].shaping
    assert shaping == Shaping(average=2_000_000, burst=3 << 20)
    assert [port.shaping for port in rules().ports[1:]] == [None, None]
    assert PortRules.from_json(json.loads(json.dumps(rules().to_json()))) == rules()
    assert list(limits("p", shaping)) == [
        ("shaped-in", "shaped-in/p", 2_000_000, (3 << 20) - 2_000_000),
        ("shaped-out", "shaped-out/p", 2_000_000, (3 << 20) - 2_000_000),
    ]
    one_way = Shaping(average=LEAST_AVERAGE, burst=LEAST_AVERAGE, outward=False)
    assert list(limits("p", one_way)) == [("shaped-in", "shaped-in/p", LEAST_AVERAGE, 1)]


@pytest.mark.parametrize(
    ("shaping", "said"),
    [
        ('average = "fast"', '"fast" is not a rate (write "10mbit", "1.5gbit")'),
        ('average = "1mbit"', 'average: less than the kernel can hold to (write "1.1mbit" or more)'),
        ('average = "8.388608mbit", burst = "10KiB"', "(write 1 MiB or more, or leave it out)"),
    ],
)
def test_what_cannot_be_shaped_so_is_told(shaping: str, said: str) -> None:
    with pytest.raises(TopologyError) as caught:
        units(f'[portgroup.slow]\nnetwork = "backup"\nshaping = {{ {shaping} }}\n')
    assert said in str(caught.value.message)
