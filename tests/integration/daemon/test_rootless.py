"""Without root, the same commands work: the lab lives in a user namespace that outlives the commands and ends with `down`."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from labctl.linux.processes import ProcessId, alive
from labctl.testing.waiting import wait_for

pytestmark = pytest.mark.needs("userns")

LAB = """
[network.production]
subnet = "10.10.0.0/24"
role = "production"
[network.management]
subnet = "10.30.0.0/24"
role = "management"
[node.a]
networks = ["production"]
[node.b]
networks = ["production"]
"""


@pytest.fixture
def labctl(ordinary_user: Any, unique: str) -> Any:
    """Runs the command line as somebody without rights; takes the lab down at the end."""
    home = ordinary_user.home / "labs-home"

    def run(*arguments: str, check: bool = True) -> Any:
        program = str(Path(sys.executable).parent / "labctl")
        return ordinary_user.run([program, *arguments], check=check, env={"LABCTL_HOME": str(home)})

    (ordinary_user.home / "lab.toml").write_text(LAB)
    run.home = home  # type: ignore[attr-defined]
    yield run
    run("down", unique, check=False)


def holder_of(labctl: Any, lab: str) -> ProcessId:
    known = json.loads((labctl.home / "labs" / lab / "holder.json").read_text())
    return ProcessId(pid=known["pid"], start_time=known["start_time"])


def test_lab_lives_in_a_user_namespace_and_leaves_nothing(labctl: Any, unique: str) -> None:
    labctl("up", "lab.toml", "--name", unique)
    status = json.loads(labctl("status", "--json").stdout)
    assert status["lab"]["rootless"] is True
    address = next(item["addresses"]["production"] for item in status["resources"] if item["name"] == "b")
    pinged = labctl("exec", "a", "--", "ping", "-c1", "-W2", address, check=False)
    shown = labctl("exec", "a", "--", "ip", "-br", "address").stdout
    assert "eth0" in shown
    assert pinged.returncode == 0, pinged.stderr
    assert labctl("exec", "a", "--", "sh", "-c", "exit 7", check=False).returncode == 7
    holder = holder_of(labctl, unique)
    assert alive(holder)
    labctl("down", unique)
    assert not alive(holder)
    assert not (labctl.home / "labs").exists()


def test_second_up_does_nothing(labctl: Any, unique: str) -> None:
    labctl("up", "lab.toml", "--name", unique)
    assert "nothing to do" in labctl("up", "lab.toml", "--name", unique).stdout


def test_lab_survives_its_labd_and_is_made_anew_after_its_holder(labctl: Any, unique: str) -> None:
    labctl("up", "lab.toml", "--name", unique)
    holder = holder_of(labctl, unique)
    labd = labd_of(labctl, unique)
    os.kill(labd, signal.SIGKILL)
    assert "nothing to do" in labctl("up", "lab.toml", "--name", unique).stdout
    assert holder_of(labctl, unique) == holder
    os.kill(labd_of(labctl, unique), signal.SIGKILL)
    os.kill(holder.pid, signal.SIGKILL)
    wait_for(lambda: not alive(holder))
    labctl("up", "lab.toml", "--name", unique)
    assert alive(holder_of(labctl, unique))
    assert "eth0" in labctl("exec", "a", "--", "ip", "-br", "link").stdout


def labd_of(labctl: Any, lab: str) -> int:
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"labctl.daemon" in words and lab.encode() in words:
            return int(process.name)
    raise AssertionError(f"no labd of {lab}")
