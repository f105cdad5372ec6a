"""What is killed comes back, and the guests carry on."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from labctl.testing.waiting import wait_for

pytestmark = [pytest.mark.needs("root", "qemu", "tun"), pytest.mark.xdist_group("lab")]

DISCONNECTED_WITHIN = 15.0
BACK_WITHIN = 30.0


def agent_pid(quickstart, node: str) -> int:
    inode = Path(quickstart.namespace(node)).stat().st_ino
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
            if b"--config" in command and (process / "ns/net").stat().st_ino == inode:
                return int(process.name)
        except OSError:
            continue
    raise AssertionError(f"no agent in {node}")


def state(quickstart, address: str) -> str:
    return quickstart.status()[address]["state"]


@pytest.mark.parametrize("vm", ["web1", "db1"])
def test_an_array_killed_under_load_is_restarted_and_the_guests_see_no_error(quickstart, vm) -> None:
    script = (
        "dmesg -c >/dev/null; i=0; while [ $i -lt 24 ]; do dd if=/dev/urandom of=/root/f$i bs=64k count=8 conv=fsync 2>/dev/null "
        "|| exit 9; sha1sum /root/f$i >> /root/sums; i=$((i+1)); done; echo 3 > /proc/sys/vm/drop_caches; sha1sum -c -s /root/sums "
        "|| exit 8; rm -f /root/f* /root/sums; dmesg | grep -ci 'i/o error'"
    )
    argv = ["labctl", "exec", "--lab", quickstart.name, vm, "--", "sh", "-c", script]
    from .conftest import LABCTL

    with subprocess.Popen([*LABCTL, *argv[1:]], env=quickstart.environment, stdout=subprocess.PIPE, text=True) as load:
        wait_for(lambda: "f2" in quickstart.exec(vm, "ls", "/root").stdout or load.poll() is not None, 60)
        assert load.poll() is None, "the load was over before the kill"
        killed = agent_pid(quickstart, "san1")
        os.kill(killed, signal.SIGKILL)
        errors, _ = load.communicate(timeout=150)
    assert load.returncode == 1, load.returncode  # grep found none
    assert errors.strip() == "0"
    assert agent_pid(quickstart, "san1") != killed


def test_a_killed_hostd_is_restarted_and_its_vms_ran_on(quickstart) -> None:
    before = quickstart.exec("web1", "cat", "/proc/sys/kernel/random/boot_id").stdout
    os.kill(agent_pid(quickstart, "esx1"), signal.SIGKILL)
    wait_for(lambda: state(quickstart, "host.esx1") == "Connected", BACK_WITHIN)
    assert quickstart.exec("web1", "cat", "/proc/sys/kernel/random/boot_id").stdout == before


def test_a_host_cut_off_from_management_is_not_responding_and_its_vms_run_on(quickstart) -> None:
    address = quickstart.status()["vm.web1"]["addresses"]["production"]
    quickstart.inside("esx1", "ip", "link", "set", "vmk0", "down")
    try:
        wait_for(lambda: state(quickstart, "host.esx1") == "Not responding", DISCONNECTED_WITHIN)
        assert state(quickstart, "host.esx2") == "Connected"
        assert quickstart.inside("client", "ping", "-c1", "-W3", address, check=False).returncode == 0
    finally:
        quickstart.inside("esx1", "ip", "link", "set", "vmk0", "up")
    wait_for(lambda: state(quickstart, "host.esx1") == "Connected", BACK_WITHIN)


def test_labd_killed_is_started_again_by_the_next_command_and_adopts_everything(quickstart) -> None:
    before = quickstart.exec("web1", "cat", "/proc/sys/kernel/random/boot_id").stdout
    os.kill(quickstart.labd_pid, signal.SIGKILL)
    second = quickstart.up("quickstart")
    assert "nothing to do" in second.stdout.lower()
    assert quickstart.exec("web1", "cat", "/proc/sys/kernel/random/boot_id").stdout == before
    wait_for(lambda: state(quickstart, "host.esx1") == "Connected", BACK_WITHIN)


def test_a_killed_qemu_is_told_and_started_again_by_up(quickstart) -> None:
    from .test_guests import qemu_pids

    (pid,) = qemu_pids(quickstart, "esx2")
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: state(quickstart, "vm.db1") not in ("running", "ok"), BACK_WITHIN)
    quickstart.up("quickstart")
    assert quickstart.exec("db1", "hostname").stdout == "db1\n"
