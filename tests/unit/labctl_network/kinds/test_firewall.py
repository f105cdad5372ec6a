"""Groups and firewall sections compile to a policy for each node, and say what is wrong with them."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path

import pytest

import labctl_network.plugin
import labctl_topologies
from labctl.model.unit import Unit
from labctl.plugin.api import LabInfo
from labctl.plugin.loader import Plugins
from labctl.topology.compile import compile_topology
from labctl.topology.errors import TopologyError
from labctl.topology.load import load_text
from labctl_network.firewall.policy import Policy

PLUGINS = Plugins.from_modules({"network": labctl_network.plugin})
BASE = """
[lab]
name = "demo"

[network.production]
subnet = "10.10.0.0/24"

[network.backup]
subnet = "10.11.0.0/24"

[network.management]
role = "management"
subnet = "10.30.0.0/24"

[node."web[1-2]"]
networks = ["production"]
tags = ["web"]

[node.db1]
networks = ["production", "backup", "management"]
"""


def units(text: str) -> dict[str, Unit]:
    lab = LabInfo(
        name="demo", directory=Path("/d"), data_directory=Path("/data"), image_directory=Path("/i"), rootless=False
    )
    loaded = load_text(BASE + text, "lab.toml", PLUGINS)
    return {unit.id: unit for unit in compile_topology(loaded, lab, {}, PLUGINS).units}


def policies(text: str) -> dict[str, Policy]:
    return {
        str(unit.spec["node"]): Policy.from_json(unit.spec) for unit in units(text).values() if unit.type == "firewall"
    }


def sources(text: str) -> list[str] | None:
    """Whom `from = ["it"]` means, as addresses."""
    rule = policies(text + '[firewall.f]\nrules = [{ from = "it", action = "drop" }]\n')["sw.production"].rules[0]
    if rule.sources is None:
        return None
    return [str(IPv4Address(number)) for first, last in rule.sources for number in range(first, last + 1)]


def errors(text: str) -> list[str]:
    with pytest.raises(TopologyError) as caught:
        units(text)
    return str(caught.value.message).splitlines()


DROP = '[firewall.f]\nrules = [{ action = "drop" }]\n'


def test_each_switch_with_a_protected_port_has_its_policy_and_the_management_network_none() -> None:
    found = policies(DROP)
    assert {node: [port.owner for port in policy.ports] for node, policy in found.items()} == {
        "sw.production": ["web1", "web2", "db1"],
        "sw.backup": ["db1"],
    }


def test_the_policy_is_there_before_a_protected_port_carries_anything() -> None:
    found = units(DROP)
    assert "firewall:sw.production" in found["link:web1/eth0"].needs
    assert "firewall:sw.management" not in found["link:db1/eth2"].needs
    assert not any("firewall" in need for unit in units("").values() for need in unit.needs)


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        ('tags = ["web"]', ["10.10.0.11", "10.10.0.12"]),
        ('names = ["*1"]', ["10.10.0.11", "10.10.0.13", "10.11.0.11"]),
        ('members = ["web2"]', ["10.10.0.12"]),
        ('networks = ["backup"]', ["10.11.0.11"]),
        ('cidrs = ["192.0.2.0/30"]', ["192.0.2.0", "192.0.2.1", "192.0.2.2", "192.0.2.3"]),
        ('tags = ["web"]\nmembers = ["web1"]', ["10.10.0.11", "10.10.0.12"]),
        ('tags = ["none"]', []),
    ],
)
def test_a_group_is_whoever_one_of_its_keys_chooses(group, expected) -> None:
    assert sources(f"[group.it]\n{group}\n") == expected


def test_sections_come_by_category_and_then_in_the_files_order() -> None:
    text = ""
    for name, category in (("a", "application"), ("b", "emergency"), ("c", "application"), ("d", "ethernet")):
        text += f'[firewall.{name}]\ncategory = "{category}"\nrules = [{{ action = "drop" }}, {{ action = "allow" }}]\n'
    rules = policies(text)["sw.production"].rules
    assert [rule.id for rule in rules] == ["d/1", "d/2", "b/1", "b/2", "a/1", "a/2", "c/1", "c/2"]


def test_a_section_holds_where_it_is_applied_to() -> None:
    text = '[firewall.f]\napplied_to = "web1"\nrules = [{ action = "drop" }]\n'
    policy = policies(text)["sw.production"]
    assert {port.owner: policy.profiles[port.profile] for port in policy.ports} == {"web1": (0,), "web2": (), "db1": ()}


def test_an_ethernet_rule_goes_by_macs() -> None:
    text = '[firewall.f]\ncategory = "ethernet"\nrules = [{ from = "web1", ethertypes = "ipv6", action = "drop" }]\n'
    policy = policies(text)["sw.production"]
    assert (policy.rules[0].source_macs, policy.rules[0].ethertypes) == ((policy.ports[0].mac,), ("ip6",))


def test_the_units_stay_the_first_sections_whichever_that_is() -> None:
    assert units(DROP)["firewall:sw.production"].resource.name == "f"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '[firewall.f]\nrules = [{ from = "wep1", action = "drop" }]\n',
            '"wep1" is no group, VM, node, address or subnet (did you mean "web1"?)',
        ),
        (
            '[firewall.f]\napplied_to = ["10.0.0.0/8"]\nrules = [{ action = "drop" }]\n',
            '"10.0.0.0/8" is no group, VM or node (the names are: db1, web1, web2)',
        ),
        (
            '[group.web1]\ntags = ["x"]\n[firewall.f]\nrules = [{ to = "web1", action = "drop" }]\n',
            '"web1" can mean group.web1 and node.web1 (give the group another name)',
        ),
        (
            '[firewall.f]\nrules = [{ name = "a", action = "drop" }, { name = "a", action = "allow" }]\n',
            'two rules are called "a" (hits are told by name; give each rule its own, or none)',
        ),
        (
            '[firewall.f]\nrules = [{ ethertypes = "arp", action = "drop" }]\n',
            'ethertypes mean nothing in the category application (put the rule into a section with category = "ethernet")',
        ),
        (
            '[firewall.f]\ncategory = "ethernet"\nrules = [{ services = "icmp", action = "drop" }]\n',
            "an Ethernet rule looks at MAC addresses and ethertypes, not at services (put the rule into another category)",
        ),
        (
            '[firewall.f]\ncategory = "ethernet"\nrules = [{ action = "reject" }]\n',
            'an Ethernet rule cannot reject: there is nobody to tell (use "drop")',
        ),
        (
            '[firewall.f]\nrules = [{ services = "http", action = "drop" }]\n',
            '"http" is no service (write "tcp/443", "udp/5000-5010", "tcp" or "icmp")',
        ),
        (
            "[group.g]\n",
            'it says nothing of who belongs to it (for example tags = ["web"], names = ["web*"] or cidrs = ["10.20.0.0/24"])',
        ),
    ],
)
def test_what_is_wrong_is_told_with_what_would_be_right(text, said) -> None:
    (line,) = errors(text)
    assert line.endswith(said), line


def test_the_example_compiles() -> None:
    text = (Path(labctl_topologies.__file__).parent / "three-tier.toml").read_text()
    assert load_text(text, "three-tier.toml", PLUGINS).resources
