"""The `micro` image: Debian's (or Ubuntu's) kernel, an initramfs of busybox and drivers, and a root disk with busybox and the guest agent.

The drivers live in the initramfs, beside the kernel, and everything else on the root disk: so an old disk boots with a newer kernel, and
what the guest installs stays. What the guest is told (its name, its addresses) stands on the kernel's command line; see `guest_arguments`.
The choices of kernel arguments are measured in docs/explanation/guests.md.
"""

from __future__ import annotations

import hashlib
import platform
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

from labctl.errors import LabError
from labctl_server.image import cpio
from labctl_server.image.filesystem import make_ext4
from labctl_server.image.kernel import Modules, module_members, unpack_kernel
from labctl_server.image.libraries import LINKER, needed_libraries
from labctl_server.image.packages import fetch, resolve, unpack
from labctl_server.image.recipe import Image, Progress
from labctl_server.image.tools import run_tool

MIN_MEMORY = 96 * 2**20
ROOT_SIZE = 64 * 2**20
ROOT_LABEL = "labctl-root"

KERNEL_ARGUMENTS = " ".join(
    (
        "console=ttyS0",
        "root=/dev/vda",
        "quiet",
        "panic=-1",  # a guest that panics starts again at once
        "mitigations=off",  # nothing runs beside the guest; each mitigation costs an emulated processor time
        "cryptomgr.notests=1",
        "lsm=",
        "audit=0",
        "random.trust_cpu=on",
        "tsc=reliable",
        "no_timer_check",
        "initcall_blacklist=load_system_certificate_list,init_kprobe_trace,crypto_kdf108_init,init_encrypted",
    )
)

_KERNEL_PACKAGE = {"debian": "linux-image-cloud-amd64", "ubuntu": "linux-image-virtual"}
_PROGRAM_PACKAGES = ("busybox-static", "e2fsprogs", "qemu-guest-agent")
_PROGRAMS = {"usr/sbin/qemu-ga": "usr/sbin/qemu-ga", "sbin/resize2fs": "usr/sbin/resize2fs"}
_MODULES = {
    "base": (
        "virtio_pci",
        "virtio_blk",
        "crc32c_generic",
        "ext4",
        "virtio_net",
        "virtio_console",
        "virtio_rng",
        "button",
        "evdev",
        "virtio_balloon",
    ),
    "scsi": ("virtio_scsi", "sd_mod"),
}
_FOLDERS = (
    "bin",
    "dev",
    "etc",
    "mnt",
    "proc",
    "root",
    "run",
    "sbin",
    "srv",
    "sys",
    "tmp",
    "usr/bin",
    "usr/sbin",
    "var/lib",
)
_SBIN_APPLETS = {
    *(
        "acpid",
        "blkdiscard",
        "blockdev",
        "fdisk",
        "findfs",
        "fsfreeze",
        "fstrim",
        "getty",
        "halt",
        "httpd",
        "hwclock",
        "ifconfig",
    ),
    *(
        "init",
        "ip",
        "losetup",
        "mkswap",
        "poweroff",
        "reboot",
        "route",
        "swapoff",
        "swapon",
        "sysctl",
        "syslogd",
        "udhcpc",
    ),
}


@dataclass(frozen=True, kw_only=True)
class GuestNic:
    """What a guest is told of one of its NICs.

    Args:
        mac: by which the guest finds it, `52:54:00:12:34:56`.
        address: `10.10.0.21/24`, or None.
        gateway: `10.10.0.1`, or None.
        mtu: bytes, or None for the default.
    """

    mac: str
    address: str | None = None
    gateway: str | None = None
    mtu: int | None = None


