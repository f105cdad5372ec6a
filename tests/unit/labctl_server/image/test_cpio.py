"""Archives that Linux unpacks."""

from __future__ import annotations

import subprocess

import pytest

from labctl_server.image import cpio


@pytest.mark.needs("busybox")
def test_another_implementation_lists_what_was_put_in_with_modes_and_order() -> None:
    data = cpio.archive({"sbin/x": cpio.file(b"#!", executable=True), "sbin": cpio.folder(), "a": cpio.file(b"12345")})
    listed = subprocess.run(["busybox", "cpio", "-tv"], input=data, capture_output=True, check=True).stdout.decode()
    assert [line.split()[0] + " " + line.split()[-1] for line in listed.splitlines()] == [
        "-rw-r--r-- a",
        "drwxr-xr-x sbin",
        "-rwxr-xr-x sbin/x",
    ]


def test_the_order_of_insertion_does_not_matter() -> None:
    a, b = cpio.file(b"a"), cpio.character_device(5, 1)
    assert cpio.archive({"a": a, "b": b}) == cpio.archive({"b": b, "a": a})


def test_every_part_is_aligned_and_ends_with_the_trailer() -> None:
    data = cpio.archive({"abc": cpio.file(b"12345")})
    assert len(data) % 512 == 0
    assert data.startswith(b"070701")
    assert b"TRAILER!!!\0" in data
    assert data.index(b"070701", 6) % 4 == 0
