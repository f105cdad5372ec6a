"""What kinds know of images without touching the cache: which names there are, and where the content of one will lie once it is made."""

from __future__ import annotations

import hashlib
from pathlib import Path

BUILT_IN = ("micro", "client")
"""The images that labctl builds itself."""


def is_disk_file(image: str) -> bool:
    """Whether an image is the path of a disk file of the user's own: names of images have no slash."""
    return "/" in image


def image_source(cache: Path, image: str) -> Path:
    """The raw disk that a new disk starts as. The image unit makes it; the link `current` names the version in use.

    Args:
        cache: the machine-wide cache of images.
        image: a built-in image's name, or an absolute path.
    """
    folder = f"file-{hashlib.sha256(image.encode()).hexdigest()[:16]}" if is_disk_file(image) else image
    return cache / folder / "current" / "rootfs.raw"