def guest_arguments(hostname: str, nics: Sequence[GuestNic] = ()) -> str:
    """The kernel arguments that tell a micro guest who it is.

    Raises:
        LabError: a name that the kernel's command line cannot hold.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]{0,62}", hostname):
        raise LabError(f'"{hostname}" cannot be a host name', hint="use letters, digits and hyphens, at most 63")
    words = [f"labctl.hostname={hostname}"]
    for nic in nics:
        words.append(f"labctl.nic={nic.mac.lower()},{nic.address or ''},{nic.gateway or ''},{nic.mtu or ''}")
    return " ".join(words)


class MicroRecipe:
    """Builds `micro` from packages and from the files in the folder `micro`."""

    name = "micro"

    @property
    def fingerprint(self) -> str:
        """Hash of this module's constants and of the folder's files."""
        settled = repr((KERNEL_ARGUMENTS, _PROGRAMS, _MODULES, _FOLDERS, sorted(_SBIN_APPLETS), ROOT_SIZE, MIN_MEMORY))
        digest = hashlib.sha256(settled.encode())
        with as_file(_material()) as material:
            for path in _files_below(material):
                digest.update(f"{path.relative_to(material)}\0".encode() + path.read_bytes())
        return digest.hexdigest()[:16]

    def build(self, folder: Path, packages: Path, progress: Progress) -> Image:
        """See Recipe."""
        progress("resolving packages")
        fetched = fetch(resolve([kernel_package(), *_PROGRAM_PACKAGES]), packages, progress)
        with tempfile.TemporaryDirectory(dir=folder) as scratch, as_file(_material()) as material:
            tree, root = Path(scratch, "tree"), Path(scratch, "root")
            progress("unpacking packages")
            unpack(fetched, packages, tree)
            progress("taking the kernel out")
            (folder / "kernel").write_bytes(unpack_kernel(_only(tree, "boot/vmlinuz-*").read_bytes()))
            progress("packing the initramfs")
            (folder / "initrd").write_bytes(_initramfs(tree, material / "initramfs"))
            progress("making the root file system")
            _assemble_root(tree, material / "root", root)
            make_ext4(root, folder / "rootfs.raw", size=ROOT_SIZE, label=ROOT_LABEL)
        return Image(
            name=self.name,
            version="",
            recipe=self.fingerprint,
            kernel=Path("kernel"),
            initrd=Path("initrd"),
            rootfs=Path("rootfs.raw"),
            rootfs_size=ROOT_SIZE,
            min_memory=MIN_MEMORY,
            cmdline=KERNEL_ARGUMENTS,
            packages=tuple(package.file for package in fetched),
        )


def kernel_package() -> str:
    """The package that depends on this distribution's kernel for machines like ours.

    Raises:
        LabError: not a distribution that is known here.
    """
    release = platform.freedesktop_os_release()
    for name in (release["ID"], *release.get("ID_LIKE", "").split()):
        if name in _KERNEL_PACKAGE:
            return _KERNEL_PACKAGE[name]
    raise LabError(
        f"building micro needs Debian or Ubuntu, and this is {release.get('PRETTY_NAME', release['ID'])}",
        hint="build it on one and copy the image cache here, or give VMs a disk file as their image",
    )


def _material() -> Path:
    return Path(str(files("labctl_server.image"))) / "micro"


def _files_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _only(tree: Path, pattern: str) -> Path:
    found = sorted(tree.glob(pattern))
    if len(found) != 1:
        raise LabError(
            f"expected one {pattern} in the packages, found {len(found)}", hint="report it, with apt's sources"
        )
    return found[0]


def _is_script(data: bytes) -> bool:
    return data.startswith(b"#!")


def _initramfs(tree: Path, material: Path) -> bytes:
    members = {name: cpio.folder() for name in ("bin", "dev", "modules", "proc", "root", "sys")}
    members["dev/console"] = cpio.character_device(5, 1)  # the kernel opens it before /init mounts devtmpfs
    members["bin/busybox"] = cpio.file(_busybox(tree).read_bytes(), executable=True)
    modules = Modules(_module_folder(tree))
    for name, data in module_members(modules, _MODULES).items():
        members[f"modules/{name}"] = cpio.file(data)
    for path in _files_below(material):
        data = path.read_bytes()
        members[str(path.relative_to(material))] = cpio.file(data, executable=_is_script(data))
    return cpio.archive(members)


def _module_folder(tree: Path) -> Path:
    # Where /usr is merged the package says usr/lib.
    return _only(tree, "usr/lib/modules/*" if (tree / "usr/lib/modules").exists() else "lib/modules/*")


def _busybox(tree: Path) -> Path:
    return tree / "bin/busybox" if (tree / "bin/busybox").exists() else tree / "usr/bin/busybox"


def _assemble_root(tree: Path, material: Path, root: Path) -> None:
    for name in _FOLDERS:
        _place_folder(root / name)
    _place(_busybox(tree), root / "bin/busybox", executable=True)
    for applet in run_tool([_busybox(tree), "--list"]).decode().split():
        link = root / ("sbin" if applet in _SBIN_APPLETS else "bin") / applet
        if applet != "busybox":
            link.symlink_to("/bin/busybox")
    for source, target in _PROGRAMS.items():
        _place(_program(tree, source), root / target, executable=True)
    programs = [str(_program(tree, source).relative_to(tree)) for source in _PROGRAMS]
    for name, path in needed_libraries(tree, programs).items():
        _place(path, root / "lib/x86_64-linux-gnu" / name, executable=False)
    _place(_program(tree, LINKER), root / LINKER, executable=True)
    for path in _files_below(material):
        _place(path, root / path.relative_to(material), executable=_is_script(path.read_bytes()))


def _program(tree: Path, path: str) -> Path:
    return tree / path if (tree / path).exists() else tree / "usr" / path


def _place_folder(folder: Path) -> None:
    for path in reversed([folder, *folder.parents]):
        if not path.exists():
            path.mkdir()
            path.chmod(0o755)  # whatever the umask


def _place(source: Path, target: Path, *, executable: bool) -> None:
    _place_folder(target.parent)
    target.unlink(missing_ok=True)  # our own file takes the place of an applet
    shutil.copyfile(source, target)
    target.chmod(0o755 if executable else 0o644)
