"""What hosts and VMs compile to. After a deliberate change run with LABCTL_UPDATE_GOLDEN=1 and read the difference."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from labctl.plugin.api import LabInfo
from labctl.testing.kinds import plugins_of, read_topology
from labctl.topology.choices import ChoiceKey
from labctl.topology.compile import Compiled, compile_topology
from labctl.topology.errors import TopologyError

from .neighbours import KINDS

GOLDEN = Path(__file__).parent / "golden"

NETWORKS = """
[network.production]
prefix = "10.10.0"
[network.storage]
role = "storage"
prefix = "10.20.0"
mtu = 9000
[network.management]
role = "management"
prefix = "10.30.0"
[datastore.gold]
protocol = "iscsi"
[datastore.shared]
protocol = "nfs"
"""

QUICKSTART = (
    NETWORKS
    + """
[host."esx[1-2]"]
[cluster.compute]
hosts = ["esx1", "esx2"]
[vm.web1]
cluster = "compute"
disks = [{ datastore = "gold", size = "1GiB" }]
nics = [{ network = "production" }]
[vm.db1]
cluster = "compute"
persistent = true
disks = [{ datastore = "shared", size = "2GiB" }, { datastore = "gold", size = "1GiB", persistent = false }]
nics = [{ network = "production", address = "10.10.0.99" }]
"""
)


def lab() -> LabInfo:
    folder = Path("/labs/test")
    return LabInfo(
        name="test",
        directory=folder,
        data_directory=folder / "data",
        image_directory=Path("/cache"),
        rootless=False,
    )


def compiled(text: str, prior: Mapping[ChoiceKey, str] | None = None) -> Compiled:
    return compile_topology(read_topology(text, *KINDS), lab(), prior or {}, plugins_of(*KINDS))


def units(text: str) -> dict[str, Any]:
    return {unit.id: unit for unit in compiled(text).units}


def host_of(result: Compiled, vm: str) -> Any:
    return next(unit.spec["host"] for unit in result.units if unit.id == f"vm:{vm}")


def test_the_quickstart_compiles_to_the_units_agreed_on() -> None:
    told = [
        {"id": u.id, "type": u.type, "resource": str(u.resource), "spec": u.spec, "needs": list(u.needs)}
        for u in compiled(QUICKSTART).units
    ]
    text = json.dumps(told, indent=1) + "\n"
    golden = GOLDEN / "quickstart.json"
    if os.environ.get("LABCTL_UPDATE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()


def test_a_vms_unit_is_plain_json_that_says_where_every_disk_is() -> None:
    machine = units(QUICKSTART)["vm:db1"].spec["machine"]
    assert [disk["source"]["protocol"] for disk in machine["disks"]] == ["nfs", "iscsi"]
    assert json.loads(json.dumps(machine)) == machine


def test_only_the_first_disk_starts_as_the_image_and_only_after_the_image_is_made() -> None:
    found = units(QUICKSTART)
    boot, data = found["volume:shared/db1-disk0"], found["volume:gold/db1-disk1"]
    assert boot.spec["source"] == str(PurePosixPath("/cache/micro/current/rootfs.raw"))
    assert "image:micro" in boot.needs
    assert data.spec["source"] is None
    assert "image:micro" not in data.needs


def test_a_disk_is_as_persistent_as_its_vm_unless_it_says_otherwise() -> None:
    found = units(QUICKSTART)
    assert found["volume:shared/db1-disk0"].spec["persistent"] is True
    assert found["volume:gold/db1-disk1"].spec["persistent"] is False
    assert found["volume:gold/web1-disk0"].spec["persistent"] is False


def test_vms_spread_over_the_least_loaded_hosts() -> None:
    result = compiled(QUICKSTART)
    assert (host_of(result, "web1"), host_of(result, "db1")) == ("esx1", "esx2")


def test_a_vm_stays_where_it_is_when_others_join_above_it() -> None:
    before = compiled(QUICKSTART)
    newcomer = '[vm.first]\nmemory = "1GiB"\ndisks = [{ datastore = "gold" }]\n'
    after = compiled(NETWORKS + newcomer + QUICKSTART.removeprefix(NETWORKS), before.choices)
    assert (host_of(after, "web1"), host_of(after, "db1")) == ("esx1", "esx2")


def test_a_vm_bound_to_a_host_counts_as_that_hosts_load() -> None:
    text = QUICKSTART + '[vm.pinned]\nhost = "esx1"\nmemory = "1GiB"\ndisks = [{ datastore = "gold" }]\n'
    result = compiled(text)
    assert host_of(result, "pinned") == "esx1"
    assert (host_of(result, "web1"), host_of(result, "db1")) == ("esx2", "esx2")


def test_a_vm_that_fits_on_no_host_beside_the_others_is_told() -> None:
    vms = (
        "".join(f'[vm.v{number}]\nmemory = "1.5GiB"\ndisks = [{{ datastore = "gold" }}]\n' for number in range(2))
        + '[vm.last]\nmemory = "1GiB"\ndisks = [{ datastore = "gold" }]\n'
    )
    with pytest.raises(TopologyError, match=r"vm\.last: .*needs 1 GiB of memory, and no host.*512 MiB free"):
        compiled(NETWORKS + '[host."esx[1-2]"]\n[cluster.compute]\nhosts = ["esx1", "esx2"]\n' + vms)


def test_a_vm_that_says_nothing_has_a_disk_a_nic_and_the_only_host() -> None:
    networks = NETWORKS.replace('[datastore.shared]\nprotocol = "nfs"\n', "")
    found = units(networks + "[host.esx1]\n[vm.web1]\n")
    spec = found["vm:web1"].spec
    assert spec["host"] == "esx1"
    assert [disk["name"] for disk in spec["machine"]["disks"]] == ["web1-disk0"]
    assert [nic["network"] for nic in spec["machine"]["nics"]] == ["production"]


def test_a_host_with_several_production_networks_has_a_vswitch_for_each() -> None:
    text = QUICKSTART.replace(
        '[host."esx[1-2]"]',
        '[network.dmz]\nprefix = "10.40.0"\n[host."esx[1-2]"]\nnetworks = { production = ["production", "dmz"] }',
    ).replace('nics = [{ network = "production" }]', 'nics = [{ network = "dmz" }]')
    found = units(text)
    assert found["link:esx1/vmnic1"].spec["bridge"] == "vSwitch1"
    assert [nic["vswitch"] for nic in found["vm:web1"].spec["machine"]["nics"]] == ["vSwitch1"]
    assert "link:esx1/vmnic1" in found["vm:web1"].needs


def test_a_vm_waits_for_what_guards_its_networks_on_its_host() -> None:
    text = QUICKSTART.replace(
        '[host."esx[1-2]"]',
        '[network.guarded]\nprefix = "10.40.0"\n[host."esx[1-2]"]\nnetworks = { production = ["production", "guarded"] }',
    ).replace('nics = [{ network = "production" }]', 'nics = [{ network = "guarded" }]')
    result = compiled(text)
    needs = {unit.id: unit.needs for unit in result.units}
    assert f"netns:{host_of(result, 'web1')}" in needs["vm:web1"]


def test_a_host_keeps_the_addresses_that_it_names() -> None:
    text = QUICKSTART.replace(
        '[host."esx[1-2]"]',
        '[host.esx2]\n[host.esx1]\naddresses = { storage = "10.20.0.77", management = "10.30.0.78" }',
    )
    found = units(text)
    assert found["link:esx1/vmk1"].spec["address"] == "10.20.0.77/24"
    assert found["agent:esx1"].spec["address"] == "10.30.0.78"


def test_descriptions_tell_where_a_vm_runs_and_how_it_is_reached() -> None:
    result = compiled(QUICKSTART)
    db1 = next(d for address, d in result.descriptions.items() if str(address) == "vm.db1")
    assert db1.addresses == {"production": "10.10.0.99"}
    assert (db1.node, db1.agent, db1.guest, str(db1.parent)) == ("esx2", "esx2", True, "host.esx2")


def test_a_network_for_vmotion_brings_a_vmkernel_port_of_its_own() -> None:
    text = (
        NETWORKS
        + """
[network.fast]
role = "storage"
prefix = "10.40.0"
[host.esx1]
networks = { storage = "storage", vmotion = "fast" }
[host.esx2]
networks = { storage = "storage" }
[host.esx3]
networks = { storage = "storage", vmotion = "storage" }
"""
    )
    result = compiled(text)
    links = {unit.id for unit in result.units if unit.type == "link" and "/vmk" in unit.id}
    ports = {"esx1": 3, "esx2": 2, "esx3": 2}
    assert links == {f"link:{host}/vmk{number}" for host, count in ports.items() for number in range(count)}
    hosts = {address.name: told for address, told in result.descriptions.items() if address.kind == "host"}
    assert {name: told.properties["vmotion"] for name, told in hosts.items()} == {
        "esx1": "fast",
        "esx2": "management",
        "esx3": "storage",
    }
    assert hosts["esx1"].addresses["fast"].startswith("10.40.0.")
