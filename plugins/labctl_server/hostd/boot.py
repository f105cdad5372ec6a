"""What a VM starts from, in files of its own.

QEMU keeps the kernel and its initramfs mapped for as long as it runs, for the next reset. 36 MiB a guest are worth giving back, and the
kernel pages out only what nobody else maps: so each VM starts from copies in its own folder.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from labctl.errors import LabError
from labctl_server.machine import Machine

FOLDER = "boot"
"""Below the VM's folder."""


def with_own_files(machine: Machine, folder: Path) -> Machine:
    """The machine with its kernel and initramfs copied below the VM's folder. Blocking.

    Args:
        machine: what is started.
        folder: the VM's folder.

    Raises:
        LabError: a file of the image is gone.
    """
    place = boot_folder(folder)
    place.mkdir(exist_ok=True)
    wanted = {key: path for key in ("kernel", "initrd") if (path := getattr(machine.boot, key)) is not None}
    try:
        copies = {key: shutil.copyfile(path, place / key) for key, path in wanted.items()}
    except FileNotFoundError as error:
        raise LabError(
            f"the image's file {error.filename} is gone", hint="build it again: labctl image build micro"
        ) from error
    return machine.model_copy(update={"boot": machine.boot.model_copy(update={k: str(v) for k, v in copies.items()})})


def boot_folder(folder: Path) -> Path:
    """Where the copies of a VM are."""
    return folder / FOLDER
