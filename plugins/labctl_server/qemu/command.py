"""Turns a specification into QEMU's command line. Pure: the same specification gives the same arguments.

Rules. Nothing that is not asked for exists (-nodefaults, no configuration files). Disks and devices are given as JSON, in the very words
of QMP's blockdev-add and device_add, so that a device plugged in later is made by the same functions. QEMU stays in the foreground: who
starts it supervises it.

Faults. QEMU's iSCSI and NFS drivers reconnect without limit and send again what was unanswered, so a target that restarts shows
the guest a pause, never an error. What a target does answer with an error is the guest's to see, as on a real host; only "out of
space" pauses the VM, so that a thin datastore can be grown and the VM carries on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from labctl.errors import LabError
from labctl.model.json import JsonObject
from labctl_server.qemu.spec import (
    MAX_DISKS,
    MAX_NICS,
    Backend,
    DiskSpec,
    FileBackend,
    IscsiBackend,
    NfsBackend,
    NicSpec,
    VmSpec,
)

QEMU = "qemu-system-x86_64"
AGENT_PORT_NAME = "org.qemu.guest_agent.0"
BUS = "pci.0"

TRANSLATION_CACHE_MIB = 24
"""QEMU's default is 1 GiB, of which a small guest would fill far more than it gains from; measured in docs/explanation/guests.md."""

_RNG_SLOT = 0x03
_SERIAL_SLOT = 0x04
_BALLOON_SLOT = 0x05
_FIRST_DISK_SLOT = 0x08
_FIRST_NIC_SLOT = 0x18
_SOCKET_PATH_LIMIT = 107  # sun_path, less its terminator
_SERIAL_LIMIT = 20  # VIRTIO_BLK_ID_BYTES; QEMU refuses none, and cuts


def qemu_command(spec: VmSpec, program: str = QEMU) -> list[str]:
    """The arguments, program included.

    Raises:
        LabError: the specification asks for what QEMU cannot do.
    """
    _check(spec)
    argv = [program, "-name", f"guest={spec.name},debug-threads=on", "-uuid", str(spec.uuid)]
    argv += ["-no-user-config", "-nodefaults", "-display", "none", "-msg", "timestamp=on"]
    argv += ["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"]
    argv += ["-machine", "pc,usb=off,vmport=off,dump-guest-core=off", *_processor(spec)]
    argv += ["-m", f"size={spec.memory // 1024}k", "-rtc", "base=utc", "-boot", "strict=on"]
    argv += ["-pidfile", str(spec.run.pidfile), *_channels(spec)]
    if spec.kernel is not None:
        argv += ["-kernel", str(spec.kernel.kernel), "-append", spec.kernel.cmdline]
        if spec.kernel.initrd is not None:
            argv += ["-initrd", str(spec.kernel.initrd)]
    for disk in spec.disks:
        for node in blockdevs(disk):
            argv += ["-blockdev", _json(node)]
        argv += ["-device", _json(disk_device(disk))]
    for nic in spec.nics:
        argv += ["-netdev", netdev(nic), "-device", _json(nic_device(nic))]
    if spec.incoming:
        argv += ["-S", "-incoming", "defer"]  # who steers the migration says when it may run
    return argv


def blockdevs(disk: DiskSpec) -> list[JsonObject]:
    """The block nodes of a disk, each for -blockdev or blockdev-add, the one that a device uses last.

    Discards go through to the storage and written zeroes become holes, so that thin disks stay thin.
    """
    common: JsonObject = {"discard": "unmap", "detect-zeroes": "unmap", "read-only": disk.read_only}
    protocol = _protocol(disk.backend)
    disk_format = "raw" if isinstance(disk.backend, IscsiBackend) else disk.backend.format
    if disk_format == "raw":
        return [{**protocol, **common, "node-name": disk.id}]
    file_node = f"{disk.id}-file"
    return [
        {**protocol, "discard": "unmap", "read-only": disk.read_only, "node-name": file_node},
        {"driver": disk_format, "file": file_node, **common, "node-name": disk.id},
    ]


def renewal(disk: DiskSpec) -> list[tuple[str, JsonObject]]:
    """The QMP commands that open a disk's file anew below its format, where that is needed after a migration.

    QEMU's NFS driver asks for a file's length once, when it opens it, and reads beyond that as zeroes. The source has let a qcow2 file
    grow since then.
    """
    if not isinstance(disk.backend, NfsBackend) or disk.backend.format == "raw":
        return []
    file_node, format_node = blockdevs(disk)
    fresh = f"{disk.id}-renewed"
    return [
        ("blockdev-add", {**file_node, "node-name": fresh}),
        ("blockdev-reopen", {"options": [{**format_node, "file": fresh}]}),
        ("blockdev-del", {"node-name": str(file_node["node-name"])}),
    ]


