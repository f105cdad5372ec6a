"""DRS on real guests: two that compute on one host are recommended to part, and do so by hand and by themselves; an alarm tells of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from labctl.testing.waiting import wait_for

pytestmark = [
    pytest.mark.needs("root", "qemu", "qemu-iscsi", "tun"),
    pytest.mark.xdist_group("lab"),
    pytest.mark.timeout(600),
]

LAB = """
[network.management]
role = "management"
subnet = "10.20.0.0/24"
[network.storage]
role = "storage"
subnet = "10.20.1.0/24"
[network.production]
role = "production"
subnet = "10.20.2.0/24"
[host.esx1]
cpus = 1
[host.esx2]
cpus = 1
[cluster.prod]
hosts = ["esx1", "esx2"]
drs = "manual"
drs_interval = 2
[rule.near]
type = "run-on"
vms = ["web1", "web2"]
hosts = ["esx1"]
should = true
[array.gold]
[datastore.gold]
array = "gold"
protocol = "iscsi"
size = "4GiB"
[alarm.busy]
metric = "labctl_vm_cpu_seconds_total"
labels = { vm = "web*" }
above = 0.4
for = "2s"
every = "1s"
[vm.web1]
image = "micro"
memory = "128MiB"
[vm.web2]
image = "micro"
memory = "128MiB"
"""

COMPUTE = "(while [ ! -e /run/stop ]; do :; done) >/dev/null 2>&1 & echo begun"


def where(lab) -> dict[str, str]:
    return {vm["name"]: vm["runtime"]["host"] for vm in lab.json("vm", "list", "--lab", lab.name)["vms"]}


def change(lab, old: str, new: str) -> None:
    file = lab.home / "lab.toml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    lab.up(file)


def raised(lab) -> list[dict[str, Any]]:
    (alarm,) = lab.json("alarm", "list", "--lab", lab.name)["alarms"]
    return list(alarm["raised"])


@pytest.fixture(scope="module")
def lab(lab_of) -> Iterator:
    """Both VMs are on esx1, because a rule wishes so; then the rule is no more."""
    made = lab_of(LAB)
    assert where(made) == {"web1": "esx1", "web2": "esx1"}
    rule = LAB[LAB.index("[rule.near]") : LAB.index("[array.gold]")]
    change(made, rule, "")
    assert where(made) == {"web1": "esx1", "web2": "esx1"}
    return made


def test_the_clusters_are_listed(lab) -> None:
    listed = lab.run("cluster", "list", "--lab", lab.name).stdout.splitlines()
    assert [line.split() for line in listed] == [
        ["cluster", "hosts", "vms", "drs"],
        ["prod", "esx1,", "esx2", "web1,", "web2", "manual"],
    ]


def test_idle_vms_are_served_well_where_they_are(lab) -> None:
    def quiet() -> bool:
        told = lab.json("cluster", "drs", "--lab", lab.name)
        return told["score"] > 90 and told["recommendations"] == []

    wait_for(quiet, timeout=60)
    assert "nothing is recommended" in lab.run("cluster", "drs", "prod", "--lab", lab.name).stdout


def test_vms_that_compute_on_one_host_part_by_hand_then_by_themselves_and_not_where_it_is_off(lab) -> None:
    for vm in ("web1", "web2"):
        assert lab.exec(vm, "sh", "-c", COMPUTE).stdout == "begun\n"
    told = lab.json("cluster", "drs", "--lab", lab.name)
    assert told["score"] < 80
    assert [(move["source"], move["destination"]) for move in told["recommendations"]] == [("esx1", "esx2")]
    assert where(lab) == {"web1": "esx1", "web2": "esx1"}
    wait_for(lambda: "cluster.drs_recommends" in lab.run("events", "--lab", lab.name).stdout, timeout=60)

    wait_for(lambda: {each["labels"]["vm"] for each in raised(lab)} == {"web1", "web2"}, timeout=60)
    assert "alarm.raised" in lab.run("events", "--lab", lab.name).stdout

    moved = told["recommendations"][0]["vm"]
    done = lab.run("cluster", "drs", "prod", "--apply", "--lab", lab.name).stdout.splitlines()
    assert done[-1].startswith("moved web")
    assert sorted(where(lab).values()) == ["esx1", "esx2"]
    assert lab.exec(moved, "echo", "alive").stdout == "alive\n"

    lab.run("vm", "migrate", moved, "--to", "esx1", "--lab", lab.name)
    assert set(where(lab).values()) == {"esx1"}
    change(lab, 'drs = "manual"', 'drs = "fully-automated"')
    wait_for(lambda: sorted(where(lab).values()) == ["esx1", "esx2"], timeout=120)
    for vm in ("web1", "web2"):
        assert lab.exec(vm, "touch", "/run/stop").returncode == 0
    wait_for(lambda: raised(lab) == [], timeout=60)
    assert "alarm.cleared" in lab.run("events", "--lab", lab.name).stdout

    change(lab, 'drs = "fully-automated"', 'drs = "off"')
    assert lab.json("cluster", "drs", "--lab", lab.name)["recommendations"] == []
    refused = lab.run("cluster", "drs", "--apply", "--lab", lab.name, check=False)
    assert refused.returncode == 7
    assert "error: DRS of cluster.prod is off" in refused.stderr
    assert 'hint: switch it on: drs = "manual" in [cluster.prod], and labctl up' in refused.stderr
