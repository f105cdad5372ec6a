"""A user's own disk file as an image: a raw file is used where it lies, a qcow2 file is unpacked once.

Datastores start a disk from raw bytes, whatever the array's protocol.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from labctl.errors import LabError
from labctl_server.image.recipe import Image, Progress
from labctl_server.image.tools import run_tool

_QCOW2_MAGIC = b"QFI\xfb"


def is_disk_file(name: str) -> bool:
    """Whether an image's name is meant as a path: names of images have no slash."""
    return "/" in name


class DiskFileRecipe:
    """An image that boots by itself from a copy of a disk file.

    Args:
        path: an absolute path.

    Raises:
        LabError: there is no such file.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise LabError(f"there is no disk file {path}", hint="check the VM's `image`, which is a name or a path")
        self._path = path.resolve()

    @property
    def name(self) -> str:
        """The file's path."""
        return str(self._path)

    @property
    def fingerprint(self) -> str:
        """Changes when the file does."""
        status = self._path.stat()
        state = f"{self._path} {status.st_size} {status.st_mtime_ns} {status.st_ino}"
        return hashlib.sha256(state.encode()).hexdigest()[:16]

    def build(self, folder: Path, packages: Path, progress: Progress) -> Image:
        """See Recipe."""
        fingerprint = self.fingerprint
        with self._path.open("rb") as file:
            is_qcow2 = file.read(4) == _QCOW2_MAGIC
        rootfs = folder / "rootfs.raw"
        if is_qcow2:
            progress(f"unpacking {self._path.name}")
            # Only qcow2 is ever probed for: a raw disk whose first bytes a guest chose must not be read as something else.
            run_tool(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", "-S", "4k", self._path, rootfs])
        else:
            rootfs.symlink_to(self._path)
        return Image(
            name=self.name,
            version="",
            recipe=fingerprint,
            rootfs=Path("rootfs.raw"),
            rootfs_size=os.stat(rootfs).st_size,  # noqa: PTH116 - follows the link
        )
