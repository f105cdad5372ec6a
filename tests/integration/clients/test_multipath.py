"""Linux's multipath over two portals of a target: ALUA states and paths change under a verifying load, and nothing is lost."""

from __future__ import annotations

import json
import re
import socket
import struct
from pathlib import Path

import pytest

from labctl.linux import namespaces
from labctl.testing.waiting import wait_for
from labemu_iscsi.initiator import Initiator

from .conftest import SERVER, ClientGuest, StorageNet

pytestmark = [
    pytest.mark.needs("root", "tun", "qemu", "net", "apt", "e2fsprogs"),
    pytest.mark.slow,
    pytest.mark.xdist_group("clients-multipath"),
]

TARGET = "iqn.2026-11.lab:t1"
SECOND = "10.77.0.2"
OPTIMIZED, NON_OPTIMIZED, STANDBY = 0, 1, 2  # SPC-4 table 293
CONFIGURATION = """
defaults {
    find_multipaths no
    user_friendly_names yes
    polling_interval 1
    max_polling_interval 2
    path_grouping_policy group_by_prio
    failback immediate
    no_path_retry queue
    fast_io_fail_tmo 2
}
"""
SETTINGS = {
    "node.session.timeo.replacement_timeout": "2",
    "node.conn[0].timeo.noop_out_interval": "1",
    "node.conn[0].timeo.noop_out_timeout": "2",
}
"""A path that is silent is given up within seconds."""

JOB = (
    "fio --name=v --filename=/dev/mapper/mpatha --size=8m --offset_increment=8m --bs=4k --rw=randwrite --direct=1 --ioengine=psync"
    " --numjobs=2 --verify=crc32c --verify_fatal=1 --do_verify=1 --group_reporting --minimal"
)


class Paths:
    """A target with two portals, and a guest that has both of them under one multipath device."""

    def __init__(self, net: StorageNet, guest: ClientGuest) -> None:
        self.net, self.guest = net, guest
        shown = guest.said("iscsiadm -m session -P 3")
        portals = re.findall(r"Current Portal: ([0-9.]+):", shown)
        disks = re.findall(r"Attached scsi disk (\w+)", shown)
        self.disks = dict(zip(portals, disks, strict=True))

    def written(self, portal: str) -> int:
        """Writes that went over a path so far."""
        return int(self.guest.said(f"cat /sys/block/{self.disks[portal]}/stat").split()[4])

    def wait_until_used(self, portal: str) -> None:
        before = self.written(portal)
        wait_for(lambda: self.written(portal) > before + 20, 120, what=f"writes over {portal}")

    def control(self, **request: object) -> None:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(30)
            sock.connect(str(self.net.folder / "control"))
            sock.sendall(json.dumps(request).encode() + b"\n")
            assert "error" not in json.loads(sock.makefile("rb").readline())

    def set_states(self, first: int, second: int) -> None:
        """SET TARGET PORT GROUPS (SPC-4 6.45), from an initiator of our own."""
        groups = struct.pack(">4xBxHBxH", first, 1, second, 2)
        cdb = struct.pack(">BB4xI2x", 0xA4, 0x0A, len(groups))
        sock = namespaces.run_in(self.net.namespace, lambda: socket.create_connection((SECOND, 3260), timeout=30))
        initiator = Initiator(target=TARGET, name="iqn.2026-11.lab:admin")

        def until(done: object) -> None:
            while True:
                sock.sendall(b"".join(map(bytes, initiator.data_to_send())))
                if done():  # type: ignore[operator]
                    return
                data = sock.recv(1 << 16)
                assert data
                initiator.receive_data(data)

        with sock:
            initiator.login()
            until(lambda: initiator.logged_in)
            attention = initiator.command(bytes(6))  # a new nexus is told of the power on first
            until(lambda: attention.status is not None)
            changed = initiator.command(cdb, data=groups)
            until(lambda: changed.status is not None)
            assert changed.status == 0, changed.sense_triple


@pytest.fixture(scope="module")
def paths(storage_net: StorageNet) -> Paths:
    storage_net.inside("ip", "address", "add", f"{SECOND}/24", "dev", "lan")
    folder: Path = storage_net.folder
    storage_net.server(
        "labemu_iscsi",
        *("--portal", f"{SERVER}:3260,1", "--portal", f"{SECOND}:3260,2", "--target", TARGET),
        *("--access-state", "1=active_optimized", "--access-state", "2=active_non_optimized"),
        *("--lun", f"file://{folder}/disk.img?size=64MiB", "--control", str(folder / "control")),
        port=3260,
    )
    (guest,) = storage_net.guests(1)
    guest.run(f"cat >/etc/multipath.conf <<'END'\n{CONFIGURATION}\nEND\n")
    guest.run("/lib/systemd/systemd-udevd --daemon && multipathd")
    guest.run(f"iscsiadm -m discovery -t sendtargets -p {SERVER}")
    for name, value in SETTINGS.items():
        guest.run(f"iscsiadm -m node --op update -n '{name}' -v '{value}'")
    guest.run("iscsiadm -m node --login && udevadm settle")
    wait_for(lambda: "mpatha" in guest.said("ls /dev/mapper"), 60, what="the multipath device")
    return Paths(storage_net, guest)


def test_both_paths_are_one_disk_and_the_optimized_one_has_the_higher_priority(paths: Paths) -> None:
    wait_for(lambda: paths.guest.said("multipath -ll").count("active ready running") == 2, 60)
    shown = paths.guest.said("multipath -ll")
    priorities = dict(re.findall(r"prio=(\d+) status=\w+\s+\|?\s+`- \S+ (\w+)", shown))
    assert priorities == {"50": paths.disks[SERVER], "10": paths.disks[SECOND]}, shown


def test_states_and_paths_change_under_load_and_not_one_byte_is_wrong(paths: Paths) -> None:
    guest = paths.guest
    guest.run(f"(until [ -e /tmp/stop ]; do {JOB} || break; done; echo $? >/tmp/ended) >/tmp/log 2>&1 </dev/null &")
    paths.wait_until_used(SERVER)
    paths.set_states(STANDBY, OPTIMIZED)
    paths.wait_until_used(SECOND)
    paths.set_states(OPTIMIZED, NON_OPTIMIZED)
    paths.wait_until_used(SERVER)
    paths.control(do="add", fault={"id": "cut", "action": {"kind": "silence"}, "portal": f"{SERVER}:*"})
    paths.wait_until_used(SECOND)
    paths.control(do="clear", id="cut")
    paths.wait_until_used(SERVER)
    guest.run("touch /tmp/stop")
    wait_for(lambda: guest.said("cat /tmp/ended 2>/dev/null || true") != "", 300, what="fio to verify what it wrote")
    assert guest.said("cat /tmp/ended") == "0", guest.said("cat /tmp/log")
    said = paths.guest.said("dmesg")
    assert "dm-0" not in "\n".join(line for line in said.splitlines() if "I/O error" in line), said
