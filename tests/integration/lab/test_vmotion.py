"""vMotion between the quickstart's hosts: of a VM on a LUN and of one on an export, while they write; and what goes wrong."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from labctl.linux import processes
from labctl.testing.waiting import wait_for
from labctl_server.hostd import process

pytestmark = [
    pytest.mark.needs("root", "qemu", "qemu-iscsi", "qemu-nfs", "tun", "tshark"),
    pytest.mark.xdist_group("lab"),
    pytest.mark.timeout(600),
]

DEADLINE = 120.0
SLOW = ("--bandwidth", "512KiB")
"""At this rate a guest's memory takes minutes: whoever looks finds the migration under way."""

WRITE = """
rm -rf /root/load; mkdir /root/load; cd /root/load
(i=0; while [ ! -e stop ]; do
   dd if=/dev/urandom of=f$i bs=64k count=4 2>/dev/null; md5sum f$i >>sums; sync; i=$((i+1)); sleep 0.1
 done; touch ended) >/dev/null 2>&1 &
"""
"""Files of ever new content, each with its sum; a qcow2 file grows by it."""

VERIFY = """
cd /root/load; touch stop; while [ ! -e ended ]; do sleep 1; done
sync; echo 3 >/proc/sys/vm/drop_caches
echo $(wc -l <sums) $(md5sum -c sums 2>/dev/null | grep -vc ': OK$')
cd /; rm -rf /root/load
"""


def where(lab) -> dict[str, Any]:  # type: ignore[no-untyped-def]
    """The VMs as `labctl vm list` has them."""
    return {vm["name"]: vm["runtime"] for vm in lab.json("vm", "list", "--lab", lab.name)["vms"]}


def other(host: str) -> str:
    return {"esx1": "esx2", "esx2": "esx1"}[host]


def migrate(lab, vm: str, *options: str, check: bool = True):  # type: ignore[no-untyped-def]
    target = other(where(lab)[vm]["host"])
    return lab.run("vm", "migrate", vm, "--lab", lab.name, "--to", target, *options, check=check)


def task(lab, vm: str) -> dict[str, Any]:  # type: ignore[no-untyped-def]
    found: dict[str, Any] = lab.json("vm", "migrate", vm, "--status", "--lab", lab.name)
    return found


def ended(lab, vm: str) -> dict[str, Any]:  # type: ignore[no-untyped-def]
    wait_for(lambda: task(lab, vm)["state"] != "running", timeout=DEADLINE)
    return task(lab, vm)


def known(lab, vm: str) -> bool:  # type: ignore[no-untyped-def]
    """Whether a host can tell of the VM's migration: one that was restarted does so once it has settled it."""
    return lab.run("vm", "migrate", vm, "--status", "--lab", lab.name, check=False).returncode == 0


def alive(lab, vm: str) -> None:  # type: ignore[no-untyped-def]
    assert lab.exec(vm, "echo", "alive").stdout == "alive\n"


@pytest.mark.parametrize("vm", ["web1", "db1"])
def test_a_vm_that_writes_goes_to_and_fro_and_no_byte_is_wrong(quickstart, vm: str) -> None:
    quickstart.exec(vm, "sh", "-c", WRITE)
    pid = where(quickstart)[vm]["pid"]
    for _ in range(2):
        source = where(quickstart)[vm]["host"]
        said = migrate(quickstart, vm).stdout.splitlines()[-1]
        assert said.startswith(f"{vm}: migrated from {source} to {other(source)}: ")
        assert said.endswith(" ms of downtime")
        assert where(quickstart)[vm]["host"] == other(source)
    assert where(quickstart)[vm]["pid"] != pid
    files, wrong = map(int, quickstart.exec(vm, "sh", "-c", VERIFY).stdout.split())
    assert files > 4
    assert wrong == 0


def test_what_a_file_grew_by_on_the_way_is_read_at_the_destination(quickstart) -> None:
    """Nothing is written after it arrived: a destination that remembered the file's old length would read zeroes."""
    migrate(quickstart, "db1", "--bandwidth", "4MiB", "--no-wait")
    wait_for(lambda: task(quickstart, "db1")["phase"] == "copying", timeout=DEADLINE)
    grow = "dd if=/dev/urandom of=/root/grown bs=64k count=64 2>/dev/null; sync; md5sum </root/grown"
    written = quickstart.exec("db1", "sh", "-c", grow).stdout
    assert task(quickstart, "db1")["phase"] == "copying"
    assert ended(quickstart, "db1")["state"] == "completed"
    reread = "echo 3 >/proc/sys/vm/drop_caches; md5sum </root/grown"
    assert quickstart.exec("db1", "sh", "-c", reread).stdout == written
    quickstart.exec("db1", "rm", "/root/grown")


def test_where_a_vm_went_stays_so(quickstart) -> None:
    """Labd dies while it goes; the hosts finish, the next labd finds it, and `up` leaves it there."""
    target = other(where(quickstart)["web1"]["host"])
    booted = quickstart.exec("web1", "cat", "/proc/sys/kernel/random/boot_id").stdout
    migrate(quickstart, "web1", "--bandwidth", "30MiB", "--no-wait")
    os.kill(quickstart.labd_pid, signal.SIGKILL)
    wait_for(lambda: where(quickstart)["web1"]["host"] == target, timeout=DEADLINE)
    assert quickstart.status()["vm.web1"]["state"] == "running"
    assert quickstart.status()["vm.web1"]["parent"] == f"host.{target}"
    assert "nothing to do" in quickstart.up("quickstart").stdout
    assert quickstart.exec("web1", "cat", "/proc/sys/kernel/random/boot_id").stdout == booted
    assert quickstart.inside("client", "ping", "-c", "1", "-w", "60", "10.10.0.11").returncode == 0


