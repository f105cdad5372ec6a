"""Names: from the wire to whose it was."""

import json
from dataclasses import replace

import pytest

from labctl.trace.command import Endpoint, Owner
from labctl.trace.naming import Names, Volume

NAMES = Names(
    hosts={"10.20.0.11": "esx1", "10.20.0.101": "array1"},
    networks={"10.20.0.101": "storage"},
    initiators={"iqn.2026-11.lab:esx1": ("esx1", ""), "iqn.2026-11.lab:web1": ("esx1", "web1")},
    luns={("iqn.2026-11.lab:array1", 3): Volume(array="array1", datastore="gold", vm="web1", disk="disk0")},
    exports={
        ("10.20.0.101", "/silver"): Volume(array="array1", datastore="silver"),
        ("10.20.0.101", "/silver/db1"): Volume(array="array1", datastore="silver", vm="db1"),
    },
)


def test_a_lun_names_the_vm_and_its_disk():
    owner = NAMES.of_lun("10.20.0.11", "10.20.0.101", "iqn.2026-11.lab:esx1", "iqn.2026-11.lab:array1", 3)
    assert owner == Owner(host="esx1", vm="web1", datastore="gold", disk="disk0", network="storage", array="array1")


def test_an_initiator_of_a_vm_names_it_where_the_lun_does_not():
    owner = NAMES.of_lun("10.20.0.11", "10.20.0.101", "iqn.2026-11.lab:web1", "iqn.2026-11.lab:array1", None)
    assert owner == Owner(host="esx1", vm="web1", network="storage", array="array1")


def test_the_longest_folder_that_fits_counts():
    assert NAMES.of_path("10.20.0.11", "10.20.0.101", "/silver/db1/disk0.qcow2").vm == "db1"
    other = NAMES.of_path("10.20.0.11", "10.20.0.101", "/silver/db10/disk0.qcow2")
    assert (other.vm, other.datastore) == ("", "silver")


def test_strangers_have_no_names():
    assert NAMES.of_path("10.9.9.9", "10.9.9.8", "/x/y") == Owner()
    assert NAMES.of_lun("10.9.9.9", "10.9.9.8", "", "", 0) == Owner()


def test_without_a_login_or_a_mount_the_only_disk_that_it_can_be_is_meant():
    second = Volume(array="array1", datastore="gold", vm="web2", disk="disk0")
    homes = {"web1": "esx1", "web2": "esx2", "db1": "esx1"}
    names = replace(NAMES, luns={**NAMES.luns, ("iqn.2026-11.lab:array1.b", 3): second}, homes=homes)
    assert names.of_lun("10.20.0.11", "10.20.0.101", "", "", 3).vm == "web1"
    assert names.of_path("10.20.0.11", "10.20.0.101", "").vm == "db1"
    unsure = replace(names, homes={**homes, "web2": "esx1"})
    assert unsure.of_lun("10.20.0.11", "10.20.0.101", "", "", 3) == Owner(
        host="esx1", network="storage", array="array1"
    )


def test_names_survive_json():
    assert Names.from_json(json.loads(json.dumps(NAMES.to_json()))) == NAMES


@pytest.mark.parametrize("data", [{"hosts": 3}, {"luns": {"a": 1}}, {"luns": [[1]]}, {"initiators": {"a": []}}])
def test_other_data_is_refused(data):
    with pytest.raises(ValueError, match="not the names of a lab"):
        Names.from_json(data)


def test_endpoints_read_as_people_write_them():
    assert str(Endpoint(address="10.0.0.1", port=3260)) == "10.0.0.1:3260"
    assert str(Endpoint(address="fd00::1", port=2049)) == "[fd00::1]:2049"
