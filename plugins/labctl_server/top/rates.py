"""What hosts, VMs and arrays do a second, from two of labd's answers at /v1/metrics. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

Labels = tuple[tuple[str, str], ...]


@dataclass(kw_only=True)
class HostRow:
    """A host.

    Args:
        name: its name.
        up: whether its agent answers.
        cpu: processors in use (1.5 is one and a half).
        cpus: processors that its VMs share.
        memory: bytes that VMs and agent take.
        memory_size: bytes that its VMs share.
        vms: VMs that run.
        uplink_receive, uplink_transmit: bytes a second through its vmnics.
        kernel_receive, kernel_transmit: bytes a second through its VMkernel ports.
    """

    name: str
    up: bool = True
    cpu: float = 0.0
    cpus: float = 0.0
    memory: float = 0.0
    memory_size: float = 0.0
    vms: int = 0
    uplink_receive: float = 0.0
    uplink_transmit: float = 0.0
    kernel_receive: float = 0.0
    kernel_transmit: float = 0.0


@dataclass(kw_only=True)
class VmRow:
    """A VM that runs.

    Args:
        name: its name.
        host: where it runs.
        cpu: processors in use, QEMU's own work included.
        cpus: virtual processors.
        memory: bytes that it takes of the machine.
        memory_size: bytes that the guest has.
        reads, writes: requests to its disks, a second.
        read, written: bytes a second.
        latency: seconds that a request took on average; 0 where there was none.
        receive, transmit: bytes a second through its NICs.
    """

    name: str
    host: str
    cpu: float = 0.0
    cpus: float = 0.0
    memory: float = 0.0
    memory_size: float = 0.0
    reads: float = 0.0
    writes: float = 0.0
    read: float = 0.0
    written: float = 0.0
    latency: float = 0.0
    receive: float = 0.0
    transmit: float = 0.0


@dataclass(kw_only=True)
class ArrayRow:
    """An array.

    Args:
        name: its name.
        up: whether its agent answers.
        cpu: processors in use.
        memory: bytes that it takes.
        sessions: iSCSI sessions and NFS clients.
        receive, transmit: bytes a second through its links.
    """

    name: str
    up: bool = True
    cpu: float = 0.0
    memory: float = 0.0
    sessions: int = 0
    receive: float = 0.0
    transmit: float = 0.0


@dataclass(kw_only=True)
class Rates:
    """A lab between two looks."""

    time: float
    seconds: float
    hosts: list[HostRow] = field(default_factory=list)
    vms: list[VmRow] = field(default_factory=list)
    arrays: list[ArrayRow] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return asdict(self)


class _Look:
    """One of the answers, by metric and labels."""

    def __init__(self, answer: Mapping[str, Any]) -> None:
        self.time = float(answer["time"])
        self._values: dict[str, dict[Labels, float]] = {
            metric["name"]: {
                tuple(sorted(sample["labels"].items())): float(sample["value"]) for sample in metric["samples"]
            }
            for metric in answer["metrics"]
        }

    def of(self, name: str) -> Mapping[Labels, float]:
        """A metric's values."""
        return self._values.get(name, {})


class _Pair:
    """Two looks, the later one last."""

    def __init__(self, before: _Look, after: _Look) -> None:
        self._before = before
        self.after = after
        self.seconds = max(after.time - before.time, 1e-3)

    def gauges(self, name: str, label: str) -> dict[str, float]:
        """A gauge's values by one label, added up."""
        found: dict[str, float] = defaultdict(float)
        for labels, value in self.after.of(name).items():
            found[dict(labels).get(label, "")] += value
        return found

    def rises(self, name: str, label: str, *, only: tuple[str, str] | None = None) -> dict[str, float]:
        """By how much a counter rose, by one label, added up. One that fell began anew with what it counts.

        Args:
            name: the metric's.
            label: what to add up by.
            only: a label, and what its value must begin with.
        """
        found: dict[str, float] = defaultdict(float)
        known = self._before.of(name)
        for labels, value in self.after.of(name).items():
            named = dict(labels)
            if only is not None and not named.get(only[0], "").startswith(only[1]):
                continue
            before = known.get(labels)
            if before is not None:  # what is new has had no second yet
                found[named.get(label, "")] += value - before if value >= before else value
        return found

    def rates(self, name: str, label: str, *, only: tuple[str, str] | None = None) -> dict[str, float]:
        """The same a second."""
        return {key: rise / self.seconds for key, rise in self.rises(name, label, only=only).items()}


