"""Guests through changes: what is kept, what waits for a restart, what comes and goes by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from .test_guests import qemu_pids

pytestmark = [pytest.mark.needs("root", "qemu", "tun"), pytest.mark.xdist_group("lab")]

BASE = """
[lab]
name = "change"

[network.production]
subnet = "10.10.0.0/24"

[network.storage]
role = "storage"
subnet = "10.20.0.0/24"

[network.management]
role = "management"
subnet = "10.30.0.0/24"

[array.san1]

[datastore.gold]
array = "san1"
protocol = "iscsi"
size = "8GiB"

[host.esx1]
"""
WEB = """
[vm.web1]
host = "esx1"
memory = "MEMORY"
persistent = true
disks = [{ datastore = "gold", size = "256MiB" }]
"""


def written(tmp_path: Path, *parts: str, memory: str = "128MiB") -> Path:
    file = tmp_path / "lab.toml"
    file.write_text(BASE + "".join(parts).replace("MEMORY", memory))
    return file


def boot_id(lab, vm: str) -> str:
    return lab.exec(vm, "cat", "/proc/sys/kernel/random/boot_id").stdout


def test_a_persistent_disk_outlives_its_lab_and_purge_ends_it(lab, tmp_path) -> None:
    file = written(tmp_path, WEB)
    lab.up(file)
    lab.exec("web1", "sh", "-c", "echo persistent > /root/mark && sync")
    lab.down()
    assert list((lab.home / "data" / lab.name).rglob("*.img"))
    lab.up(file)
    assert lab.exec("web1", "cat", "/root/mark").stdout == "persistent\n"
    lab.down("--purge")
    assert not (lab.home / "data" / lab.name).exists()


def test_a_disk_that_is_not_persistent_goes_with_its_lab(lab, tmp_path) -> None:
    lab.up(written(tmp_path, WEB.replace("persistent = true\n", "")))
    lab.down()
    assert not list(lab.home.rglob("*.img"))


def test_a_change_of_memory_waits_for_restart_and_says_so(lab, tmp_path) -> None:
    lab.up(written(tmp_path, WEB))
    booted, (pid,) = boot_id(lab, "web1"), qemu_pids(lab, "esx1")
    file = written(tmp_path, WEB, memory="160MiB")
    said = lab.up(file)
    assert "power-cycle" in said.stdout + said.stderr
    assert "--restart" in said.stdout + said.stderr
    assert boot_id(lab, "web1") == booted
    lab.up(file, "--restart")
    assert boot_id(lab, "web1") != booted
    (other,) = qemu_pids(lab, "esx1")
    assert other != pid
    assert b"\0size=163840k" in Path(f"/proc/{other}/cmdline").read_bytes()


def test_adding_a_host_and_a_vm_leaves_what_runs_alone_and_removing_them_too(lab, tmp_path) -> None:
    lab.up(written(tmp_path, WEB))
    booted = boot_id(lab, "web1")
    more = '[host.esx2]\n[vm.web2]\nhost = "esx2"\ndisks = [{ datastore = "gold", size = "256MiB" }]\n'
    lab.up(written(tmp_path, WEB, more))
    assert lab.exec("web2", "hostname").stdout == "web2\n"
    assert boot_id(lab, "web1") == booted
    lab.up(written(tmp_path, WEB))
    assert boot_id(lab, "web1") == booted
    assert set(lab.status()) >= {"vm.web1", "host.esx1"}
    assert not set(lab.status()) & {"vm.web2", "host.esx2"}
    assert not Path(lab.namespace("esx2")).exists()
    assert not list(lab.home.rglob("web2*"))
