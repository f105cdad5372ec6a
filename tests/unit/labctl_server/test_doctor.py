"""What the machine lacks for hosts and VMs is named with its mend."""

from __future__ import annotations

from pathlib import Path

import pytest

from labctl.plugin.api import DoctorFinding
from labctl_server import doctor
from labctl_server.qemu.kvm import KvmVerdict

QEMU = """#!/bin/sh
case "$*" in
    *--version*) echo "QEMU emulator version 9.9.9" ;;
    *iscsi*) echo "Unknown protocol 'iscsi'"; exit 1 ;;
    *nfs*) echo "Invalid URL specified"; exit 1 ;;
esac
"""


@pytest.fixture
def bin_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder that tools are found in; empty."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(doctor, "_SYSTEM_PATH", str(tmp_path))
    monkeypatch.setattr(doctor, "probe_kvm", lambda: KvmVerdict(usable=False, reason="there is no /dev/kvm"))
    return tmp_path


def findings() -> dict[str, DoctorFinding]:
    return {finding.name: finding for finding in doctor.examine()}


def test_a_machine_without_any_tool_is_told_the_package_of_each(bin_folder: Path) -> None:
    found = findings()
    assert {name: finding.mend for name, finding in found.items() if finding.required} == {
        "QEMU": "`sudo apt install qemu-system-x86`",
        "QEMU's iscsi driver": "`sudo apt install qemu-block-extra`",
        "QEMU's nfs driver": "`sudo apt install qemu-block-extra`",
        "dpkg-deb": "`sudo apt install dpkg`",
        "apt-get": "`sudo apt install apt`",
        "mke2fs": "`sudo apt install e2fsprogs`",
        "debugfs": "`sudo apt install e2fsprogs`",
    }
    assert not any(finding.ok for finding in found.values() if finding.required)


def test_a_driver_that_qemu_does_not_know_is_told_from_one_that_only_misses_its_address(bin_folder: Path) -> None:
    for tool in ("qemu-system-x86_64", "mke2fs"):
        (bin_folder / tool).write_text(QEMU)
        (bin_folder / tool).chmod(0o755)
    found = findings()
    assert (found["QEMU"].ok, found["QEMU"].detail) == (True, "version 9.9.9")
    assert not found["QEMU's iscsi driver"].ok
    assert found["QEMU's nfs driver"].ok
    assert found["mke2fs"].detail == str(bin_folder / "mke2fs")


def test_without_kvm_labs_run_all_the_same(bin_folder: Path) -> None:
    kvm = findings()["KVM"]
    assert (kvm.ok, kvm.required, kvm.detail) == (False, False, "there is no /dev/kvm")
    assert "emulated" in kvm.mend
