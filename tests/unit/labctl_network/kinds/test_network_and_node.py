"""Networks and nodes compile to switches and links, keep their addresses, and say what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

import labctl_network.plugin
from labctl.plugin.api import LabInfo
from labctl.plugin.loader import Plugins
from labctl.topology.compile import Compiled, compile_topology
from labctl.topology.errors import TopologyError
from labctl.topology.load import load_text

PLUGINS = Plugins.from_modules({"network": labctl_network.plugin})
BASE = """
[network.production]
subnet = "10.10.0.0/24"

[network.management]
role = "management"
subnet = "10.30.0.0/24"
"""


def compiled(text: str, prior: Mapping | None = None) -> Compiled:
    lab = LabInfo(
        name="demo", directory=Path("/d"), data_directory=Path("/data"), image_directory=Path("/i"), rootless=False
    )
    return compile_topology(load_text('[lab]\nname = "demo"\n' + text, "lab.toml", PLUGINS), lab, prior or {}, PLUGINS)


def errors(text: str) -> list[str]:
    with pytest.raises(TopologyError) as caught:
        compiled(text)
    return str(caught.value.message).splitlines()


def addresses(result: Compiled) -> dict[str, object]:
    return {unit.id: unit.spec["address"] for unit in result.units if unit.type == "link"}


def test_a_network_is_a_switch_in_a_namespace_of_its_own() -> None:
    ids = [unit.id for unit in compiled(BASE).units]
    assert ids == [
        "netns:sw.production",
        "bridge:sw.production/br0",
        "netns:sw.management",
        "bridge:sw.management/br0",
        "netns:labd",
        "link:labd/vmk0",
    ]


def test_labd_has_the_second_address_of_the_management_network() -> None:
    assert addresses(compiled(BASE)) == {"link:labd/vmk0": "10.30.0.2/24"}


def test_a_node_has_a_link_for_each_of_its_networks() -> None:
    result = compiled(BASE + '[node.a]\nnetworks = ["production", "management"]\n')
    links = {unit.id: unit for unit in result.units if unit.resource.name == "a" and unit.type == "link"}
    assert set(links) == {"link:a/eth0", "link:a/eth1"}
    assert links["link:a/eth0"].spec["address"] == "10.10.0.11/24"
    assert set(links["link:a/eth0"].needs) == {"netns:a", "bridge:sw.production/br0"}


def test_addresses_stay_when_a_node_is_put_in_front() -> None:
    before = compiled(BASE + '[node.a]\nnetworks = ["production"]\n')
    text = BASE + '[node.z]\nnetworks = ["production"]\n[node.a]\nnetworks = ["production"]\n'
    after = addresses(compiled(text, before.choices))
    assert (after["link:a/eth0"], after["link:z/eth0"]) == ("10.10.0.11/24", "10.10.0.12/24")


def test_a_derived_address_gives_way_to_one_that_a_later_node_names() -> None:
    text = BASE + '[node.a]\nnetworks = ["production"]\n'
    text += '[node.b]\nnetworks = ["production"]\naddresses = { production = "10.10.0.11" }\n'
    result = addresses(compiled(text))
    assert (result["link:a/eth0"], result["link:b/eth0"]) == ("10.10.0.12/24", "10.10.0.11/24")


WRONG = {
    "overlapping subnets": '[network.a]\nsubnet = "10.0.0.0/16"\n[network.b]\nsubnet = "10.0.5.0/24"\n',
    "duplicate addresses": BASE
    + '[node."n[1-2]"]\nnetworks = ["production"]\naddresses = { production = "10.10.0.40" }\n',
    "an address outside": BASE + '[node.a]\nnetworks = ["production"]\naddresses = { production = "10.11.0.40" }\n',
    "a network twice": BASE + '[node.a]\nnetworks = ["production", "production"]\n',
    "an address nowhere": BASE + '[node.a]\naddresses = { production = "10.10.0.40" }\n',
    "a tiny subnet": '[network.a]\nsubnet = "10.0.0.0/30"\n',
    "an unknown network": BASE + '[node.a]\nnetworks = ["prodution"]\n',
    "a full subnet": '[network.a]\nsubnet = "10.0.0.0/29"\n[node."n[1-5]"]\nnetworks = ["a"]\n',
    "an unknown role": '[network.a]\nrole = "storrage"\nsubnet = "10.0.0.0/29"\n',
    "a huge MTU": '[network.a]\nmtu = 70000\nsubnet = "10.0.0.0/29"\n',
}


def test_every_error_has_the_wording_of_the_golden_file() -> None:
    told = "\n".join(f"# {case}\n" + "\n".join(errors(text)) for case, text in WRONG.items())
    assert told + "\n" == Path(__file__).with_name("wording.golden").read_text()
