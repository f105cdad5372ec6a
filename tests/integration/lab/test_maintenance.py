"""Maintenance mode of the quickstart's hosts: their VMs leave by vMotion, and none comes until it ends."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import labctl_topologies
from labctl.testing.waiting import wait_for

pytestmark = [
    pytest.mark.needs("root", "qemu", "qemu-iscsi", "qemu-nfs", "tun"),
    pytest.mark.xdist_group("lab"),
    pytest.mark.timeout(600),
]


def hosts(lab) -> dict[str, str]:
    return {host["name"]: host["maintenance"] for host in lab.json("host", "list", "--lab", lab.name)["hosts"]}


def where(lab) -> dict[str, str]:
    vms = lab.json("vm", "list", "--lab", lab.name)["vms"]
    assert all("host" in vm["runtime"] for vm in vms), vms
    return {vm["name"]: vm["runtime"]["host"] for vm in vms}


def events(lab) -> list[str]:
    return [line.split("  ")[1] for line in lab.run("events", "--lab", lab.name).stdout.splitlines()]


@pytest.fixture
def lab(quickstart) -> Iterator:
    """The quickstart, whose hosts take VMs again in the end, and each has its own."""
    yield quickstart
    for host in ("esx1", "esx2"):
        quickstart.run("host", "exit-maintenance", host, "--lab", quickstart.name)
    for vm, host in (("web1", "esx1"), ("db1", "esx2")):
        if where(quickstart)[vm] != host:
            quickstart.run("vm", "migrate", vm, "--to", host, "--lab", quickstart.name)


def test_a_hosts_vm_goes_elsewhere_and_no_vm_comes_until_it_ends_also_over_up_and_a_restart_of_labd(lab) -> None:
    done = lab.run("host", "enter-maintenance", "esx1", "--lab", lab.name)
    assert done.stdout.splitlines()[-1] == "esx1 is in maintenance mode: moved web1 to esx2"
    assert where(lab) == {"web1": "esx2", "db1": "esx2"}
    assert lab.exec("web1", "echo", "alive").stdout == "alive\n"

    told = [each for each in events(lab) if "maintenance" in each]
    assert told == ["host.entering_maintenance", "host.entered_maintenance"]
    os.kill(lab.labd_pid, signal.SIGKILL)
    lab.up("quickstart")
    assert where(lab) == {"web1": "esx2", "db1": "esx2"}
    assert hosts(lab) == {"esx1": "on", "esx2": "off"}
    refused = lab.run("vm", "migrate", "web1", "--to", "esx1", "--lab", lab.name, check=False)
    assert refused.returncode == 7
    assert "web1 cannot be migrated to esx1: esx1 is in, or entering, maintenance mode" in refused.stderr

    again = lab.run("host", "enter-maintenance", "esx1", "--lab", lab.name)
    assert again.stdout == "esx1 is in maintenance mode\n"
    assert lab.run("host", "exit-maintenance", "esx1", "--lab", lab.name).stdout == "esx1 takes VMs again\n"
    lab.run("vm", "migrate", "web1", "--to", "esx1", "--lab", lab.name)


def test_a_vm_that_has_nowhere_to_go_stays_and_is_waited_for_where_that_is_asked(lab) -> None:
    lab.run("host", "enter-maintenance", "esx2", "--lab", lab.name)
    refused = lab.run("host", "enter-maintenance", "esx1", "--lab", lab.name, check=False)
    assert refused.returncode == 1
    why = "esx1 cannot be emptied: "
    stuck = ": esx2 is in, or entering, maintenance mode"
    assert refused.stderr.startswith(f"error: esx1 is not in maintenance mode: {why}")
    assert f"web1{stuck}" in refused.stderr
    assert f"db1{stuck}" in refused.stderr
    assert hosts(lab) == {"esx1": "off", "esx2": "on"}

    told = lab.json("host", "enter-maintenance", "esx1", "--wait", "--no-wait", "--lab", lab.name)
    assert (told["state"], told["task"]["state"]) == ("entering", "running")
    lab.run("vm", "stop", "db1", "--force", "--lab", lab.name)
    started = lab.run("vm", "start", "db1", "--lab", lab.name, check=False)
    assert started.returncode == 7
    assert "db1 cannot run on esx1, which is entering maintenance mode" in started.stderr
    lab.run("host", "exit-maintenance", "esx2", "--lab", lab.name)
    wait_for(lambda: hosts(lab)["esx1"] == "on", timeout=120, what="esx1 to be empty")
    assert where(lab)["web1"] == "esx2"
    lab.run("host", "exit-maintenance", "esx1", "--lab", lab.name)
    lab.run("vm", "start", "db1", "--lab", lab.name)
    assert lab.exec("db1", "echo", "alive").stdout == "alive\n"


def test_a_rule_keeps_vms_apart_in_migrations_and_maintenance_until_it_is_gone(lab, tmp_path: Path) -> None:
    text = next(Path(labctl_topologies.__path__[0]).glob("quickstart.toml")).read_text()
    (tmp_path / "ruled.toml").write_text(text + '\n[rule.apart]\ntype = "separate"\nvms = ["web1", "db1"]\n')
    lab.up(tmp_path / "ruled.toml")
    try:
        refused = lab.run("vm", "migrate", "web1", "--to", "esx2", "--lab", lab.name, check=False)
        said = 'rule "apart" keeps it apart from db1, which is on esx2'
        assert f"web1 cannot be migrated to esx2: {said}" in refused.stderr
        refused = lab.run("host", "enter-maintenance", "esx1", "--lab", lab.name, check=False)
        assert f"esx1 cannot be emptied: web1: {said}" in refused.stderr
    finally:
        lab.up("quickstart")
    lab.run("host", "enter-maintenance", "esx1", "--lab", lab.name)
    assert where(lab)["web1"] == "esx2"


def test_a_clusters_hosts_are_remediated_one_after_another_while_no_vm_runs_there(lab, tmp_path: Path) -> None:
    note = tmp_path / "note"
    script = f"ip -brief link | grep -c '^web1[.]0\\|^db1[.]0' >>{note}; true"
    done = lab.run("cluster", "remediate", "compute", "--lab", lab.name, "--", "sh", "-c", script)
    assert done.stdout.splitlines()[-1] == "esx2 is done, 2 of 2"
    assert note.read_text().split() == ["0", "0"], "taps of VMs that run there"
    assert hosts(lab) == {"esx1": "off", "esx2": "off"}
    assert lab.exec("web1", "echo", "alive").stdout == "alive\n"

    refused = lab.run("cluster", "remediate", "compute", "--lab", lab.name, "--", "sh", "-c", "exit 3", check=False)
    assert refused.returncode == 1
    assert "error: the command ended with 3 on esx1, which stays in maintenance mode" in refused.stderr
    assert hosts(lab) == {"esx1": "on", "esx2": "off"}
    nothing = lab.run("cluster", "remediate", "nosuch", "--lab", lab.name, "--", "true", check=False)
    assert "nosuch" in nothing.stderr