def rates(before: Mapping[str, Any], after: Mapping[str, Any]) -> Rates:
    """What was done between two answers of labd at /v1/metrics."""
    pair = _Pair(_Look(before), _Look(after))
    up = pair.gauges("labctl_agent_up", "node")
    found = Rates(time=pair.after.time, seconds=pair.seconds)
    states = [dict(labels) for labels in pair.after.of("labctl_resource_state")]
    names = {kind: sorted(each["name"] for each in states if each["kind"] == kind) for kind in ("host", "array")}
    found.hosts = [HostRow(name=name, up=bool(up.get(name))) for name in names["host"]]
    found.arrays = [ArrayRow(name=name, up=bool(up.get(name))) for name in names["array"]]
    _fill_hosts(pair, found.hosts)
    found.vms = _vms(pair)
    _fill_arrays(pair, found.arrays)
    return found


def _fill_hosts(pair: _Pair, rows: list[HostRow]) -> None:
    columns = {
        "cpu": pair.rates("labctl_host_cpu_seconds_total", "host"),
        "cpus": pair.gauges("labctl_host_cpus", "host"),
        "memory": pair.gauges("labctl_host_memory_used_bytes", "host"),
        "memory_size": pair.gauges("labctl_host_memory_bytes", "host"),
    }
    for ports, prefix in (("uplink", "vmnic"), ("kernel", "vmk")):
        for way in ("receive", "transmit"):
            name = f"labctl_link_{way}_bytes_total"
            columns[f"{ports}_{way}"] = pair.rates(name, "node", only=("link", prefix))
    running = pair.gauges("labctl_vm_running", "host")
    for row in rows:
        row.vms = int(running.get(row.name, 0))
        _fill(row, columns)


def _vms(pair: _Pair) -> list[VmRow]:
    columns = {
        "cpu": pair.rates("labctl_vm_cpu_seconds_total", "vm"),
        "cpus": pair.gauges("labctl_vm_cpus", "vm"),
        "memory": pair.gauges("labctl_vm_memory_used_bytes", "vm"),
        "memory_size": pair.gauges("labctl_vm_memory_bytes", "vm"),
        "reads": pair.rates("labctl_vm_disk_reads_total", "vm"),
        "writes": pair.rates("labctl_vm_disk_writes_total", "vm"),
        "read": pair.rates("labctl_vm_disk_read_bytes_total", "vm"),
        "written": pair.rates("labctl_vm_disk_written_bytes_total", "vm"),
        "receive": pair.rates("labctl_vm_nic_receive_bytes_total", "vm"),
        "transmit": pair.rates("labctl_vm_nic_transmit_bytes_total", "vm"),
    }
    waited = [pair.rates(f"labctl_vm_disk_{way}_seconds_total", "vm") for way in ("read", "write")]
    rows = []
    for labels, running in sorted(pair.after.of("labctl_vm_running").items()):
        if not running:
            continue
        named = dict(labels)
        row = VmRow(name=named["vm"], host=named["host"])
        _fill(row, columns)
        requests = row.reads + row.writes
        row.latency = sum(each.get(row.name, 0.0) for each in waited) / requests if requests else 0.0
        rows.append(row)
    return rows


def _fill_arrays(pair: _Pair, rows: list[ArrayRow]) -> None:
    columns = {
        "cpu": pair.rates("labctl_array_cpu_seconds_total", "array"),
        "memory": pair.gauges("labctl_array_memory_used_bytes", "array"),
        "receive": pair.rates("labctl_link_receive_bytes_total", "node"),
        "transmit": pair.rates("labctl_link_transmit_bytes_total", "node"),
    }
    sessions = pair.gauges("labctl_array_sessions", "array")
    for row in rows:
        row.sessions = int(sessions.get(row.name, 0))
        _fill(row, columns)


def _fill(row: HostRow | VmRow | ArrayRow, columns: Mapping[str, Mapping[str, float]]) -> None:
    for column, values in columns.items():
        setattr(row, column, values.get(row.name, 0.0))
