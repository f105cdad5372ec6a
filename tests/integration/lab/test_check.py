"""`labctl check` on the traffic of a running lab."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = [
    pytest.mark.needs("root", "qemu", "qemu-iscsi", "tun"),
    pytest.mark.xdist_group("lab"),
    pytest.mark.timeout(600),
]

LAB = """
[lab]
name = "checked"
[network.production]
subnet = "10.10.0.0/24"
[network.storage]
role = "storage"
subnet = "10.20.0.0/24"
[network.management]
role = "management"
subnet = "10.30.0.0/24"
[array.san1]
protocols = ["iscsi"]
[datastore.gold]
array = "san1"
protocol = "iscsi"
size = "1GiB"
[host.esx1]
[vm.web1]
host = "esx1"
image = "micro"
memory = "128MiB"
disks = [{ datastore = "gold", size = "64MiB" }]
nics = [{ network = "production" }]
"""
CHECKS = """
[check.sound]
failed = true
never = true
within = "1s"

[check.reads]
op = "READ"
vm = "web1"
datastore = "gold"
count = 2
within = "60s"
on = "web1"
run = ["sh", "-c", "echo 3 > /proc/sys/vm/drop_caches; dd if=/dev/vda of=/dev/null bs=64k count=64"]

[check.copies]
op = "EXTENDED COPY"
within = "500ms"

[check.broken]
op = "READ"
on = "web1"
run = ["sh", "-c", "echo it is so >&2; exit 3"]
"""


@pytest.fixture(scope="module")
def checked(lab_of: Callable[[str], Any]) -> Any:
    """A lab with checks, which an `up` of a topology with nothing else new brings in."""
    lab = lab_of(LAB)
    before = lab.run("check", "--lab", lab.name, check=False)
    assert (before.returncode, before.stderr) == (
        2,
        f"error: lab {lab.name} has no checks\nhint: add [check.NAME] with, for example, failed = true and never = true to "
        "its topology, and `labctl up` it\n",
    )
    (lab.home / "lab.toml").write_text(LAB + CHECKS)
    lab.up(lab.home / "lab.toml")
    assert lab.status()["check.sound"]["summary"] == "never a command that failed within 1 s"
    return lab


def test_checks_that_are_kept_end_well(checked: Any) -> None:
    done = checked.run("check", "--lab", checked.name, "reads", "sound")
    sound, reads = done.stdout.splitlines()
    assert sound == "ok      sound  none in 1 s"
    assert reads.startswith("ok      reads  seen after ")
    assert ": web1 READ(10) gold/web1-disk0 (LUN 0), " in reads
    assert reads.endswith(", GOOD")
    assert done.stderr == "watching esx1/vmk1\n"


def test_checks_that_are_not_kept_fail_with_their_reasons(checked: Any) -> None:
    done = checked.run("check", "--lab", checked.name, "copies", "broken", check=False)
    assert done.returncode == 1
    copies, broken = done.stdout.splitlines()
    assert copies.startswith("failed  copies  0 of 1 within 500 ms; seen: ")
    assert broken == "failed  broken  its command ended with exit code 3: it is so"


def test_programs_get_what_was_asked_and_what_was_seen(checked: Any) -> None:
    (reads,) = checked.json("check", "reads", "--lab", checked.name)["checks"]
    assert (reads["name"], reads["ok"], reads["asked"]["datastore"]) == ("reads", True, "gold")
    assert reads["seen"] >= 2
    assert {(each["vm"], each["operation"]) for each in reads["commands"]} == {("web1", "READ(10)")}


def test_a_check_that_is_not_there_is_said(checked: Any) -> None:
    done = checked.run("check", "read", "--lab", checked.name, check=False)
    assert (done.returncode, done.stderr) == (2, 'error: no check "read"\nhint: did you mean "reads"?\n')
