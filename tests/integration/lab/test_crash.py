"""labd dies at every point that its journal knows; the next `up` converges, and `down` leaves nothing.

The points are counted, not listed: a unit type that is added to the topology below, or a step that is added to the runtime, is covered
without anybody's thinking of it. The leak check after each test looks for what `down` left.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from labctl.daemon.launcher import READY_VARIABLE
from labctl.testing import leaks

from .conftest import LabUnderTest

Side = Literal["before", "after"]

ALL = os.environ.get("LABCTL_CRASH_POINTS") == "all"
"""labd dies at each point, before the odd ones and after the even ones; and somebody else at every fourth. `all` does all of it."""

pytestmark = [pytest.mark.needs("root", "qemu", "tun"), pytest.mark.slow, pytest.mark.timeout(1200)]

EVERY_UNIT_TYPE = """
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
size = "1GiB"

[datastore.shared]
array = "san1"
protocol = "nfs"
size = "1GiB"

[host.esx1]

[vm.web1]
host = "esx1"
image = "IMAGE"
memory = "32MiB"
disks = [{ datastore = "gold", size = "8MiB" }, { datastore = "shared", size = "8MiB" }]

[node.client]
networks = ["production"]
"""


@pytest.fixture
def topology(tmp_path: Path) -> Path:
    """Every unit type once; the VM has no system to boot, so that nothing waits for one."""
    image = tmp_path / "empty.img"
    image.write_bytes(bytes(1 << 20))
    file = tmp_path / "lab.toml"
    file.write_text(EVERY_UNIT_TYPE.replace("IMAGE", str(image)))
    return file


@contextlib.contextmanager
def mortal_labd(
    lab: LabUnderTest, counter: Path, at: int | None = None, side: Side = "after", victim: str = "labd"
) -> Iterator[None]:
    """A labd at whose transaction `at` the victim is killed; it serves when the block begins, or is dead already."""
    (lab.home / "labs" / lab.name).mkdir(parents=True, exist_ok=True)
    counter.write_text("0")
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    script = Path(__file__).with_name("mortal_labd.py")
    argv = [sys.executable, str(script), "--lab", lab.name, "--home", str(lab.home)]
    argv += ["--counter", str(counter), *(["--at", str(at), "--side", side, "--victim", victim] if at else [])]
    environment = {**lab.environment, READY_VARIABLE: str(writing), "LABCTL_LAB": lab.name}
    with subprocess.Popen(argv, env=environment, pass_fds=[writing], stderr=subprocess.DEVNULL) as process:
        os.close(writing)
        os.read(reading, 1)
        os.close(reading)
        try:
            yield
        finally:
            process.kill()


def points(total: int, side: Side) -> range:
    """The transactions to die at."""
    return range(1, total + 1) if ALL else range(1 if side == "before" else 2, total + 1, 2)


def transactions(lab: LabUnderTest, counter: Path, command: list[str]) -> int:
    """How many transactions a command comes to."""
    with mortal_labd(lab, counter):
        lab.run(*command)
        return int(counter.read_text())


def assert_whole(lab: LabUnderTest, topology: Path, where: str) -> None:
    """One more `up` has nothing to do, and everything is as it should be."""
    again = lab.up(topology)
    assert "nothing to do" in again.stdout, (where, again.stdout)
    states = {name: resource["state"] for name, resource in lab.status().items()}
    assert set(states.values()) <= {"running", "Connected"}, (where, states)


def assert_nothing_left(lab: LabUnderTest, where: str) -> None:
    assert not leaks.after_grace(lab.name, [lab.home]), (where, leaks.told(leaks.find(lab.name, [lab.home])))
    assert not (lab.home / "labs" / lab.name).exists(), where


@pytest.mark.parametrize("side", ["before", "after"])
def test_labd_killed_at_every_point_of_up(lab, topology, tmp_path, side: Side) -> None:
    counter = tmp_path / "count"
    total = transactions(lab, counter, ["up", str(topology), "--name", lab.name])
    lab.down()
    assert total > 10
    for point in points(total, side):
        where = f"up, {side} transaction {point} of {total}"
        with mortal_labd(lab, counter, point, side):
            lab.run("up", str(topology), "--name", lab.name, check=False)
        lab.up(topology)
        assert_whole(lab, topology, where)
        lab.down()
        assert_nothing_left(lab, where)


def test_labd_killed_at_every_point_of_up_and_then_taken_down(lab, topology, tmp_path) -> None:
    counter = tmp_path / "count"
    total = transactions(lab, counter, ["up", str(topology), "--name", lab.name])
    lab.down()
    for point in range(1, total + 1):
        with mortal_labd(lab, counter, point):
            lab.run("up", str(topology), "--name", lab.name, check=False)
        lab.down()
        assert_nothing_left(lab, f"up then down, transaction {point} of {total}")


@pytest.mark.parametrize("side", ["before", "after"])
def test_labd_killed_at_every_point_of_down(lab, topology, tmp_path, side: Side) -> None:
    counter = tmp_path / "count"
    lab.up(topology)
    os.kill(lab.labd_pid, signal.SIGKILL)
    total = transactions(lab, counter, ["down", lab.name])
    assert total > 10
    for point in points(total, side):
        where = f"down, {side} transaction {point} of {total}"
        lab.up(topology)
        os.kill(lab.labd_pid, signal.SIGKILL)
        with mortal_labd(lab, counter, point, side):
            lab.run("down", lab.name, check=False)
        if (lab.home / "labs" / lab.name).exists():
            lab.down()
        assert_nothing_left(lab, where)


VICTIMS = {
    "hostd": "LABCTL_NODE=esx1",
    "emulator": "LABCTL_NODE=san1",
    "QEMU": "LABCTL_VM={lab}/esx1/web1",
    "command line": "LABCTL_VICTIM={lab}",
}


@pytest.mark.parametrize("command", ["up", "down"])
@pytest.mark.parametrize("victim", VICTIMS)
def test_somebody_else_killed_while_labd_works(lab, topology, tmp_path, victim: str, command: str) -> None:
    counter = tmp_path / "count"
    mark = VICTIMS[victim].format(lab=lab.name)
    up, down = ["up", str(topology), "--name", lab.name], ["down", lab.name]
    total = transactions(lab, counter, up)
    if command == "down":
        total = transactions(lab, counter, down)
    else:
        lab.down()
    for point in range(1, total + 1) if ALL else range(1 + len(victim) % 4, total + 1, 4):
        where = f"{victim} killed in {command}, transaction {point} of {total}"
        if command == "down":
            lab.up(topology)
            os.kill(lab.labd_pid, signal.SIGKILL)
        with mortal_labd(lab, counter, point, victim=mark):
            lab.run(*(up if command == "up" else down), check=False, LABCTL_VICTIM=lab.name)
        if command == "up":
            lab.up(topology)
            assert_whole(lab, topology, where)
        if (lab.home / "labs" / lab.name).exists():
            lab.down()
        assert_nothing_left(lab, where)
