"""What resources tell about their traffic: where it is seen, and whose it is."""

from __future__ import annotations

from typing import Any

import pytest

from labctl.contracts.traffic import Place, names_of, places_of
from labctl.trace.command import Owner
from labctl.trace.naming import Volume

TARGET = "iqn.2026-11.lab.quickstart:san1.gold"


def resource(kind: str, name: str, **fields: Any) -> dict[str, Any]:
    return {"kind": kind, "name": name, "node": None, "guest": False, "links": {}, "addresses": {}, **fields}


def disk(vm: str, **source: Any) -> dict[str, Any]:
    return {"disks": [{"name": f"{vm}-disk0", "source": source}]}


RESOURCES = [
    resource("network", "production", node="sw.production", properties={"role": "production"}),
    resource("network", "storage", node="sw.storage", properties={"role": "storage"}),
    resource(
        "array",
        "san1",
        node="san1",
        links={"network.storage": "stor0"},
        addresses={"storage": "10.20.0.11"},
        properties={"protocols": ["iscsi", "nfs"]},
    ),
    resource("datastore", "gold", properties={"array": "san1", "where": TARGET, "portal": "10.20.0.11:3260"}),
    resource("datastore", "shared", properties={"array": "san1", "where": "/shared", "portal": "10.20.0.11"}),
    resource(
        "host",
        "esx1",
        node="esx1",
        links={"network.storage": "vmk1", "network.production": "vmnic0", "host.esx2": "peer"},
        addresses={"storage": "10.20.0.12"},
    ),
    resource(
        "vm",
        "web1",
        node="esx1",
        guest=True,
        links={"network.production": "nic0", "datastore.gold": "disk"},
        addresses={"production": "10.10.0.11"},
        properties=disk("web1", protocol="iscsi", portal="10.20.0.11:3260", target=TARGET, lun=2),
    ),
    resource(
        "vm",
        "db1",
        guest=True,
        properties=disk("db1", protocol="nfs", server="10.20.0.11", path="/shared/db1-disk0.qcow2"),
    ),
    resource("vm", "scratch", guest=True, properties={"disks": [{"name": "local"}]}),
]


def test_interfaces_are_told_with_their_networks_and_whether_they_serve() -> None:
    assert places_of(RESOURCES) == [
        Place(node="san1", interface="stor0", network="storage", role="storage", address="10.20.0.11", serves=True),
        Place(node="esx1", interface="vmk1", network="storage", role="storage", address="10.20.0.12", serves=False),
        Place(node="esx1", interface="vmnic0", network="production", role="production", address="", serves=False),
    ]
    assert places_of(RESOURCES)[1].name == "esx1/vmk1"


def test_a_lun_and_a_file_name_the_vm_the_disk_and_the_datastore() -> None:
    names = names_of(RESOURCES)
    assert names.luns == {(TARGET, 2): Volume(array="san1", datastore="gold", vm="web1", disk="web1-disk0")}
    assert names.exports == {
        ("10.20.0.11", "/shared"): Volume(array="san1", datastore="shared"),
        ("10.20.0.11", "/shared/db1-disk0.qcow2"): Volume(array="san1", datastore="shared", vm="db1", disk="db1-disk0"),
    }
    owner = names.of_lun("10.20.0.12", "10.20.0.11", "", TARGET, 2)
    assert owner == Owner(host="esx1", vm="web1", datastore="gold", disk="web1-disk0", network="storage", array="san1")


@pytest.mark.parametrize(
    ("portal", "server"), [("10.20.0.11:3260", "10.20.0.11"), ("fd00::11", "fd00::11"), ("[fd00::11]:3260", "fd00::11")]
)
def test_portals_are_read_with_and_without_a_port(portal: str, server: str) -> None:
    store = resource("datastore", "shared", properties={"array": "san1", "where": "/shared", "portal": portal})
    assert list(names_of([store]).exports) == [(server, "/shared")]


def test_a_lab_of_which_nothing_is_known_has_no_names() -> None:
    assert names_of([resource("vm", "lone")]).to_json() == {
        "hosts": {}, "networks": {}, "initiators": {}, "luns": [], "exports": [], "homes": {}
    }  # fmt: skip
