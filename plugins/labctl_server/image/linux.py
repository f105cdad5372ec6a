"""Builds a small Linux guest from a distribution's packages: a kernel, an initramfs of busybox and drivers, and a root disk.

The drivers live in the initramfs, beside the kernel, and everything else on the root disk: so an old disk boots with a newer kernel, and
what the guest installs stays. What the guest is told (its name, its addresses) stands on the kernel's command line; see guest.py.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
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

ROOT_LABEL = "labctl-root"

_KERNEL_PACKAGE = {"debian": "linux-image-cloud-amd64", "ubuntu": "linux-image-virtual"}
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


_UNUSED = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/lintian", "usr/share/bash-completion")


@dataclass(frozen=True, kw_only=True)
class LinuxRecipe:
    """Builds one image.

    Args:
        name: the image's.
        material: folders beside this module whose files go into the image: `initramfs` and `root` below each; later ones win.
        programs: single programs to take from packages: the program's path to where it goes.
        packages: the packages that those are in.
        whole: packages that go into the image with every file and every library that they need, but for documentation.
        modules: sets of kernel modules; `base` is always loaded, others as init says.
        root_size: bytes.
        arguments: of the kernel.
    """

    name: str
    material: tuple[str, ...]
    programs: Mapping[str, str]
    packages: tuple[str, ...]
    modules: Mapping[str, tuple[str, ...]]
    root_size: int
    arguments: str
    whole: tuple[str, ...] = field(default=())

    @property
    def fingerprint(self) -> str:
        """Hash of the recipe, of this module's constants and of the folders' files."""
        settled = repr((self, _FOLDERS, sorted(_SBIN_APPLETS), _UNUSED))
        digest = hashlib.sha256(settled.encode())
        for name in self.material:
            with as_file(_material(name)) as material:
                for path in _files_below(material):
                    digest.update(f"{path.relative_to(material)}\0".encode() + path.read_bytes())
        return digest.hexdigest()[:16]

    def build(self, folder: Path, packages: Path, progress: Progress) -> Image:
        """See Recipe."""
        progress("resolving packages")
        fetched = fetch(resolve([kernel_package(), *self.packages, *self.whole]), packages, progress)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            tree, root = Path(scratch, "tree"), Path(scratch, "root")
            progress("unpacking packages")
            unpack(fetched, packages, tree)
            root.mkdir()
            if self.whole:
                unpack((package for package in fetched if not package.file.startswith("linux-")), packages, root)
            progress("taking the kernel out")
            (folder / "kernel").write_bytes(unpack_kernel(_only(tree, "boot/vmlinuz-*").read_bytes()))
            progress("packing the initramfs")
            (folder / "initrd").write_bytes(self._initramfs(tree))
            progress("making the root file system")
            self._assemble_root(tree, root)
            make_ext4(root, folder / "rootfs.raw", size=self.root_size, label=ROOT_LABEL)
        return Image(
            name=self.name,
            version="",
            recipe=self.fingerprint,
            kernel=Path("kernel"),
            initrd=Path("initrd"),
            rootfs=Path("rootfs.raw"),
            rootfs_size=self.root_size,
            cmdline=self.arguments,
            packages=tuple(package.file for package in fetched),
        )

    def _initramfs(self, tree: Path) -> bytes:
        members = {name: cpio.folder() for name in ("bin", "dev", "modules", "proc", "root", "sys")}
        members["dev/console"] = cpio.character_device(5, 1)  # the kernel opens it before /init mounts devtmpfs
        members["bin/busybox"] = cpio.file(_busybox(tree).read_bytes(), executable=True)
        for name, data in module_members(Modules(_module_folder(tree)), self.modules).items():
            members[f"modules/{name}"] = cpio.file(data)
        for name in self.material:
            with as_file(_material(name) / "initramfs") as material:
                for path in _files_below(material):
                    data = path.read_bytes()
                    members[str(path.relative_to(material))] = cpio.file(data, executable=_is_script(data))
        return cpio.archive(members)

    def _assemble_root(self, tree: Path, root: Path) -> None:
        for name in _UNUSED:
            shutil.rmtree(root / name, ignore_errors=True)
        for name in _FOLDERS:
            _place_folder(root / name)
        _place(_busybox(tree), root / "bin/busybox", executable=True)
        for applet in run_tool([_busybox(tree), "--list"]).decode().split():
            link = root / ("sbin" if applet in _SBIN_APPLETS else "bin") / applet
            if not any((root / place / applet).exists() for place in ("bin", "sbin", "usr/bin", "usr/sbin")):
                link.symlink_to("/bin/busybox")
        for source, target in self.programs.items():
            _place(_program(tree, source), root / target, executable=True)
        programs = [str(_program(tree, source).relative_to(tree)) for source in self.programs]
        for name, path in needed_libraries(tree, programs).items():
            _place(path, root / "lib/x86_64-linux-gnu" / name, executable=False)
        _place(_program(tree, LINKER), root / LINKER, executable=True)
        for name in self.material:
            with as_file(_material(name) / "root") as material:
                for path in _files_below(material):
                    _place(path, root / path.relative_to(material), executable=_is_script(path.read_bytes()))


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
        f"building an image needs Debian or Ubuntu, and this is {release.get('PRETTY_NAME', release['ID'])}",
        hint="build it on one and copy the image cache here, or give VMs a disk file as their image",
    )


def _material(name: str) -> Path:
    return Path(str(files("labctl_server.image"))) / name


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


def _module_folder(tree: Path) -> Path:
    # Where /usr is merged the package says usr/lib.
    return _only(tree, "usr/lib/modules/*" if (tree / "usr/lib/modules").exists() else "lib/modules/*")


def _busybox(tree: Path) -> Path:
    return tree / "bin/busybox" if (tree / "bin/busybox").exists() else tree / "usr/bin/busybox"


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
