"""The files of volumes. Blocking: callers run it in a thread.

A file appears under its name only when it is complete, so a kill at any moment leaves either the whole disk or a draft that the
next attempt replaces. An existing disk is never overwritten.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

from labctl.errors import LabError, MissingToolError
from labemu_store.block.snapshots import folder_of

QEMU_IMG_DEADLINE = 120.0
"""Seconds; a 2 GiB image takes a few on a slow disk."""

_DRAFT = ".draft"


def make_raw(path: Path, size: int, source: Path | None) -> None:
    """Make a sparse raw file of `size` bytes that begins with the source's content; one that is there only grows.

    One with layers is left alone: its file is the oldest of them, and its tree grows when it is opened.

    Raises:
        LabError: the source is missing or larger than the disk.
    """
    if path.exists():
        if path.stat().st_size < size and not folder_of(path).is_dir():
            os.truncate(path, size)
        return
    draft = _draft(path)
    _remove_layers(path)  # of a removal that was interrupted: they would hide what the new disk holds
    if source is None:
        draft.touch()
    else:
        check_source(source, size)
        _run(["cp", "--sparse=always", "--reflink=auto", str(source), str(draft)])
        draft.chmod(0o600)
    with draft.open("r+b") as file:
        file.truncate(size)
    draft.replace(path)


def make_qcow2(path: Path, size: int, source: Path | None) -> None:
    """Make a qcow2 file of virtual size `size` bytes that begins with the source's content; one that is there is left alone.

    A VM may have it open, so it is the hypervisor that grows it.

    Raises:
        LabError: the source is missing or larger than the disk, or qemu-img failed.
    """
    if path.exists():
        return
    draft = _draft(path)
    if source is None:
        _run(["qemu-img", "create", "-q", "-f", "qcow2", str(draft), str(size)])
    else:
        check_source(source, size)
        _run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(source), str(draft)])
        _run(["qemu-img", "resize", "-q", "-f", "qcow2", str(draft), str(size)])
    draft.chmod(0o600)
    draft.replace(path)


def remove(path: Path) -> None:
    """Remove a volume's file, then its layers, and what an interrupted attempt left of it.

    In this order, since a file without its layers would pass for the whole disk.
    """
    path.unlink(missing_ok=True)
    _remove_layers(path)
    _draft_path(path).unlink(missing_ok=True)


def remove_drafts(folder: Path) -> None:
    """Remove what attempts to make volumes left when they were interrupted. None may be under way."""
    for draft in folder.glob(f".*{_DRAFT}"):
        draft.unlink(missing_ok=True)


def _remove_layers(path: Path) -> None:
    with suppress(FileNotFoundError):
        shutil.rmtree(folder_of(path))


def _draft_path(path: Path) -> Path:
    return path.with_name(f".{path.name}{_DRAFT}")


def _draft(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = _draft_path(path)
    draft.unlink(missing_ok=True)
    return draft


def check_source(source: Path, size: int) -> None:
    """Raise LabError where an image is gone, or larger than its disk of `size` bytes."""
    try:
        length = source.stat().st_size
    except FileNotFoundError:
        raise LabError(f"the image file {source} is gone", hint="build it again: labctl image build micro") from None
    if length > size:
        raise LabError(
            f"a disk of {size} bytes is too small for its image of {length} bytes", hint="make the disk larger"
        )


def _run(argv: list[str]) -> None:
    try:
        subprocess.run(argv, check=True, capture_output=True, text=True, timeout=QEMU_IMG_DEADLINE)
    except FileNotFoundError:
        package = {"qemu-img": "qemu-utils", "cp": "coreutils"}[argv[0]]
        raise MissingToolError(f"{argv[0]} is not installed", hint=f"apt-get install {package}") from None
    except subprocess.CalledProcessError as error:
        raise LabError(f"{' '.join(argv[:2])} failed: {error.stderr.strip()}", hint="see the array's log") from error
    except subprocess.TimeoutExpired:
        raise LabError(f"{' '.join(argv[:2])} did not end within {QEMU_IMG_DEADLINE:.0f} s") from None
