"""File systems that are the same wherever they are made."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from labctl.errors import LabError
from labctl_server.image.filesystem import make_ext4

pytestmark = pytest.mark.needs("e2fsprogs")
SIZE = 32 * 2**20


def tree(folder: Path, names: list[str], when: int) -> Path:
    (folder / "etc").mkdir(parents=True)
    for name in names:
        (folder / "etc" / name).write_text(name)
        (folder / f"to-{name}").symlink_to(f"etc/{name}")
        os.utime(folder / "etc" / name, (when, when))
    return folder


def test_order_time_and_owner_of_the_source_leave_no_trace(tmp_path: Path) -> None:
    first, second = tree(tmp_path / "1", ["a", "b", "c"], 1), tree(tmp_path / "2", ["c", "a", "b"], 2)
    if os.geteuid() == 0:
        os.chown(second / "etc/a", 1000, 1000)
    make_ext4(first, tmp_path / "1.raw", size=SIZE, label="x")
    make_ext4(second, tmp_path / "2.raw", size=SIZE, label="x")
    assert (tmp_path / "1.raw").read_bytes() == (tmp_path / "2.raw").read_bytes()
    subprocess.run(["/sbin/e2fsck", "-fn", tmp_path / "1.raw"], check=True, capture_output=True)


def test_it_is_sparse(tmp_path: Path) -> None:
    make_ext4(tree(tmp_path / "s", ["a"], 1), tmp_path / "i.raw", size=SIZE, label="x")
    assert (tmp_path / "i.raw").stat().st_blocks * 512 < 4 * 2**20


def test_content_that_does_not_fit_is_an_error(tmp_path: Path) -> None:
    source = tree(tmp_path / "s", ["a"], 1)
    (source / "big").write_bytes(os.urandom(SIZE))
    with pytest.raises(LabError, match="mke2fs failed"):
        make_ext4(source, tmp_path / "i.raw", size=SIZE, label="x")
