"""Persistent reservations in a file beside the disk, for those initiators that ask for that (APTPL, SPC-4 5.13.5)."""

from __future__ import annotations

import os
from pathlib import Path


class FileStateStore:
    """Keeps what it is given whole or not at all, whenever the machine stops.

    Args:
        path: the file; beside it, for a moment, another with `.new` after its name.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def beside(cls, disk: Path) -> FileStateStore:
        """That of a disk in a file: `disk.img` has `disk.img.reservations`."""
        return cls(disk.with_name(f"{disk.name}.reservations"))

    def load(self) -> bytes | None:
        """What was saved last, or None."""
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return None

    def save(self, data: bytes) -> None:
        """Keep it: a new file, made durable, takes the old one's place, and the folder is made durable as well.

        Raises:
            OSError: it could not be kept; what was there before still is.
        """
        new = self.path.with_name(f"{self.path.name}.new")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        new.replace(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
