"""Snapshots of the quickstart's VMs, one on a LUN and one in a qcow2 file: disks, memory, the tree, and what goes wrong."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from labctl.daemon.client import DaemonClient
from labctl.errors import LabError
from labctl.testing.waiting import wait_for

from .test_survival import agent_pid

pytestmark = [
    pytest.mark.needs("root", "qemu", "qemu-iscsi", "qemu-nfs", "tun"),
    pytest.mark.xdist_group("lab"),
    pytest.mark.timeout(600),
]


@pytest.fixture
def lab(quickstart) -> Iterator:
    """The quickstart, whose VMs run and have no snapshots in the end."""
    yield quickstart
    for vm in ("web1", "db1"):
        for each in tree(quickstart, vm)["snapshots"]:
            snapshot(quickstart, "delete", vm, each["name"])
    quickstart.up("quickstart")


def snapshot(lab, *arguments: str, check: bool = True):  # type: ignore[no-untyped-def]
    return lab.run("vm", "snapshot", *arguments, "--lab", lab.name, check=check)


def tree(lab, vm: str) -> dict[str, Any]:
    found: dict[str, Any] = lab.json("vm", "snapshot", "list", vm, "--lab", lab.name)
    return found


def write(lab, vm: str, word: str) -> None:
    lab.exec(vm, "sh", "-c", f"echo {word} >/root/word; sync")


def read(lab, vm: str) -> str:
    """Past the guest's cache."""
    return lab.exec(vm, "sh", "-c", "echo 3 >/proc/sys/vm/drop_caches; cat /root/word").stdout.strip()


@pytest.mark.parametrize("vm", ["web1", "db1"])
def test_a_vm_goes_on_from_its_memory_with_the_disk_of_that_moment(lab, vm: str) -> None:
    booted = lab.exec(vm, "cat", "/proc/sys/kernel/random/boot_id").stdout
    write(lab, vm, "before")
    lab.exec(
        vm,
        "sh",
        "-c",
        "echo in-memory >/tmp/word; (while :; do echo alive >/dev/null; sleep 1; done) >/dev/null 2>&1 &",
    )
    said = snapshot(lab, "create", vm, "one", "--memory").stdout
    assert said.startswith(f"{vm}: snapshot one, with ")
    assert lab.exec(vm, "cat", "/tmp/word").stdout == "in-memory\n", "it ran on"
    write(lab, vm, "after")
    lab.exec(vm, "rm", "/tmp/word")

    assert snapshot(lab, "revert", vm, "one").stdout == f"{vm} is as it was at one\n"
    assert read(lab, vm) == "before"
    assert lab.exec(vm, "cat", "/tmp/word").stdout == "in-memory\n"
    assert lab.exec(vm, "cat", "/proc/sys/kernel/random/boot_id").stdout == booted
    assert "nothing to do" in lab.up("quickstart").stdout
    assert tree(lab, vm)["current"] == "one", "an up leaves it"


@pytest.mark.parametrize("vm", ["web1", "db1"])
def test_without_memory_it_is_off_and_boots_with_what_was_there(lab, vm: str) -> None:
    for word in ("one", "two", "three"):
        write(lab, vm, word)
        assert snapshot(lab, "create", vm, word).stdout == f"{vm}: snapshot {word}\n"
    write(lab, vm, "four")
    assert snapshot(lab, "revert", vm, "two").stdout == f"{vm} is as it was at two, and off: labctl vm start {vm}\n"
    snapshot(lab, "delete", vm, "one")
    lab.up("quickstart")
    assert read(lab, vm) == "two"
    parents = {each["name"]: each["parent"] for each in tree(lab, vm)["snapshots"]}
    assert parents == {"two": None, "three": "two"}
    assert tree(lab, vm)["current"] == "two"
    snapshot(lab, "revert", vm, "three")
    snapshot(lab, "create", vm, "off")
    lab.up("quickstart")
    assert read(lab, vm) == "three"


def test_a_snapshot_goes_along_when_its_vm_is_migrated(lab) -> None:
    hosts = {vm["name"]: vm["runtime"]["host"] for vm in lab.json("vm", "list", "--lab", lab.name)["vms"]}
    other = {"esx1": "esx2", "esx2": "esx1"}[hosts["db1"]]
    write(lab, "db1", "here")
    snapshot(lab, "create", "db1", "here", "--memory")
    lab.run("vm", "migrate", "db1", "--to", other, "--lab", lab.name)
    write(lab, "db1", "there")
    snapshot(lab, "revert", "db1", "here")
    assert read(lab, "db1") == "here"
    lab.run("vm", "migrate", "db1", "--to", hosts["db1"], "--lab", lab.name)


def test_what_cannot_be_done_is_told_and_changes_nothing(lab) -> None:
    snapshot(lab, "create", "web1", "one")
    for arguments, said in (
        (("create", "web1", "one"), "error: web1 has a snapshot one already"),
        (("create", "web1", "-one"), "No such option"),
        (("create", "web1", "o ne"), 'error: "o ne" is no name for a snapshot'),
        (("revert", "web1", "onne"), 'did you mean "one"?'),
        (("delete", "web1", "two"), "error: web1 has no snapshot two"),
    ):
        refused = snapshot(lab, *arguments, check=False)
        assert refused.returncode != 0
        assert said in refused.stderr
    lab.run("volume", "snapshot", "create", "gold/web1-disk0", "taken", "--lab", lab.name)
    refused = snapshot(lab, "create", "web1", "taken", "--memory", check=False)
    assert "taken" in refused.stderr
    assert lab.exec("web1", "echo", "alive").stdout == "alive\n"
    assert [each["name"] for each in tree(lab, "web1")["snapshots"]] == ["one"]
    lab.run("volume", "snapshot", "delete", "gold/web1-disk0", "taken", "--lab", lab.name)
    lab.run("vm", "stop", "web1", "--lab", lab.name)
    refused = snapshot(lab, "create", "web1", "off", "--memory", check=False)
    assert "error: web1 is powered off: it has no memory to keep" in refused.stderr


def test_a_vm_that_is_held_runs_on_when_its_agent_is_killed(lab) -> None:
    """Whoever made the snapshot is dead as well: nobody asks for the VM to be let go."""
    host = next(
        vm["runtime"]["host"] for vm in lab.json("vm", "list", "--lab", lab.name)["vms"] if vm["name"] == "web1"
    )
    node = lab.home / "labs" / lab.name / "nodes" / host
    agent, mark = DaemonClient(node / "agent.sock", lab.name), next(node.rglob("vms/web1")) / "held"
    agent.post("/v1/vms/web1/hold")
    assert mark.exists()
    with pytest.raises(LabError, match="a snapshot of web1 is being made"):
        agent.post("/v1/vms/web1/hold")
    killed = agent_pid(lab, host)
    os.kill(killed, signal.SIGKILL)
    wait_for(lambda: lab.exec("web1", "echo", "alive", check=False).stdout == "alive\n", timeout=60)
    assert not mark.exists()