def _protocol(backend: Backend) -> JsonObject:
    match backend:
        case IscsiBackend():
            return {
                "driver": "iscsi",
                "transport": "tcp",
                "portal": backend.portal,
                "target": backend.target,
                "lun": backend.lun,
                "initiator-name": backend.initiator,
            }
        case NfsBackend():
            return {"driver": "nfs", "server": {"type": "inet", "host": backend.server}, "path": backend.path}
        case FileBackend():
            return {"driver": "file", "filename": str(backend.path), "aio": "threads"}


def disk_device(disk: DiskSpec) -> JsonObject:
    """The disk's device, for -device or device_add.

    The guest sees a volatile write cache and its flushes are honoured: what it has not flushed may be lost, what it has may not.
    """
    device: dict[str, str | bool] = {
        "driver": "virtio-blk-pci",
        "id": f"{disk.id}-device",
        "drive": disk.id,
        "bus": BUS,
        "addr": hex(_FIRST_DISK_SLOT + disk.slot),
        "serial": disk.serial,
        "discard": True,
        "werror": "enospc",
        "rerror": "report",
    }
    if not disk.read_only:
        device["write-cache"] = "on"
    return device


def netdev(nic: NicSpec) -> str:
    """The NIC's host side, for -netdev."""
    return f"tap,id={nic.id},ifname={nic.interface},script=no,downscript=no"


def nic_device(nic: NicSpec) -> JsonObject:
    """The NIC's device, for -device or device_add. It has no boot ROM: guests do not boot from the network."""
    device: dict[str, str | int] = {
        "driver": "virtio-net-pci",
        "id": f"{nic.id}-device",
        "netdev": nic.id,
        "bus": BUS,
        "addr": hex(_FIRST_NIC_SLOT + nic.slot),
        "mac": nic.mac,
        "romfile": "",
    }
    if nic.mtu is not None:
        device["host_mtu"] = nic.mtu
    return device


def _processor(spec: VmSpec) -> list[str]:
    if spec.accel == "kvm":
        accel, cpu = "kvm", "host"
    else:
        accel, cpu = f"tcg,thread=multi,tb-size={TRANSLATION_CACHE_MIB}", "max"
    return ["-accel", accel, "-cpu", cpu, "-smp", f"cpus={spec.cpus},sockets=1,cores={spec.cpus},threads=1"]


def _channels(spec: VmSpec) -> list[str]:
    run = spec.run
    return [
        *("-chardev", _socket("qmp", run.qmp), "-mon", "chardev=qmp,mode=control"),
        *("-chardev", f"{_socket('console', run.console)},logfile={_quoted(run.console_log)},logappend=on"),
        *("-device", _json({"driver": "isa-serial", "chardev": "console"})),
        *("-object", _json({"qom-type": "rng-builtin", "id": "rng"})),
        *("-device", _json({"driver": "virtio-rng-pci", "rng": "rng", "bus": BUS, "addr": hex(_RNG_SLOT)})),
        *("-device", _json(_balloon())),
        *("-device", _json({"driver": "virtio-serial-pci", "id": "ports", "bus": BUS, "addr": hex(_SERIAL_SLOT)})),
        *("-chardev", _socket("agent", run.agent)),
        *(
            "-device",
            _json({"driver": "virtserialport", "bus": "ports.0", "chardev": "agent", "name": AGENT_PORT_NAME}),
        ),
    ]


def _balloon() -> JsonObject:
    """Takes memory from the guest when asked, and gives back to the machine at all times what the guest has freed."""
    return {
        "driver": "virtio-balloon-pci",
        "id": "balloon",
        "bus": BUS,
        "addr": hex(_BALLOON_SLOT),
        "free-page-reporting": True,
    }


def _socket(name: str, path: Path) -> str:
    return f"socket,id={name},path={_quoted(path)},server=on,wait=off"


def _quoted(path: Path) -> str:
    return str(path).replace(",", ",,")


def _json(value: Mapping[str, object]) -> str:
    return json.dumps(value, separators=(",", ":"))


def _check(spec: VmSpec) -> None:
    slots = [device.slot for device in spec.disks]
    nic_slots = [device.slot for device in spec.nics]
    if len(set(slots)) < len(slots) or len(set(nic_slots)) < len(nic_slots):
        raise LabError(f"VM {spec.name}: two devices share a slot")
    if any(not 0 <= slot < MAX_DISKS for slot in slots):
        raise LabError(f"VM {spec.name}: too many disks", hint=f"a VM has at most {MAX_DISKS}")
    if any(not 0 <= slot < MAX_NICS for slot in nic_slots):
        raise LabError(f"VM {spec.name}: too many NICs", hint=f"a VM has at most {MAX_NICS}")
    longest = spec.run.console  # console.sock has the longest name
    if len(str(longest).encode()) > _SOCKET_PATH_LIMIT:
        raise LabError(
            f"VM {spec.name}: {longest} is too long for a socket", hint="use a shorter lab name or state folder"
        )
    for disk in spec.disks:
        if len(disk.serial) > _SERIAL_LIMIT:
            raise LabError(f'VM {spec.name}: disk serial "{disk.serial}" is over {_SERIAL_LIMIT} characters')
