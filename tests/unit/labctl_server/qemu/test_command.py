"""QEMU's command line, word by word."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from labctl.errors import LabError
from labctl_server.qemu.command import blockdevs, disk_device, qemu_command, renewal
from labctl_server.qemu.spec import (
    DiskSpec,
    FileBackend,
    IscsiBackend,
    KernelSpec,
    NfsBackend,
    NicSpec,
    RunFolder,
    VmSpec,
)

RUN = RunFolder(Path("/run/lab/web1"))
ISCSI = IscsiBackend(portal="10.20.0.21:3260", target="iqn.2024-01.lab:gold", lun=3, initiator="iqn.2024-01.lab:esx1")
NFS = NfsBackend(server="10.20.0.21", path="/shared/db1-disk0.qcow2", format="qcow2")
VM = VmSpec(
    name="web1",
    uuid=UUID("6f1de2c4-6d5c-4b57-9d0c-0123456789ab"),
    memory=128 * 2**20,
    cpus=2,
    accel="tcg",
    run=RUN,
    disks=(DiskSpec(slot=0, backend=ISCSI, serial="web1-disk0"), DiskSpec(slot=1, backend=NFS, serial="web1-disk1")),
    nics=(NicSpec(slot=0, interface="tap-web1-0", mac="52:54:00:00:00:01", mtu=9000),),
    kernel=KernelSpec(kernel=Path("/img/kernel"), initrd=Path("/img/initrd"), cmdline="console=ttyS0"),
)

GOLDEN = """\
qemu-system-x86_64
-name guest=web1,debug-threads=on
-uuid 6f1de2c4-6d5c-4b57-9d0c-0123456789ab
-no-user-config
-nodefaults
-display none
-msg timestamp=on
-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny
-machine pc,usb=off,vmport=off,dump-guest-core=off
-accel tcg,thread=multi,tb-size=24
-cpu max
-smp cpus=2,sockets=1,cores=2,threads=1
-m size=131072k
-rtc base=utc
-boot strict=on
-pidfile /run/lab/web1/qemu.pid
-chardev socket,id=qmp,path=/run/lab/web1/qmp.sock,server=on,wait=off
-mon chardev=qmp,mode=control
-chardev socket,id=console,path=/run/lab/web1/console.sock,server=on,wait=off,logfile=/run/lab/web1/console.log,logappend=on
-device {"driver":"isa-serial","chardev":"console"}
-object {"qom-type":"rng-builtin","id":"rng"}
-device {"driver":"virtio-rng-pci","rng":"rng","bus":"pci.0","addr":"0x3"}
-device {"driver":"virtio-balloon-pci","id":"balloon","bus":"pci.0","addr":"0x5","free-page-reporting":true}
-device {"driver":"virtio-serial-pci","id":"ports","bus":"pci.0","addr":"0x4"}
-chardev socket,id=agent,path=/run/lab/web1/agent.sock,server=on,wait=off
-device {"driver":"virtserialport","bus":"ports.0","chardev":"agent","name":"org.qemu.guest_agent.0"}
-kernel /img/kernel
-append console=ttyS0
-initrd /img/initrd
-blockdev {"driver":"iscsi","transport":"tcp","portal":"10.20.0.21:3260","target":"iqn.2024-01.lab:gold","lun":3,\
"initiator-name":"iqn.2024-01.lab:esx1","discard":"unmap","detect-zeroes":"unmap","read-only":false,"node-name":"disk0"}
-device {"driver":"virtio-blk-pci","id":"disk0-device","drive":"disk0","bus":"pci.0","addr":"0x8","serial":"web1-disk0",\
"discard":true,"werror":"enospc","rerror":"report","write-cache":"on"}
-blockdev {"driver":"nfs","server":{"type":"inet","host":"10.20.0.21"},"path":"/shared/db1-disk0.qcow2","discard":"unmap",\
"read-only":false,"node-name":"disk1-file"}
-blockdev {"driver":"qcow2","file":"disk1-file","discard":"unmap","detect-zeroes":"unmap","read-only":false,"node-name":"disk1"}
-device {"driver":"virtio-blk-pci","id":"disk1-device","drive":"disk1","bus":"pci.0","addr":"0x9","serial":"web1-disk1",\
"discard":true,"werror":"enospc","rerror":"report","write-cache":"on"}
-netdev tap,id=nic0,ifname=tap-web1-0,script=no,downscript=no
-device {"driver":"virtio-net-pci","id":"nic0-device","netdev":"nic0","bus":"pci.0","addr":"0x18","mac":"52:54:00:00:00:01",\
"romfile":"","host_mtu":9000}
"""


def as_lines(argv: list[str]) -> str:
    """One option with its value a line."""
    return "".join(f"\n{word}" if word.startswith("-") else f" {word}" for word in argv).lstrip() + "\n"


def test_the_whole_command_line_is_as_written_down() -> None:
    assert as_lines(qemu_command(VM)) == GOLDEN


def test_kvm_gives_the_machines_own_processor() -> None:
    argv = qemu_command(replace(VM, accel="kvm"))
    assert argv[argv.index("-accel") + 1] == "kvm"
    assert argv[argv.index("-cpu") + 1] == "host"


def test_a_migrations_destination_waits() -> None:
    assert qemu_command(replace(VM, incoming=True))[-3:] == ["-S", "-incoming", "defer"]


def test_a_qcow2_file_on_nfs_is_opened_anew_after_a_migration() -> None:
    """QEMU keeps the length that a file on NFS had when it was opened, and reads zeroes beyond."""
    lun, file = VM.disks
    steps = renewal(file)
    assert [command for command, _ in steps] == ["blockdev-add", "blockdev-reopen", "blockdev-del"]
    assert steps[0][1] == {**blockdevs(file)[0], "node-name": "disk1-renewed"}
    assert steps[1][1] == {"options": [{**blockdevs(file)[1], "file": "disk1-renewed"}]}
    assert steps[2][1] == {"node-name": "disk1-file"}
    assert not renewal(lun)
    assert not renewal(replace(file, backend=replace(NFS, format="raw")))


def test_a_vm_without_kernel_boots_from_its_disk() -> None:
    argv = qemu_command(replace(VM, kernel=None))
    assert not {"-kernel", "-append", "-initrd"} & set(argv)


def test_a_raw_file_is_one_node_and_read_only_reaches_it() -> None:
    disk = DiskSpec(slot=2, backend=FileBackend(path=Path("/d.raw"), format="raw"), serial="s", read_only=True)
    [node] = blockdevs(disk)
    assert (node["driver"], node["filename"], node["read-only"], node["node-name"]) == ("file", "/d.raw", True, "disk2")
    assert "write-cache" not in disk_device(disk)


def test_a_comma_in_a_path_stays_part_of_the_path() -> None:
    argv = qemu_command(replace(VM, run=RunFolder(Path("/run/a,b"))))
    assert "socket,id=qmp,path=/run/a,,b/qmp.sock,server=on,wait=off" in argv


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"disks": (VM.disks[0], VM.disks[0])}, "two devices share a slot"),
        ({"nics": (VM.nics[0], VM.nics[0])}, "two devices share a slot"),
        ({"disks": (replace(VM.disks[0], slot=16),)}, "too many disks"),
        ({"nics": (replace(VM.nics[0], slot=8),)}, "too many NICs"),
        ({"disks": (replace(VM.disks[0], serial="x" * 21),)}, "over 20 characters"),
        ({"run": RunFolder(Path("/run/" + "x" * 100))}, "too long for a socket"),
    ],
)
def test_what_qemu_cannot_do_is_refused_by_name(change: dict[str, object], words: str) -> None:
    with pytest.raises(LabError, match=words) as caught:
        qemu_command(replace(VM, **change))  # type: ignore[arg-type]
    assert "web1" in caught.value.message
