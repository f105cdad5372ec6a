"""Snapshots and clones of a guest's disk, by the commands, while the guest writes."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from labctl.testing.waiting import wait_for

from .test_survival import agent_pid

pytestmark = [pytest.mark.needs("root", "qemu", "tun"), pytest.mark.xdist_group("lab")]

DISK = "gold/web1-disk0"


@pytest.fixture
def volume(quickstart):
    """`labctl volume` on the quickstart; what a test leaves is removed."""

    def run(*arguments: str, check: bool = True):
        return quickstart.run("volume", *arguments, "--lab", quickstart.name, check=check)

    yield run
    for row in listed(quickstart):
        if row.get("clone_of"):
            run("delete", row["volume"])
    for row in snapshots(quickstart):
        run("snapshot", "delete", DISK, row["name"])


def listed(quickstart) -> list[dict]:
    return quickstart.json("volume", "list", "--lab", quickstart.name)["volumes"]


def snapshots(quickstart) -> list[dict]:
    return quickstart.json("volume", "snapshot", "list", DISK, "--lab", quickstart.name)["snapshots"]


def image(quickstart, lun: int) -> str:
    datastore = quickstart.status()["datastore.gold"]["properties"]
    return f"iscsi://{datastore['portal']}:3260/{datastore['where']}/{lun}"


def test_a_guest_writes_while_snapshots_come_and_go_and_finds_every_byte(quickstart, volume) -> None:
    write = (
        "i=0; : >/root/sums; until [ -e /tmp/stop ]; do i=$((i+1)); dd if=/dev/urandom of=/root/f$((i%20)) bs=64k count=8 "
        "conv=fsync 2>/dev/null; done; rm -f /tmp/stop; md5sum /root/f* >/root/sums; sync; touch /tmp/done"
    )
    quickstart.exec("web1", "sh", "-c", f"rm -f /tmp/stop /tmp/done; ({write}) >/dev/null 2>&1 &")
    for name in ("one", "two", "three"):
        assert volume("snapshot", "create", DISK, name).stdout == f"{DISK}: snapshot {name}\n"
    volume("snapshot", "delete", DISK, "two")
    killed = agent_pid(quickstart, "san1")
    os.kill(killed, signal.SIGKILL)  # the tree is opened again, as it was, by the agent that follows
    wait_for(lambda: not Path(f"/proc/{killed}").exists(), 30)
    wait_for(lambda: volume("snapshot", "list", DISK, check=False).returncode == 0, 60)
    assert [row["name"] for row in snapshots(quickstart)] == ["one", "three"]
    volume("snapshot", "delete", DISK, "one")
    volume("snapshot", "delete", DISK, "three")
    quickstart.exec("web1", "touch", "/tmp/stop")
    ended = "cat /tmp/done 2>&1 && echo yes || true"
    wait_for(lambda: quickstart.exec("web1", "sh", "-c", ended).stdout.strip() == "yes", 120)
    check = "echo 3 >/proc/sys/vm/drop_caches; md5sum -c /root/sums | grep -c OK; rm -f /root/f* /root/sums"
    assert int(quickstart.exec("web1", "sh", "-c", check).stdout) >= 1
    assert "I/O error" not in quickstart.exec("web1", "dmesg").stdout


@pytest.mark.needs("qemu-img", "qemu-iscsi")
def test_a_disk_is_reverted_once_its_vm_is_stopped_and_a_clone_keeps_what_was(quickstart, volume) -> None:
    quickstart.exec("web1", "sh", "-c", "echo before >/root/state && sync")
    volume("snapshot", "create", DISK, "known")
    quickstart.exec("web1", "sh", "-c", "echo after >/root/state && sync")
    refused = volume("snapshot", "revert", DISK, "known", check=False)
    assert refused.returncode != 0
    assert f"web1 runs on {DISK}" in refused.stderr
    assert "labctl vm stop web1" in refused.stderr
    quickstart.run("vm", "stop", "web1", "--lab", quickstart.name)
    made = volume("clone", DISK, "evidence").stdout
    assert made == f"gold/evidence: LUN 255, 1 GiB, a clone of {DISK}\n"
    old = volume("clone", DISK, "original", "--snapshot", "known").stdout
    assert "LUN 254" in old
    assert volume("snapshot", "revert", DISK, "known").stdout == f"{DISK} is as it was at known\n"
    compare = ("qemu-img", "compare", "-f", "raw", "-F", "raw")
    same = quickstart.inside("esx2", *compare, image(quickstart, 0), image(quickstart, 254), timeout=120)
    assert "Images are identical" in same.stdout
    other = quickstart.inside("esx2", *compare, image(quickstart, 0), image(quickstart, 255), check=False, timeout=120)
    assert other.returncode == 1
    assert "Content mismatch" in other.stdout
    quickstart.run("vm", "start", "web1", "--lab", quickstart.name)
    wait_for(lambda: quickstart.exec("web1", "true", check=False).returncode == 0, 120)
    assert quickstart.exec("web1", "cat", "/root/state").stdout == "before\n"
    rows = {row["volume"]: row for row in listed(quickstart)}
    assert (rows[DISK]["used_by"], rows[DISK]["snapshots"]) == ("web1", 1)
    assert rows["gold/original"]["clone_of"] == f"{DISK}@known"
    events = quickstart.run("events", "--lab", quickstart.name).stdout
    for told in (
        f"snapshot.created  array.san1  {DISK}: snapshot known",
        f"snapshot.reverted  array.san1  {DISK} is as",
    ):
        assert told in events
    assert volume("delete", "gold/evidence").stdout == "gold/evidence is gone\n"


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (("snapshot", "list", "gold"), "gold is no volume", "write DATASTORE/VOLUME"),
        (("snapshot", "list", "golf/web1-disk0"), "has no datastore golf", 'did you mean "gold"'),
        (("snapshot", "list", "gold/web2-disk0"), "datastore gold has no volume web2-disk0", '"web1-disk0"'),
        (("snapshot", "create", "shared/db1-disk0", "x"), "is a file on an NFS export", "iSCSI datastore"),
        (("delete", DISK), f"{DISK} is a disk of the topology", "its VM's disks"),
    ],
)
def test_what_cannot_be_done_says_what_to_do(quickstart, volume, arguments, message, hint) -> None:
    refused = volume(*arguments, check=False)
    assert refused.returncode != 0
    assert message in refused.stderr
    assert hint in refused.stderr
