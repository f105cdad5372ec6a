"""A disk is whole or not there, begins with its image, and is never overwritten."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from labctl.errors import LabError
from labctl_storage.arrayd import content

MIB = 1 << 20


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.img"
    path.write_bytes(b"image" + bytes(MIB - 5))
    return path


def test_a_raw_disk_begins_with_its_image_and_is_sparse(tmp_path: Path, image: Path) -> None:
    disk = tmp_path / "gold" / "web1.img"
    content.make_raw(disk, 64 * MIB, image)
    assert disk.stat().st_size == 64 * MIB
    assert disk.stat().st_blocks * 512 < 2 * MIB
    assert disk.read_bytes()[:5] == b"image"


@pytest.mark.needs("qemu-img")
def test_a_qcow2_disk_begins_with_its_image_and_has_its_size(tmp_path: Path, image: Path) -> None:
    disk = tmp_path / "shared" / "db1.qcow2"
    content.make_qcow2(disk, 64 * MIB, image)
    info = json.loads(subprocess.check_output(["qemu-img", "info", "--output=json", str(disk)]))
    assert (info["format"], info["virtual-size"]) == ("qcow2", 64 * MIB)
    raw = tmp_path / "raw"
    subprocess.run(["qemu-img", "convert", "-O", "raw", str(disk), str(raw)], check=True)
    assert raw.read_bytes()[:5] == b"image"


def test_an_existing_disk_keeps_its_content_and_only_grows(tmp_path: Path, image: Path) -> None:
    disk = tmp_path / "web1.img"
    disk.write_bytes(b"mine" + bytes(MIB))
    content.make_raw(disk, 4 * MIB, image)
    assert disk.read_bytes()[:4] == b"mine"
    assert disk.stat().st_size == 4 * MIB
    content.make_raw(disk, MIB, image)
    assert disk.stat().st_size == 4 * MIB


def test_what_an_interrupted_attempt_left_is_replaced_and_removed(tmp_path: Path, image: Path) -> None:
    disk = tmp_path / "web1.img"
    draft = tmp_path / ".web1.img.draft"
    draft.write_bytes(b"half")
    content.make_raw(disk, 2 * MIB, image)
    assert disk.read_bytes()[:5] == b"image"
    assert not draft.exists()
    draft.write_bytes(b"half")
    content.remove(disk)
    assert not disk.exists()
    assert not draft.exists()


def test_a_disk_smaller_than_its_image_is_refused_with_what_to_do(tmp_path: Path, image: Path) -> None:
    with pytest.raises(LabError, match="too small for its image") as caught:
        content.make_raw(tmp_path / "web1.img", 4096, image)
    assert caught.value.hint == "make the disk larger"
    assert not (tmp_path / "web1.img").exists()


def test_a_missing_image_says_how_to_build_it(tmp_path: Path) -> None:
    with pytest.raises(LabError) as caught:
        content.make_raw(tmp_path / "web1.img", MIB, tmp_path / "gone.img")
    assert caught.value.hint == "build it again: labctl image build micro"
