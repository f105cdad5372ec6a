"""Processes, control groups and holders of user namespaces, for real."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from labctl.errors import MissingToolError, NotRunningError
from labctl.linux import cgroups, processes, userns
from labctl.linux.namespaces import create_many, delete_many
from labctl.linux.processes import ProcessId
from labctl.testing.users import OrdinaryUser


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        os.sched_yield()


def test_a_process_is_detached_logged_and_ended(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = processes.spawn(["sh", "-c", "echo out; echo err >&2; pwd; exec sleep 60"], directory=tmp_path, log=log)
    try:
        until(lambda: log.read_text().count("\n") == 3)
        assert log.read_text() == f"out\nerr\n{tmp_path}\n"
        assert os.getsid(process.pid) == process.pid
        assert str(Path(f"/proc/{process.pid}/fd/0").readlink()) == os.devnull
        assert processes.alive(process)
    finally:
        processes.terminate([process])
    assert not processes.alive(process)
    processes.terminate([process])


def test_who_ignores_sigterm_is_killed_after_the_grace(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = processes.spawn(["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 60; done"], log=log)
    until(lambda: log.exists() and "ready" in log.read_text())
    group = process.pid
    try:
        assert processes.send_signal(process, signal.SIGTERM)
        assert processes.alive(process)
        processes.terminate([process], grace=0.05)
        assert not processes.alive(process)
    finally:
        os.killpg(group, signal.SIGKILL)  # the shell's own sleep


def test_a_recycled_pid_is_never_signalled() -> None:
    process = processes.spawn(["sleep", "60"])
    impostor = replace(process, start_time=process.start_time - 1)
    try:
        assert not processes.alive(impostor)
        assert processes.open_pidfd(impostor) is None
        assert not processes.send_signal(impostor, signal.SIGKILL)
        processes.terminate([impostor], grace=0)
        assert processes.alive(process)
    finally:
        processes.terminate([process], grace=0)


def test_a_zombie_is_dead_and_its_status_is_collected_once() -> None:
    process = processes.spawn(["sh", "-c", "exit 3"])
    assert processes.wait_gone([process], 10) == []
    assert not processes.alive(process)
    assert processes.reap(process) == 3
    assert processes.reap(process) is None


def test_a_process_is_found_by_its_token_and_by_nothing_less(unique: str) -> None:
    environment = {**os.environ, "LABCTL_TOKEN": f"{unique}-x"}
    process = processes.spawn(["sleep", "60"], environment=environment)
    try:
        assert processes.find_by_environment(f"LABCTL_TOKEN={unique}-x") == [process]
        assert processes.find_by_environment(f"LABCTL_TOKEN={unique}") == []
    finally:
        processes.terminate([process], grace=0)
    assert processes.find_by_environment(f"LABCTL_TOKEN={unique}-x") == []


def test_a_missing_program_is_named() -> None:
    with pytest.raises(MissingToolError, match="no-such-program"):
        processes.spawn(["no-such-program"])


@pytest.mark.needs("root", "cgroup2")
def test_a_process_starts_inside_its_namespace_and_cgroup_and_dies_with_it(unique: str, tmp_path: Path) -> None:
    space = Path("/run/netns", f"{unique}-a")
    hierarchy = cgroups.find()
    assert hierarchy is not None
    log = tmp_path / "log"
    try:
        assert create_many([space]) == {}
        folder = cgroups.ensure(hierarchy, unique, "node")
        script = "cat /proc/self/cgroup; readlink /proc/self/ns/net; sleep 60 & sleep 60"
        process = processes.spawn(["sh", "-c", script], namespace=space, cgroups=[folder], log=log)
        assert cgroups.processes(folder)
        until(lambda: len(cgroups.processes(folder)) == 3)
        told = log.read_text()
        assert f"0::/labctl/{unique}/node\n" in told
        assert f"net:[{space.stat().st_ino}]" in told
        cgroups.kill(folder)
        assert cgroups.processes(folder) == []
        assert not processes.alive(process)
        assert processes.reap(process) == -signal.SIGKILL
    finally:
        cgroups.remove(hierarchy, unique)
        delete_many([space])
    assert not (hierarchy.unified / "labctl" / unique).exists()
    cgroups.remove(hierarchy, unique)


@pytest.mark.needs("root", "cgroup2")
def test_limits_hold_or_are_said_to_be_missing(unique: str) -> None:
    hierarchy = cgroups.find()
    assert hierarchy is not None
    try:
        limits = cgroups.limit(hierarchy, unique, "node", memory=64 << 20, cpus=0.5)
        said = " ".join(limits.missing)
        files = {name.name: name for folder in limits.folders for name in folder.iterdir()}
        memory = files.get("memory.max") or files.get("memory.limit_in_bytes")
        assert "memory" in said or (memory is not None and memory.read_text().strip() == str(64 << 20))
        assert "cpu" in said or "cpu.max" in files or files["cpu.cfs_quota_us"].read_text().strip() == "50000"
        without = cgroups.limit(replace(hierarchy, controllers={}), unique, "other", memory=64 << 20)
        assert len(without.folders) == 1
        assert without.missing or (without.folders[0] / "memory.max").read_text().strip() == str(64 << 20)
    finally:
        cgroups.remove(hierarchy, unique)


@pytest.mark.needs("userns")
def test_an_ordinary_user_holds_and_enters_a_namespace(unique: str, ordinary_user: OrdinaryUser) -> None:
    code = f"""
import os, subprocess
from labctl.linux import processes, userns
holder = userns.start_holder({{"PATH": os.environ["PATH"], "LABCTL_TOKEN": "{unique}"}})
try:
    run = lambda *argv: subprocess.run(userns.enter_command(holder, argv), capture_output=True, text=True, check=True).stdout
    assert processes.find_by_environment("LABCTL_TOKEN={unique}") == [holder]
    assert run("id", "-u") == "0\\n"
    run("mount", "-t", "tmpfs", "none", "/mnt")
    assert " /mnt " in run("cat", "/proc/self/mountinfo")
    assert " /mnt " not in open("/proc/self/mountinfo").read()
    assert "shared:" not in run("cat", "/proc/self/mountinfo")
finally:
    processes.terminate([holder], grace=0)
assert not processes.find_by_environment("LABCTL_TOKEN={unique}")
"""
    ordinary_user.run([sys.executable, "-c", code])


@pytest.mark.needs("userns")
def test_a_holder_that_is_gone_cannot_be_entered() -> None:
    holder = userns.start_holder({"PATH": os.environ["PATH"]})
    processes.terminate([holder], grace=0)
    with pytest.raises(NotRunningError):
        userns.enter_command(holder, ["true"])
    with pytest.raises(NotRunningError):
        userns.enter_command(ProcessId(pid=os.getpid(), start_time=0), ["true"])
