import os
import socket
import subprocess
from pathlib import Path

import pytest

from labctl.testing import leaks
from labctl.testing.plugin import new_token
from labctl.testing.waiting import wait_for


@pytest.fixture
def other() -> str:
    """A token that is not this test's own, so that its leaks may be found and removed here."""
    return new_token()


def sleeper(environment: dict[str, str], *marks: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "1000", *marks] if marks else ["sleep", "1000"], env=environment)


def test_a_process_is_found_by_its_environment_and_killed(other: str) -> None:
    with sleeper({**os.environ, leaks.TOKEN_VARIABLE: other}) as process:
        wait_for(lambda: list(leaks.processes(other)))
        assert leaks.find(other) == [leaks.Leak("process", str(process.pid), "sleep 1000")]
        leaks.sweep(other)
        assert process.wait(5) == -9
    assert leaks.find(other) == []


def test_a_process_with_an_empty_environment_is_found_by_its_command_line(other: str) -> None:
    with subprocess.Popen(["sh", "-c", f"read forever # {other}"], env={}, stdin=subprocess.PIPE) as process:
        wait_for(lambda: list(leaks.processes(other)))
        assert [leak.name for leak in leaks.processes(other)] == [str(process.pid)]
        process.kill()


def test_another_tests_process_is_not_found(other: str) -> None:
    with sleeper({**os.environ, leaks.TOKEN_VARIABLE: new_token()}) as process:
        assert leaks.find(other) == []
        process.kill()


def test_a_socket_left_in_a_folder_is_found_and_removed(other: str, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
    assert leaks.find(other, [tmp_path]) == [leaks.Leak("socket", str(tmp_path / "s"))]
    with pytest.raises(AssertionError, match=r"left behind:\n  socket "):
        leaks.check(other, [tmp_path])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.needs("root", "net")
def test_a_named_namespace_and_a_link_are_found_and_removed(other: str) -> None:
    subprocess.run(["ip", "netns", "add", f"{other}-a"], check=True)
    subprocess.run(["ip", "link", "add", f"{other}x", "type", "veth", "peer", "name", f"{other}y"], check=True)
    found = {(leak.what, Path(leak.name).name) for leak in leaks.find(other)}
    assert found == {("namespace", f"{other}-a"), ("mount", f"{other}-a"), ("link", f"{other}x"), ("link", f"{other}y")}
    leaks.sweep(other)
    assert leaks.find(other) == []


@pytest.mark.needs("root", "cgroup2")
def test_a_cgroup_is_found_and_removed_with_the_process_in_it(other: str) -> None:
    root = next(
        path
        for path in leaks._cgroup_roots()
        if ((path / "cgroup.procs").exists() and "unified" in str(path)) or (path / "cgroup.controllers").exists()
    )
    inner = root / "labctl-test" / other / "inner"
    inner.mkdir(parents=True)
    with subprocess.Popen(["sleep", "1000"]) as process:
        (inner / "cgroup.procs").write_text(str(process.pid))
        kinds = {leak.what for leak in leaks.find(other)}
        assert kinds == {"process", "cgroup"}
        leaks.sweep(other)
        assert process.wait(5) == -9
    leaks.sweep(other)
    assert leaks.find(other) == []
    inner.parent.parent.rmdir()


def test_the_whole_machine_differs_by_what_a_lab_would_leave(other: str) -> None:
    before = leaks.machine_state()
    with sleeper({**os.environ, leaks.TOKEN_VARIABLE: other}) as process:
        wait_for(lambda: list(leaks.processes(other)))
        assert str(process.pid) in {leak.name for leak in leaks.machine_state() - before}
        process.kill()
