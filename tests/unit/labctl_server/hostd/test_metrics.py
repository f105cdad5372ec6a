"""A host's metrics, of VMs that come, answer, do not answer, and go."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from labctl.errors import NotRunningError
from labctl_server.hostd.metrics import HostMetrics

STATISTICS = [
    {"qdev": "/machine/peripheral/disk0-device/virtio-backend", "stats": {"rd_bytes": 4096, "wr_total_time_ns": 5}},
    {"qdev": "disk1-device", "stats": {"rd_bytes": 1}},
    {"node-name": "disk0-file", "stats": {"rd_bytes": 9}},
]

WORK = """
import sys, time
while time.process_time() < 0.3:
    pass
print("x", flush=True)
sys.stdin.read()
"""


class Monitor:
    async def execute(self, command: str, *, timeout: float) -> Any:
        assert command == "query-blockstats"
        return STATISTICS


class Vm:
    def __init__(self, name: str, pid: int | None) -> None:
        self.name = name
        self.pid = pid

    def status(self) -> dict[str, object]:
        return {"pid": self.pid, "cpus": 1, "memory": 1 << 27, "addresses": {}}

    def monitor(self) -> Monitor:
        if self.name != "web1":
            raise NotRunningError("its monitor does not answer")
        return Monitor()


async def values(metrics: HostMetrics) -> dict[tuple[str, ...], float]:
    return {
        (metric.name, *(text for label, text in labels.items() if label != "host")): value
        for metric in await metrics.collect()
        for labels, value in metric.samples
    }


@pytest.fixture
def worker():
    with subprocess.Popen([sys.executable, "-c", WORK], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        yield process
        process.communicate(b"")


async def test_disks_are_named_after_their_devices_and_a_vm_that_does_not_answer_has_none(worker) -> None:
    vms = {vm.name: vm for vm in (Vm("web1", worker.pid), Vm("mute", worker.pid), Vm("off1", None))}
    found = await values(HostMetrics("esx1", cpus=2, memory=1 << 30, vms=vms))  # type: ignore[arg-type]
    assert found["labctl_vm_disk_read_bytes_total", "web1", "disk0"] == 4096
    assert found["labctl_vm_disk_read_bytes_total", "web1", "disk1"] == 1
    assert found["labctl_vm_disk_write_seconds_total", "web1", "disk0"] == 5e-9
    assert [key for key in found if key[0] == "labctl_vm_disk_reads_total" and key[1] != "web1"] == []
    assert (found["labctl_vm_running", "mute"], found["labctl_vm_running", "off1"]) == (1, 0)
    assert found["labctl_vm_cpu_seconds_total", "web1"] > 0.2
    assert ("labctl_vm_cpu_seconds_total", "off1") not in found


async def test_a_hosts_processor_time_does_not_fall_when_a_vm_ends(worker) -> None:
    vm = Vm("web1", worker.pid)
    metrics = HostMetrics("esx1", cpus=2, memory=1 << 30, vms={"web1": vm})  # type: ignore[dict-item]
    before = (await values(metrics))["labctl_host_cpu_seconds_total",]
    vm.pid = None
    after = (await values(metrics))["labctl_host_cpu_seconds_total",]
    assert after >= before > 0.2
