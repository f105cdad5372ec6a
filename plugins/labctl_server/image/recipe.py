"""What an image is, and what makes one.

A recipe turns inputs into a folder of files; the store decides when, where and how often. New kinds of image are new recipes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

Progress = Callable[[str], None]
"""Is told, in a few words, what is being done now."""


@dataclass(frozen=True, kw_only=True)
class Image:
    """An image that is ready for use.

    Args:
        name: as topologies name it.
        version: a hash of its content; equal versions are equal bytes.
        recipe: the fingerprint of the recipe that made it.
        rootfs: a raw disk image; a disk made from it may be larger.
        rootfs_size: bytes.
        kernel: an ELF or bzImage that QEMU starts directly, or None where the disk boots by itself.
        initrd: goes with the kernel.
        cmdline: the kernel's arguments; the guest's own come after them.
        packages: the files of the packages that it was made from.
    """

    name: str
    version: str
    recipe: str
    rootfs: Path
    rootfs_size: int
    kernel: Path | None = None
    initrd: Path | None = None
    cmdline: str = ""
    packages: tuple[str, ...] = ()

    def to_json(self) -> str:
        """The manifest: paths are relative to its folder, or absolute."""
        return json.dumps(asdict(self), default=str, indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str, folder: Path) -> Image:
        """An image from its manifest.

        Raises:
            ValueError, TypeError, KeyError: it is no manifest of this version of labctl.
        """
        values = json.loads(text)
        for key in ("rootfs", "kernel", "initrd"):
            if values[key] is not None:
                values[key] = folder / values[key]
        values["packages"] = tuple(values["packages"])
        return cls(**values)

    def named(self, version: str) -> Image:
        """The same image with its version."""
        return replace(self, version=version)


class Recipe(Protocol):
    """Makes one image."""

    @property
    def name(self) -> str:
        """The image's name."""

    @property
    def fingerprint(self) -> str:
        """Changes whenever the recipe would make another image from the same packages."""

    def build(self, folder: Path, packages: Path, progress: Progress) -> Image:
        """Make the image's files in `folder`, deterministically.

        Args:
            folder: empty, on the cache's file system; files beside the image's own must be removed again.
            packages: where fetched packages are kept between builds.
            progress: see Progress.

        Returns:
            the image with an empty version and paths relative to `folder`.
        """
