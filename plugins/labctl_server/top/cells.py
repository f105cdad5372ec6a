"""Numbers as a screen of few columns shows them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from labctl_server.top.rates import ArrayRow, HostRow, VmRow

_PREFIXES = ("", "k", "M", "G", "T")


def count(value: float) -> str:
    """A number a second: `0`, `12`, `3.4k`."""
    return _scaled(value, 1000)


def volume(value: float) -> str:
    """Bytes a second: `512`, `1.2M`, by thousands as links are counted."""
    return _scaled(value, 1000)


def size(value: float) -> str:
    """Bytes of memory: `145M`, by 1024."""
    return _scaled(value, 1024)


def share(value: float, of: float) -> str:
    """A part of a whole: `37%`."""
    return f"{100 * value / of:.0f}%" if of else "-"


def milliseconds(seconds: float) -> str:
    """`0.42`, `13`; `-` for none."""
    if not seconds:
        return "-"
    return f"{1000 * seconds:.2f}" if seconds < 0.01 else f"{1000 * seconds:.0f}"


def _scaled(value: float, step: int) -> str:
    for prefix in _PREFIXES[:-1]:
        if value < step - 0.5:
            return f"{value:.1f}{prefix}" if prefix and value < 10 else f"{value:.0f}{prefix}"
        value /= step
    return f"{value:.1f}{_PREFIXES[-1]}"


HOST_COLUMNS = ("host", "", "cpu", "memory", "vms", "vmnic rx/s", "vmnic tx/s", "vmk rx/s", "vmk tx/s")
VM_COLUMNS = (
    "vm", "host", "cpu", "memory", "reads/s", "writes/s", "read B/s", "written B/s", "ms", "nic rx/s", "nic tx/s",
)  # fmt: skip
ARRAY_COLUMNS = ("array", "", "cpu", "memory", "sessions", "rx/s", "tx/s")


def host_cells(row: HostRow) -> tuple[str, ...]:
    """A host's line."""
    if not row.up:
        return (row.name, "not responding", *("",) * (len(HOST_COLUMNS) - 2))
    ports = (row.uplink_receive, row.uplink_transmit, row.kernel_receive, row.kernel_transmit)
    memory = f"{size(row.memory)}/{size(row.memory_size)}"
    return (row.name, "", share(row.cpu, row.cpus), memory, str(row.vms), *map(volume, ports))


def vm_cells(row: VmRow) -> tuple[str, ...]:
    """A VM's line."""
    return (
        row.name, row.host, share(row.cpu, row.cpus), size(row.memory), count(row.reads), count(row.writes),
        volume(row.read), volume(row.written), milliseconds(row.latency), volume(row.receive), volume(row.transmit),
    )  # fmt: skip


def array_cells(row: ArrayRow) -> tuple[str, ...]:
    """An array's line."""
    if not row.up:
        return (row.name, "not responding", *("",) * (len(ARRAY_COLUMNS) - 2))
    return (
        row.name,
        "",
        share(row.cpu, 1.0),
        size(row.memory),
        str(row.sessions),
        *map(volume, (row.receive, row.transmit)),
    )


ORDERS: dict[str, Callable[[VmRow], float]] = {
    "cpu": lambda row: row.cpu,
    "memory": lambda row: row.memory,
    "disk": lambda row: row.read + row.written,
    "network": lambda row: row.receive + row.transmit,
    "latency": lambda row: row.latency,
}
"""What VMs can be sorted by, most first."""


def sorted_vms(rows: Sequence[VmRow], order: str) -> list[VmRow]:
    """VMs, most of `order` first; those alike by name."""
    return sorted(rows, key=lambda row: (-ORDERS[order](row), row.name))
