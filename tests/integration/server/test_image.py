"""The micro image from Debian's packages."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from labctl.plugin.places import image_cache
from labctl_server.image.micro import MICRO
from labctl_server.image.recipe import Image
from labctl_server.image.store import ImageStore


@pytest.mark.needs("apt", "e2fsprogs")
def test_building_again_elsewhere_gives_the_same_bytes(micro: Image, tmp_path: Path) -> None:
    packages = ImageStore(image_cache()).cache / "packages"
    shutil.copytree(packages, tmp_path / "cache/packages")
    again = ImageStore(tmp_path / "cache", [MICRO]).build("micro")
    assert again.packages == micro.packages, "apt's lists moved on since the image was built: labctl image build micro"
    assert again.version == micro.version
    for ours, theirs in zip(
        (again.kernel, again.initrd, again.rootfs), (micro.kernel, micro.initrd, micro.rootfs), strict=True
    ):
        assert ours is not None
        assert theirs is not None
        assert ours.read_bytes() == theirs.read_bytes()
