"""Arrays and datastores compile to namespaces, portals, targets and exports, and say what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import pytest

import labctl_network.plugin
import labctl_storage.plugin
from labctl.contracts.storage import Datastore, IscsiDisk, NfsDisk, Volume
from labctl.model.address import Address
from labctl.model.quantity import Bytes
from labctl.model.reference import Ref
from labctl.model.resource import Resource, Spec
from labctl.model.unit import Unit
from labctl.plugin.api import CompileView, Kind
from labctl.plugin.loader import Plugins
from labctl.testing.kinds import TestPlugin, lab_info
from labctl.topology.compile import Compiled, compile_topology
from labctl.topology.errors import TopologyError
from labctl.topology.load import load_text

NETWORKS = """
[network.storage]
role = "storage"
subnet = "10.20.0.0/24"
[network.management]
role = "management"
subnet = "10.30.0.0/24"
"""
BASE = NETWORKS + "[array.san1]\n"
GOLD = '[datastore.gold]\narray = "san1"\nprotocol = "iscsi"\nsize = "1GiB"\n'
SHARED = '[datastore.shared]\narray = "san1"\nprotocol = "nfs"\nsize = "1GiB"\n'


class DiskSpec(Spec):
    datastore: Annotated[str, Ref("datastore")]
    size: Bytes


class DiskKind(Kind[DiskSpec]):
    """Asks a datastore for a volume, as a VM does."""

    name = "disk"
    summary = "a disk"
    spec = DiskSpec
    asked: dict[str, Volume]

    def compile(self, resource: Resource[DiskSpec], view: CompileView) -> Iterable[Unit]:
        store = view.provider(Address("datastore", resource.spec.datastore), Datastore)
        volume = store.volume(resource.name, owner=resource.address, size=resource.spec.size)
        self.asked[resource.name] = volume
        return volume.units


@pytest.fixture
def disks() -> DiskKind:
    made = DiskKind()
    made.asked = {}
    return made


def compiled(text: str, disks: DiskKind, prior: Any = None) -> Compiled:
    plugins = Plugins.from_modules(
        {"network": labctl_network.plugin, "storage": labctl_storage.plugin, "test": TestPlugin([disks])}
    )
    topology = load_text('[lab]\nname = "demo"\n' + text, "lab.toml", plugins)
    return compile_topology(topology, lab_info(Path("/home"), "demo"), prior or {}, plugins)


def units(result: Compiled) -> dict[str, Unit]:
    return {unit.id: unit for unit in result.units}


def test_an_array_is_a_namespace_with_a_management_port_a_portal_and_an_agent(disks: DiskKind) -> None:
    made = units(compiled(BASE, disks))
    assert [unit_id for unit_id, unit in made.items() if unit.resource == Address("array", "san1")] == [
        "netns:san1",
        "link:san1/mgmt0",
        "link:san1/stor0",
        "agent:san1",
    ]
    agent = made["agent:san1"]
    assert {"link:san1/mgmt0", "link:san1/stor0", "link:labd/vmk0"} <= set(agent.needs)
    assert agent.spec["config"] == {
        "protocols": ["iscsi", "nfs"],
        "portals": ["10.20.0.11"],
        "backing": "file:///home/data/demo/san1",
    }


def test_an_iscsi_disk_is_a_lun_of_the_datastores_target(disks: DiskKind) -> None:
    made = units(compiled(BASE + GOLD + '[disk.a]\ndatastore = "gold"\nsize = "1MiB"\n', disks))
    assert made["volume:gold/a"].needs == ("datastore:gold",)
    assert made["datastore:gold"].needs == ("agent:san1",)
    disk = disks.asked["a"].disk
    assert isinstance(disk, IscsiDisk)
    assert (disk.portal, disk.target, disk.lun) == ("10.20.0.11:3260", made["datastore:gold"].spec["where"], 0)


def test_a_lun_keeps_its_number_when_a_disk_is_put_in_front(disks: DiskKind) -> None:
    before = compiled(BASE + GOLD + '[disk.a]\ndatastore = "gold"\nsize = "1MiB"\n', disks)
    text = BASE + GOLD + '[disk.z]\ndatastore = "gold"\nsize = "1MiB"\n'
    text += '[disk.a]\ndatastore = "gold"\nsize = "1MiB"\n'
    after = units(compiled(text, disks, before.choices))
    assert (after["volume:gold/a"].spec["lun"], after["volume:gold/z"].spec["lun"]) == (0, 1)


def test_an_nfs_disk_is_a_file_of_the_export(disks: DiskKind) -> None:
    made = units(compiled(BASE + SHARED + '[disk.a]\ndatastore = "shared"\nsize = "1MiB"\n', disks))
    disk = disks.asked["a"].disk
    assert isinstance(disk, NfsDisk)
    assert (disk.server, disk.format) == ("10.20.0.11", "qcow2")
    assert disk.path.startswith(f"{made['datastore:shared'].spec['where']}/")
    assert made["volume:shared/a"].spec["lun"] is None


TWO = '[network.{0}]\nrole = "{1}"\nsubnet = "10.50.0.0/24"\n'
WRONG = {
    "a protocol that the array does not speak": NETWORKS + '[array.san1]\nprotocols = ["nfs"]\n' + GOLD,
    "a protocol that there is not": BASE.replace("[array.san1]", '[array.san1]\nprotocols = ["fcp"]'),
    "no protocol": BASE.replace("[array.san1]", "[array.san1]\nprotocols = []"),
    "a datastore too small": BASE + GOLD + '[disk."d[1-3]"]\ndatastore = "gold"\nsize = "512MiB"\n',
    "several storage networks": BASE + TWO.format("second", "storage"),
    "several management networks": BASE + TWO.format("second", "management"),
    "no storage network": NETWORKS.replace('role = "storage"', 'role = "production"') + "[array.san1]\n",
    "no management network": NETWORKS.replace('role = "management"', 'role = "production"') + "[array.san1]\n",
    "an address nowhere": BASE
    + TWO.format("production", "production")
    + '[array.san2]\naddresses = { production = "10.50.0.9" }\n',
    "an array that there is not": BASE + GOLD.replace("san1", "san2"),
    "an export that is none": BASE + GOLD + "export = { read_only = true }\n",
    "clients that are none": BASE + SHARED + 'export = { clients = ["everybody"] }\n',
    "nobody to squash": BASE + SHARED + 'export = { squash = "some" }\n',
    "no file": BASE + SHARED + "export = { files = 0 }\n",
    "no size": BASE + GOLD.replace("1GiB", "0"),
}


def test_every_error_has_the_wording_of_the_golden_file(disks: DiskKind) -> None:
    told = ""
    for case, text in WRONG.items():
        with pytest.raises(TopologyError) as caught:
            compiled(text, disks)
        told += f"# {case}\n{caught.value.message}\n"
    assert told == Path(__file__).with_name("wording.golden").read_text()
