"""VMs among the real plugins: their taps stand in the firewall's and the port groups' rules of their hosts, which are there before them."""

from __future__ import annotations

from pathlib import Path

import pytest

import labctl_network.plugin
import labctl_server.plugin
import labctl_storage.plugin
from labctl.model.unit import Unit
from labctl.plugin.api import LabInfo
from labctl.plugin.loader import Plugins
from labctl.topology.compile import compile_topology
from labctl.topology.errors import TopologyError
from labctl.topology.load import load_text

PLUGINS = Plugins.from_modules(
    {"network": labctl_network.plugin, "server": labctl_server.plugin, "storage": labctl_storage.plugin}
)
BASE = """
[lab]
name = "demo"

[network.production]
subnet = "10.10.0.0/24"

[network.dmz]
subnet = "10.11.0.0/24"

[network.storage]
role = "storage"
subnet = "10.20.0.0/24"

[network.management]
role = "management"
subnet = "10.30.0.0/24"

[array.san1]

[datastore.gold]
array = "san1"
protocol = "iscsi"
size = "8GiB"

[host.esx1]
networks = { production = ["production", "dmz"] }

[portgroup.red]
network = "dmz"
vlan = 10

[firewall.shop]
rules = [{ to = "web1", action = "drop" }]
"""


def units(text: str) -> dict[str, Unit]:
    lab = LabInfo(
        name="demo", directory=Path("/d"), data_directory=Path("/data"), image_directory=Path("/i"), rootless=False
    )
    loaded = load_text(BASE + text, "lab.toml", PLUGINS)
    return {unit.id: unit for unit in compile_topology(loaded, lab, {}, PLUGINS).units}


def test_a_vms_taps_are_guarded_on_its_host_before_it_is_there() -> None:
    found = units('[vm.web1]\nnics = [{ network = "production" }, { network = "dmz", portgroup = "red" }]\n')
    assert {"firewall:esx1", "ports:esx1"} <= set(found["vm:web1"].needs)
    guarded = {key: found[key].spec["ports"] for key in ("firewall:esx1", "ports:esx1")}
    told = {
        key: [(port["bridge"], port["interface"]) for port in ports]  # type: ignore[union-attr, index, call-overload]
        for key, ports in guarded.items()
    }
    assert told == {
        "firewall:esx1": [("vSwitch0", "web1.0"), ("vSwitch1", "web1.1")],
        "ports:esx1": [("vSwitch1", "web1.1")],
    }
    macs = [nic["mac"] for nic in found["vm:web1"].spec["machine"]["nics"]]  # type: ignore[index, union-attr, call-overload]
    assert found["ports:esx1"].spec["vlans"] == {macs[1]: 10}


def test_a_vm_without_a_port_group_is_not_another_machine_than_one_with() -> None:
    plain, grouped = (
        units(f'[vm.web1]\nnics = [{{ network = "dmz"{more} }}]\n') for more in ("", ', portgroup = "red"')
    )
    assert plain["vm:web1"].spec == grouped["vm:web1"].spec


def test_a_port_group_of_another_network_is_told() -> None:
    with pytest.raises(TopologyError) as caught:
        units('[vm.web1]\nnics = [{ network = "production", portgroup = "red" }]\n')
    assert str(caught.value.message).endswith(
        'port group "red" is one of network "dmz", the NIC is on "production" '
        '(say network = "dmz", or name a port group of "production")'
    )


def test_the_rules_await_a_vm_on_every_host_that_it_may_run_on() -> None:
    cluster = (
        '[host.esx2]\nnetworks = { production = ["dmz", "production"] }\n[cluster.compute]\nhosts = ["esx1", "esx2"]\n'
    )
    found = units(cluster + '[vm.web1]\nnics = [{ network = "production" }]\n')
    assert {"firewall:esx1", "firewall:esx2"} <= set(found["vm:web1"].needs)
    taps = [found[f"firewall:{host}"].spec["ports"] for host in ("esx1", "esx2")]
    told = [(port["bridge"], port["interface"]) for (port,) in taps]  # type: ignore[misc, union-attr, index, call-overload]
    assert told == [("vSwitch0", "web1.0"), ("vSwitch1", "web1.0")]
