"""A host's metrics: processor and memory of the host and its VMs, their disks as QEMU counts them, their NICs, the host's links."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from labctl.agent.metrics import add_link, add_links
from labctl.contracts.metrics import Metrics
from labctl.errors import LabError
from labctl.linux.usage import LinkUsage, link_usage, process_usage
from labctl_server.hostd.taps import tap_name
from labctl_server.hostd.vm import Vm

_DISK = (
    ("read_bytes_total", "rd_bytes", 1.0, "Bytes read by the guest"),
    ("written_bytes_total", "wr_bytes", 1.0, "Bytes written by the guest"),
    ("reads_total", "rd_operations", 1.0, "Reads completed"),
    ("writes_total", "wr_operations", 1.0, "Writes completed"),
    ("flushes_total", "flush_operations", 1.0, "Flushes completed"),
    ("read_seconds_total", "rd_total_time_ns", 1e-9, "Seconds that reads took, added up"),
    ("write_seconds_total", "wr_total_time_ns", 1e-9, "Seconds that writes took, added up"),
)
"""Metric, its name in QEMU's BlockDeviceStats (qapi/block-core.json), what makes it a base unit, and its meaning."""


_MONITOR_DEADLINE: Final = 1.0
"""Seconds for QEMU's answer; one that is busy with other things has no disk metrics for once."""


class HostMetrics:
    """Tells a host's metrics.

    Args:
        host: its name.
        cpus: processors that its VMs share.
        memory: bytes that its VMs share.
        vms: by name; as they are when asked for.
    """

    def __init__(self, host: str, *, cpus: int, memory: int, vms: Mapping[str, Vm]) -> None:
        self._host = host
        self._cpus = cpus
        self._memory = memory
        self._vms = vms
        self._ended = 0.0  # seconds of processor time of VMs that no longer run
        self._last: dict[int, float] = {}

    async def collect(self) -> Metrics:
        """All of them, as they are now."""
        metrics = Metrics()
        metrics.gauge("labctl_host_cpus", "Processors that the host's VMs share", self._cpus, host=self._host)
        metrics.gauge("labctl_host_memory_bytes", "Memory that the host's VMs share", self._memory, host=self._host)
        links = dict(link_usage())
        used, taken = self._machines(metrics, links)
        metrics.counter(
            "labctl_host_cpu_seconds_total", "Processor time of the host's VMs and agent", used, host=self._host
        )
        metrics.gauge("labctl_host_memory_used_bytes", "Memory that VMs and agent take", taken, host=self._host)
        add_links(metrics, self._host, links)
        await asyncio.gather(*(self._disks(metrics, vm) for vm in list(self._vms.values())))
        return metrics

    def _machines(self, metrics: Metrics, links: dict[str, LinkUsage]) -> tuple[float, int]:
        """Each VM's own, whose NICs are taken out of the links; returns processor time and memory of all, and of this process."""
        own = process_usage(os.getpid())
        cpu, memory = (own.cpu, own.memory) if own else (0.0, 0)
        now: dict[int, float] = {}
        for vm in self._vms.values():
            status = vm.status()
            labels = {"host": self._host, "vm": vm.name}
            pid = status["pid"]
            metrics.gauge("labctl_vm_running", "Whether the VM runs", float(pid is not None), **labels)
            usage = process_usage(pid) if isinstance(pid, int) else None
            if usage is None or not isinstance(pid, int):
                continue
            now[pid] = usage.cpu
            memory += usage.memory
            metrics.gauge("labctl_vm_cpus", "Virtual processors", _number(status["cpus"]), **labels)
            metrics.gauge("labctl_vm_memory_bytes", "Memory that the guest has", _number(status["memory"]), **labels)
            metrics.counter("labctl_vm_cpu_seconds_total", "Processor time of the VM", usage.cpu, **labels)
            metrics.gauge(
                "labctl_vm_memory_used_bytes", "Memory that the VM takes of the machine", usage.memory, **labels
            )
            networks = status["addresses"]
            for index, network in enumerate(networks if isinstance(networks, dict) else ()):
                link = links.pop(tap_name(vm.name, index), None)
                if link is not None:
                    add_link(metrics, "labctl_vm_nic", link, {**labels, "network": network}, far_end=True)
        self._ended += sum(seconds for pid, seconds in self._last.items() if pid not in now)
        self._last = now
        return cpu + self._ended + sum(now.values()), memory

    async def _disks(self, metrics: Metrics, vm: Vm) -> None:
        """Each disk's counters; none of a VM that does not run, or whose QEMU does not answer."""
        with suppress(LabError):
            for each in await vm.monitor().execute("query-blockstats", timeout=_MONITOR_DEADLINE):
                disk = _disk_of(each)
                for metric, key, unit, meaning in _DISK if disk else ():
                    value = each["stats"].get(key, 0) * unit
                    metrics.counter(f"labctl_vm_disk_{metric}", meaning, value, host=self._host, vm=vm.name, disk=disk)


def _disk_of(stats: Mapping[str, Any]) -> str:
    """The disk of BlockStats (qapi/block-core.json), by its device: `disk0`; empty for what is no disk."""
    found = re.search(r"(?:^|/)([^/]+)-device(?:/|$)", str(stats.get("qdev", "")))
    return found[1] if found else ""


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0