def test_a_cancelled_migration_leaves_the_vm_where_it_was(quickstart) -> None:
    before = where(quickstart)["db1"]
    migrate(quickstart, "db1", *SLOW, "--no-wait")
    wait_for(lambda: task(quickstart, "db1")["transferred"] > 0, timeout=DEADLINE)
    shown = task(quickstart, "db1")
    assert (shown["state"], shown["phase"], shown["passes"]) == ("running", "copying", 1)
    assert 0 < shown["remaining"] <= shown["total"]
    refused = quickstart.run("vm", "reset", "db1", "--lab", quickstart.name, check=False)
    assert f"db1 is being migrated to {other(before['host'])}" in refused.stderr
    quickstart.run("vm", "migrate", "db1", "--cancel", "--lab", quickstart.name)
    assert ended(quickstart, "db1")["state"] == "cancelled"
    after = where(quickstart)["db1"]
    assert (after["host"], after["pid"]) == (before["host"], before["pid"])
    alive(quickstart, "db1")
    migrate(quickstart, "db1")
    alive(quickstart, "db1")


@pytest.mark.parametrize("victim", ["the destination's QEMU", "the destination's agent", "the source's agent"])
def test_who_is_killed_on_the_way_leaves_the_vm_at_its_source(quickstart, victim: str) -> None:
    lab, before = quickstart, where(quickstart)["web1"]
    target = other(before["host"])
    migrate(lab, "web1", *SLOW, "--no-wait")
    wait_for(lambda: task(lab, "web1")["transferred"] > 0, timeout=DEADLINE)
    found = process.find(process.token_of(lab.name, target, "web1"), namespace=lab.home / lab.namespace(target))
    assert found is not None
    if victim.endswith("QEMU"):
        processes.terminate([found], grace=0)
    else:  # it ends what was on its way, as soon as it is back
        host = target if victim.startswith("the destination") else before["host"]
        hostd = lab.json("inspect", f"host.{host}", "--lab", lab.name)["units"]
        os.kill(next(unit["facts"]["pid"] for unit in hostd if unit["id"] == f"agent:{host}"), signal.SIGKILL)
        wait_for(lambda: known(lab, "web1"), timeout=DEADLINE)
    assert ended(lab, "web1")["state"] == "failed"
    after = where(lab)["web1"]
    assert (after["host"], after["pid"], after["power"]) == (before["host"], before["pid"], "on")
    alive(lab, "web1")
    wait_for(lambda: not processes.alive(found), timeout=DEADLINE)


@pytest.mark.parametrize("options", [(), ("--plain",)], ids=["encrypted", "plain"])
def test_a_guests_memory_crosses_the_network_under_tls_unless_asked_otherwise(
    quickstart, options: tuple[str, ...], tmp_path: Path
) -> None:
    source = where(quickstart)["web1"]["host"]
    secret = "written-in-the-guest"
    quickstart.exec(
        "web1", "sh", "-c", f"i=0; while [ $i -lt 400 ]; do echo {secret}; i=$((i+1)); done >/dev/shm/secret"
    )
    capture = tmp_path / "vmotion.pcapng"
    words = ["nsenter", f"--net={quickstart.namespace(source)}", "dumpcap", "-q", "-i", "vmk0", "-w", str(capture)]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as dumpcap:
        assert dumpcap.stderr is not None
        while "File:" not in dumpcap.stderr.readline():
            pass
        migrate(quickstart, "web1", *options)
        dumpcap.send_signal(signal.SIGINT)
    assert capture.stat().st_size > 10 * 2**20
    assert (secret.encode() in capture.read_bytes()) == bool(options)


def test_what_stands_against_a_migration_is_listed(quickstart) -> None:
    host = where(quickstart)["db1"]["host"]
    lab = ("--lab", quickstart.name)
    checks = quickstart.json("vm", "migrate", "db1", "--to", other(host), "--check", *lab)["checks"]
    assert {entry["name"] for entry in checks} == {
        "VM",
        "cluster",
        "memory",
        "network",
        "host",
        "processor",
        "datastore",
    }
    assert all(entry["ok"] for entry in checks)
    refused = quickstart.run("vm", "migrate", "db1", "--to", host, *lab, check=False)
    assert refused.returncode == 7
    assert f"db1 cannot be migrated to {host}: it runs on {host} already" in refused.stderr
    unknown = quickstart.run("vm", "migrate", "db1", "--to", "esx3", *lab, check=False)
    assert 'there is no host named "esx3"' in unknown.stderr
    quickstart.run("vm", "stop", "--force", "db1", *lab)
    refused = migrate(quickstart, "db1", check=False)
    quickstart.run("vm", "start", "db1", *lab)
    assert "db1 is powered off, and only a running VM is live-migrated" in refused.stderr
