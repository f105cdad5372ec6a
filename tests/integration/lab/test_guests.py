"""The guests are real: QEMU in its host's namespace, disks over the storage network, bytes that last."""

from __future__ import annotations

import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from labctl.testing.waiting import wait_for
from labctl_server.top.rates import rates

pytestmark = [pytest.mark.needs("root", "qemu", "tun"), pytest.mark.xdist_group("lab")]

RSS_LIMIT = 160 * 1024 * 1024


def qemu_pids(quickstart, host: str) -> list[int]:
    inode = Path(quickstart.namespace(host)).stat().st_ino
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "comm").read_text().startswith("qemu-system") and (process / "ns/net").stat().st_ino == inode:
                found.append(int(process.name))
        except OSError:
            continue
    return found


def resident(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")) * 1024


@pytest.mark.parametrize(("host", "port"), [("esx1", "3260"), ("esx2", "2049")])
def test_each_vm_is_a_qemu_in_its_host_that_opened_its_disk_over_the_storage_network(quickstart, host, port) -> None:
    (pid,) = qemu_pids(quickstart, host)
    connections = quickstart.inside(host, "ss", "-Htnp", "state", "established").stdout
    mine = [line for line in connections.splitlines() if f"pid={pid}," in line]
    assert any(f":{port}" in line.split()[3] for line in mine), connections
    assert all(line.split()[2].startswith("10.20.0.") for line in mine), connections


@pytest.mark.parametrize(("vm", "host"), [("web1", "esx1"), ("db1", "esx2")])
def test_a_vm_takes_at_most_160_mib_and_gives_back_what_its_guest_frees(quickstart, vm, host) -> None:
    """Other tests have filled the guest's cache, which is the guest's to fill: without it, it has what it came up with."""
    (pid,) = qemu_pids(quickstart, host)
    fill = "dd if=/dev/zero of=/root/fill bs=1M count=40 && sync"
    quickstart.exec(vm, "sh", "-c", fill)
    filled = resident(pid)
    quickstart.exec(vm, "sh", "-c", "rm /root/fill && sync && echo 3 > /proc/sys/vm/drop_caches")
    wait_for(
        lambda: resident(pid) <= RSS_LIMIT, what=f"a resident set of 160 MiB ({filled >> 20} MiB with a full cache)"
    )
    assert resident(pid) < filled


@pytest.mark.parametrize("host", ["esx1", "esx2"])
def test_an_emulated_vm_takes_small_pages_so_that_what_it_gave_back_stays_given_back(quickstart, host) -> None:
    (pid,) = qemu_pids(quickstart, host)
    assert "THP_enabled:\t0\n" in Path(f"/proc/{pid}/status").read_text()


@pytest.mark.parametrize("vm", ["web1", "db1"])
def test_the_guest_agent_runs_commands_and_tells_their_exit_code(quickstart, vm) -> None:
    assert quickstart.exec(vm, "hostname").stdout == f"{vm}\n"
    assert quickstart.exec(vm, "sh", "-c", "exit 7", check=False).returncode == 7


@pytest.mark.parametrize("vm", ["web1", "db1"])
def test_the_guests_root_is_its_disk_on_the_datastore(quickstart, vm) -> None:
    mounts = quickstart.exec(vm, "cat", "/proc/mounts").stdout
    assert any(line.split()[1:3] == ["/", "ext4"] for line in mounts.splitlines()), mounts


@pytest.mark.parametrize("vm", ["web1", "db1"])
def test_what_a_guest_wrote_survives_a_power_cycle(quickstart, vm) -> None:
    quickstart.exec(vm, "sh", "-c", "echo kept-by-the-disk > /root/mark && sync")
    quickstart.run("vm", "reset", vm, "--lab", quickstart.name)
    assert quickstart.exec(vm, "cat", "/root/mark").stdout == "kept-by-the-disk\n"


def test_guests_reach_one_another_and_the_client_on_production(quickstart) -> None:
    addresses = {name: quickstart.status()[f"vm.{name}"]["addresses"]["production"] for name in ("web1", "db1")}
    assert quickstart.exec("web1", "ping", "-c1", "-W5", addresses["db1"]).returncode == 0
    for address in addresses.values():
        assert quickstart.exec("client", "ping", "-c1", "-W5", address).returncode == 0


def test_top_shows_what_a_guests_work_costs_its_host_its_disk_and_the_array(quickstart) -> None:
    before = quickstart.json("metrics")
    quickstart.exec("web1", "sh", "-c", "dd if=/dev/zero of=/root/top bs=64k count=320 conv=fsync && rm /root/top")
    rows = {row["name"]: row for row in rates(before, quickstart.json("metrics")).to_json()["vms"]}
    assert rows["web1"]["written"] * (rows["web1"]["writes"] > 0) > 0
    assert rows["web1"]["latency"] > 0
    assert rows["web1"]["cpu"] > rows["db1"]["cpu"]
    shown = quickstart.run("top", "--once", "--interval", "0.2").stdout.split()
    assert {"esx1", "esx2", "web1", "db1", "san1"} <= set(shown)


def test_metrics_tell_of_every_node_and_who_does_not_answer(quickstart) -> None:
    told = quickstart.json("metrics")
    assert told["silent"] == []
    metrics = {metric["name"]: [sample["labels"] for sample in metric["samples"]] for metric in told["metrics"]}
    assert {labels["node"] for labels in metrics["labctl_link_receive_bytes_total"]} == {"esx1", "esx2", "san1"}
    assert {labels["datastore"] for labels in metrics["labctl_datastore_used_bytes"]} == {"gold", "shared"}
    assert {(labels["vm"], labels["network"]) for labels in metrics["labctl_vm_nic_receive_bytes_total"]} == {
        ("web1", "production"), ("db1", "production"),
    }  # fmt: skip
    quickstart.inside("esx1", "ip", "link", "set", "vmk0", "down")
    try:
        wait_for(lambda: quickstart.json("metrics")["silent"] == ["esx1"], what="esx1's silence in the metrics")
    finally:
        quickstart.inside("esx1", "ip", "link", "set", "vmk0", "up")
        quickstart.inside("esx1", "ip", "neigh", "flush", "all")
    wait_for(lambda: quickstart.json("metrics")["silent"] == [], what="esx1's answer")
    assert "labctl_vm_cpu_seconds_total{" in quickstart.run("metrics").stdout


def test_prometheus_scrapes_metrics_on_loopback(quickstart) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [*quickstart.command, "metrics", "--lab", quickstart.name, "--listen", f"127.0.0.1:{port}"]
    with subprocess.Popen(command, env=quickstart.environment, stderr=subprocess.PIPE, text=True) as server:

        def scraped() -> str:
            with suppress(URLError), urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
                return str(answer.read().decode())
            return ""

        try:
            text = wait_for(scraped, what="an answer at /metrics")
        finally:
            server.terminate()
            said = server.communicate()[1]
    assert f"serving http://127.0.0.1:{port}/metrics" in said
    assert 'labctl_agent_up{node="san1"} 1.0' in text.splitlines()
