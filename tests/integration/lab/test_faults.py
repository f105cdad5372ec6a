"""Storage that is broken on purpose, seen from inside the guests: slow, failing, silent, and well again afterwards."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from labctl.testing.waiting import wait_for

from .test_survival import agent_pid

pytestmark = [pytest.mark.needs("root", "qemu", "tun"), pytest.mark.xdist_group("lab")]

DISK = "gold/web1-disk0"
BAD_BLOCK = 2_000_000  # near the end of a disk of 1 GiB, where the guest has nothing


@pytest.fixture
def faults(quickstart):
    """`labctl fault` on the quickstart; what a test leaves is cleared."""

    def run(*arguments: str, check: bool = True):
        return quickstart.run("fault", *arguments, "--lab", quickstart.name, check=check)

    yield run
    run("clear", "--all")


def hits(quickstart) -> int:
    return sum(fault["hits"] for fault in quickstart.json("fault", "list", "--lab", quickstart.name)["faults"])


def begin(quickstart, vm: str, script: str) -> None:
    """Start a script in a guest, and go on; /tmp/done appears with what it ended with."""
    kept = f"({script}); echo $? >/tmp/ended; mv /tmp/ended /tmp/done"
    quickstart.exec(vm, "sh", "-c", f"rm -f /tmp/done; ({kept}) >/dev/null 2>&1 &")


def ended(quickstart, vm: str) -> str:
    return quickstart.exec(vm, "sh", "-c", "cat /tmp/done 2>/dev/null || true").stdout.strip()


def url(quickstart) -> str:
    datastore = quickstart.status()["datastore.gold"]["properties"]
    (lun,) = {fault["rule"]["lun"] for fault in quickstart.json("fault", "list", "--lab", quickstart.name)["faults"]}
    return f"iscsi://{datastore['portal']}:3260/{datastore['where']}/{lun}"


@pytest.mark.needs("qemu-img", "qemu-iscsi")
def test_twenty_milliseconds_on_a_disk_are_seen_by_whoever_reads_it(quickstart, faults) -> None:
    faults("add", DISK, "--latency", "20ms", "--op", "read")
    begun = time.monotonic()
    bench = ("qemu-img", "bench", "-f", "raw", "-c", "50", "-d", "1", "-s", "4096", url(quickstart))
    assert quickstart.inside("esx2", *bench).returncode == 0
    assert time.monotonic() - begun >= 1.0
    assert hits(quickstart) >= 50


def test_a_medium_error_reaches_the_kernel_of_the_guest_at_its_block(quickstart, faults) -> None:
    faults("add", DISK, "--error", "medium", "--op", "read", "--lba", f"{BAD_BLOCK}-{BAD_BLOCK + 7}")
    read = "dd if=/dev/vda of=/dev/null bs=512 count=8 skip="
    assert quickstart.exec("web1", "sh", "-c", f"{read}{BAD_BLOCK - 512}", check=False).returncode == 0
    failed = quickstart.exec("web1", "sh", "-c", f"{read}{BAD_BLOCK}", check=False)
    assert failed.returncode == 1
    assert "Input/output error" in failed.stderr
    assert f"I/O error, dev vda, sector {BAD_BLOCK}" in quickstart.exec("web1", "dmesg").stdout


def test_a_host_that_lost_all_paths_goes_on_when_they_are_back(quickstart, faults) -> None:
    # While its disk is silent nothing new is begun in the guest: even a program may have to be read from there first.
    write = "until [ -e /tmp/stop ]; do dd if=/dev/urandom of=/root/apd bs=64k count=4 conv=fsync; done"
    begin(quickstart, "web1", f"{write}; sync && md5sum /root/apd >/root/apd.md5")
    faults("add", "san1", "--silent", "--initiator", "esx1", "--name", "apd")
    wait_for(lambda: hits(quickstart) > 0, 60, what="a write to meet the silence")
    begin(quickstart, "db1", "echo other >/root/other && sync")
    wait_for(lambda: ended(quickstart, "db1") == "0", 60, what="the other host, which has its paths")
    faults("clear", "apd")
    quickstart.exec("web1", "touch", "/tmp/stop")
    wait_for(lambda: ended(quickstart, "web1") == "0", 60, what="the writes to go on")
    checked = quickstart.exec("web1", "sh", "-c", "echo 3 >/proc/sys/vm/drop_caches; md5sum -c /root/apd.md5")
    assert checked.stdout.strip().endswith("OK")


def test_a_file_that_is_held_on_nfs_goes_on_when_the_fault_is_over_by_itself(quickstart, faults) -> None:
    faults("add", "shared/db1-disk0", "--pause", "--op", "write,commit", "--for", "15s", "--name", "held")
    quickstart.exec("db1", "sh", "-c", "echo late >/root/late && sync")
    events = quickstart.run("events", "--lab", quickstart.name).stdout
    assert "first hit: paused on shared/db1-disk0 (write commit)" in events
    assert "paused on shared/db1-disk0 (write commit): its time is over" in events


def test_a_broken_connection_is_made_anew_and_nothing_is_lost(quickstart, faults) -> None:
    faults("add", "gold", "--drop-after", "100KiB", "--received", "--count", "2")
    script = "dd if=/dev/urandom of=/root/drop bs=64k count=16 conv=fsync && md5sum /root/drop >/root/drop.md5 && sync"
    begin(quickstart, "web1", script)
    wait_for(lambda: ended(quickstart, "web1") == "0", 90, what="the writes over connections that break")
    assert hits(quickstart) == 2
    checked = quickstart.exec("web1", "sh", "-c", "echo 3 >/proc/sys/vm/drop_caches; md5sum -c /root/drop.md5")
    assert checked.stdout.strip().endswith("OK")


def test_faults_outlive_their_arrays_agent_and_are_told_of(quickstart, faults) -> None:
    faults("add", DISK, "--latency", "5ms", "--op", "write", "--name", "slow")
    listed = quickstart.run("fault", "list", "--lab", quickstart.name).stdout
    assert listed.splitlines()[1].split()[:6] == ["san1/slow", DISK, "latency", "5", "ms", "write"]
    events = quickstart.run("events", "--lab", quickstart.name).stdout
    assert f"fault.set  array.san1  latency 5 ms on {DISK} (write)" in events
    killed = agent_pid(quickstart, "san1")
    os.kill(killed, signal.SIGKILL)
    wait_for(lambda: not Path(f"/proc/{killed}").exists(), 30)
    wait_for(lambda: "san1/slow" in quickstart.run("fault", "list", "--lab", quickstart.name, check=False).stdout, 60)
    quickstart.exec("web1", "sh", "-c", "echo again >/root/again && sync")
    wait_for(lambda: hits(quickstart) > 0, 30)


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        (("add", "glod", "--pause"), ('no array or datastore glod', 'did you mean "gold"?'), 6),
        (("add", "gold/web1-disk9", "--pause"), ("gold has no volume web1-disk9", 'did you mean "web1-disk0"?'), 6),
        (("add", "gold"), ("no action was given", "one of --latency"), 2),
        (("add", "gold", "--pause", "--silent"), ("--pause and --silent are two faults",), 2),
        (("add", "gold", "--error", "stale"), ('there is no error "stale" over iSCSI',), 2),
        (("add", "gold", "--pause", "--op", "raed"), ('there is no operation "raed"', 'did you mean "read"?'), 1),
        (("add", "gold", "--pause", "--path", "x"), ("--path is for NFS datastores",), 2),
        (("add", "gold", "--pause", "--range", "0-1", "--lba", "0"), ("--range and --lba say the same",), 2),
        (("add", DISK, "--drop-after", "1MiB"), ("drop is about connections, which all LUNs share",), 1),
        (("add", "san1/x", "--pause"), ("san1 is an array", "write DATASTORE/VOLUME"), 2),
        (("add", "gold", "--pause", "--initiator", "exs1"), ("there is no host exs1", 'did you mean "esx1"?'), 2),
        (("clear",), ("say which faults, or --all",), 2),
        (("clear", "9"), ("there is no fault 9", "no fault is set"), 6),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_words(quickstart, faults, arguments, said, code) -> None:
    done = faults(*arguments, check=False)
    assert (done.returncode, [each in done.stderr for each in said]) == (code, [True] * len(said)), done.stderr
    assert "Traceback" not in done.stderr
