"""Modules in the order of their needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from labctl.errors import LabError
from labctl_server.image.kernel import Modules, depends_of, module_members, unpack_kernel


@pytest.fixture
def modules(tmp_path: Path) -> Modules:
    for name, needs in {
        "virtio": "",
        "virtio-ring": "virtio",
        "virtio_blk": "virtio_ring,virtio",
        "ext4": "crc16",
    }.items():
        (tmp_path / f"{name}.ko").write_bytes(b"\0license=GPL\0depends=" + needs.encode() + b"\0")
    (tmp_path / "modules.builtin").write_text("kernel/lib/crc16.ko\n")
    return Modules(tmp_path)


def test_a_module_comes_after_what_it_needs_and_built_in_ones_are_left_out(modules: Modules) -> None:
    assert modules.load_order(["virtio_blk", "ext4"]) == ["virtio", "virtio_ring", "virtio_blk", "ext4"]


def test_each_set_lists_all_that_it_needs(modules: Modules) -> None:
    files = module_members(modules, {"base": ["virtio_ring"], "scsi": ["virtio_blk"]})
    assert files["base.order"] == b"virtio\nvirtio_ring\n"
    assert files["scsi.order"] == b"virtio\nvirtio_ring\nvirtio_blk\n"
    assert {"virtio.ko", "virtio_ring.ko", "virtio_blk.ko"} < set(files)


def test_an_unknown_module_is_named(modules: Modules) -> None:
    with pytest.raises(LabError, match="nosuch"):
        modules.load_order(["nosuch"])


def test_a_module_without_needs_has_none() -> None:
    assert depends_of(b"\0depends=\0") == depends_of(b"") == []


def test_what_is_no_kernel_is_refused() -> None:
    with pytest.raises(LabError, match="bzImage"):
        unpack_kernel(bytes(4096))
