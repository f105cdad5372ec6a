"""A real labd with a small plugin: started once, outlives its callers, leaves nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from labctl.daemon.client import DaemonClient
from labctl.daemon.launcher import ensure_daemon, known_labs, running_labs, take_down
from labctl.daemon.openapi import document
from labctl.errors import ConflictError, ExitCode, LabError, NotRunningError, UsageError
from labctl.linux.processes import alive, identify
from labctl.testing.waiting import wait_for

PLUGIN = Path(__file__).parent / "plugin"

LAB = """
[lab]
name = "ignored"
[thing.a]
text = "hello"
[thing.b]
"""

SLOW = '[thing.slow]\nwaits = "go"\n'


@pytest.fixture
def home(lab_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home with the test's plugin on every child's path; what labs a test left running are taken down."""
    monkeypatch.setenv("PYTHONPATH", str(PLUGIN))
    yield lab_home
    for name in known_labs(lab_home):
        (lab_home / "labs" / name / "go").touch()
        with take_down(lab_home, name, purge=True) as stream:
            for _ in stream:
                pass


@pytest.fixture
def labctl(home: Path, tmp_path: Path) -> Any:
    """Runs the command line in a process of its own."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(*arguments), capture_output=True, text=True, timeout=60, cwd=tmp_path, check=False
        )

    return run


def command(*arguments: str) -> Sequence[str]:
    return [sys.executable, "-c", "from labctl.cli.main import main; main()", *arguments]


def up(client: DaemonClient, text: str = LAB) -> dict[str, Any]:
    for entry in client.stream("POST", "/v1/up", {"topology": text, "path": "lab.toml", "restart": False}):
        if "report" in entry:
            return dict(entry["report"])
    raise AssertionError("no report")


def pid_of(client: DaemonClient) -> int:
    return int(client.get("/v1/lab")["pid"])


def test_two_command_lines_at_once_start_one_labd(home: Path, unique: str) -> None:
    pids: list[int] = []
    threads = [threading.Thread(target=lambda: pids.append(pid_of(ensure_daemon(home, unique)))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(pids) == 4
    assert len(set(pids)) == 1


def test_labd_that_cannot_start_shows_the_end_of_its_log(
    home: Path, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = home / "labs" / unique
    folder.mkdir(parents=True)
    (folder / "journal.db").write_text("this is no database, however one looks at it")
    with pytest.raises(LabError, match="ended at once") as caught:
        ensure_daemon(home, unique)
    assert "journal" in caught.value.message
    (folder / "journal.db").unlink()


def test_up_makes_and_a_second_up_does_nothing(home: Path, unique: str) -> None:
    client = ensure_daemon(home, unique)
    assert up(client)["nothing_to_do"] is False
    assert up(client)["nothing_to_do"] is True
    states = {item["name"]: item["state"] for item in client.get("/v1/status")["resources"]}
    assert states == {"a": "running", "b": "running"}


def test_lab_survives_the_death_of_its_labd(home: Path, unique: str) -> None:
    client = ensure_daemon(home, unique)
    up(client)
    first = pid_of(client)
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: running_labs(home) == [])
    client = ensure_daemon(home, unique)
    assert pid_of(client) != first
    assert {item["name"] for item in client.get("/v1/status")["resources"]} == {"a", "b"}
    assert up(client)["nothing_to_do"] is True


def test_sigterm_ends_labd_and_leaves_the_lab(home: Path, unique: str) -> None:
    client = ensure_daemon(home, unique)
    up(client)
    daemon = identify(pid_of(client))
    os.kill(daemon.pid, signal.SIGTERM)
    wait_for(lambda: not alive(daemon))
    assert (home / "labs" / unique / "file:a").read_text() == "hello"
    with pytest.raises(NotRunningError):
        client.get("/v1/lab")


def test_up_goes_on_when_the_command_line_is_killed(home: Path, unique: str, tmp_path: Path) -> None:
    topology = tmp_path / "slow.toml"
    topology.write_text(f'[lab]\nname = "{unique}"\n{SLOW}')
    process = subprocess.Popen(command("up", str(topology)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: running_labs(home) == [unique], 20)
    client = DaemonClient(home / "labs" / unique / "labd.sock", unique)
    wait_for(lambda: client.get("/v1/lab")["operation"] == "up", 20)
    process.kill()
    process.wait()
    assert client.get("/v1/lab")["operation"] == "up"
    (home / "labs" / unique / "go").touch()
    wait_for(lambda: client.get("/v1/lab")["operation"] is None)
    assert client.get("/v1/status")["resources"][0]["state"] == "running"


def test_second_operation_waits_for_the_first_and_says_so(home: Path, unique: str) -> None:
    client = ensure_daemon(home, unique)
    body = {"topology": SLOW, "path": "lab.toml"}
    first = client.stream("POST", "/v1/up", body)
    next(first)
    second = client.stream("POST", "/v1/up", body)
    assert "up is under way" in next(second)["waiting"]
    (home / "labs" / unique / "go").touch()
    assert list(first)[-1]["report"]["nothing_to_do"] is False
    assert list(second)[-1]["report"]["nothing_to_do"] is True


def test_down_ends_labd_and_leaves_no_folder(home: Path, unique: str) -> None:
    client = ensure_daemon(home, unique)
    up(client)
    daemon = identify(pid_of(client))
    with take_down(home, unique, purge=False) as stream:
        assert "report" in list(stream)[-1]
    assert not (home / "labs").exists()
    assert not alive(daemon)


def test_down_of_a_lab_whose_labd_is_dead_removes_it(home: Path, unique: str) -> None:
    client = ensure_daemon(home, unique)
    up(client)
    os.kill(pid_of(client), signal.SIGKILL)
    wait_for(lambda: running_labs(home) == [])
    with take_down(home, unique, purge=False) as stream:
        assert "report" in list(stream)[-1]
    assert known_labs(home) == []


def test_socket_is_for_its_owner_only(home: Path, unique: str) -> None:
    ensure_daemon(home, unique)
    assert (home / "labs" / unique / "labd.sock").stat().st_mode & 0o777 == 0o600


def test_faults_of_a_topology_come_back_all_at_once(home: Path, unique: str) -> None:
    client = ensure_daemon(home, unique)
    with pytest.raises(LabError) as caught:
        up(client, "[thing.a]\ntex = 1\n[thin.b]\n")
    assert caught.value.exit_code is ExitCode.INVALID_TOPOLOGY
    assert "lab.toml:2:1: error: thing.a:" in caught.value.message
    assert len(caught.value.message.splitlines()) == 2


def test_plan_tells_without_touching(home: Path, unique: str) -> None:
    client = ensure_daemon(home, unique)
    plan = client.post("/v1/plan", {"topology": LAB, "path": "lab.toml"})
    assert [step["unit"] for step in plan["steps"]] == ["file:a", "file:b"]
    assert client.get("/v1/status")["resources"] == []


def test_actions_take_arguments_and_tell_refusals(home: Path, unique: str) -> None:
    client = ensure_daemon(home, unique)
    up(client)
    answer = client.action("thing", "a", "echo", {"x": 1})
    assert answer == {"result": {"name": "a", "arguments": {"x": 1}}}
    with pytest.raises(ConflictError, match="a will not") as caught:
        client.action("thing", "a", "refuse")
    assert caught.value.hint == "ask nicely"


def test_events_are_kept_and_followed(home: Path, unique: str) -> None:
    client = ensure_daemon(home, unique)
    up(client)
    kept = list(client.stream("GET", "/v1/events", query={"since": 0}))
    assert [entry["event"] for entry in kept] == ["thing.made", "thing.made"]
    follow = client.stream("GET", "/v1/events", query={"since": kept[0]["sequence"], "follow": "true"})
    assert next(follow)["properties"]["resource"] == "thing.b"


def test_inventory_tells_what_changed_since(home: Path, unique: str) -> None:
    client = ensure_daemon(home, unique)
    up(client)
    everything = client.get("/v1/inventory")
    assert {item["id"] for item in everything["objects"]} == {"thing.a", "thing.b"}
    assert client.get("/v1/inventory", {"since": everything["revision"]})["objects"] == []


def test_wrong_requests_are_told_apart(home: Path, unique: str) -> None:
    client = ensure_daemon(home, unique)
    with pytest.raises(UsageError, match="needs `topology`"):
        client.post("/v1/plan", {})
    with pytest.raises(UsageError, match="since must be a number"):
        client.get("/v1/inventory", {"since": "x"})
    with pytest.raises(LabError, match="404"):
        client.get("/v1/nothing")


def test_served_description_is_the_documented_one(home: Path, unique: str) -> None:
    served = ensure_daemon(home, unique).get("/openapi.json")
    assert served == json.loads(json.dumps(document()))


def test_labs_run_side_by_side_from_one_file(labctl: Any, home: Path, unique: str, tmp_path: Path) -> None:
    (tmp_path / "lab.toml").write_text(LAB)
    names = [f"{unique}-a", f"{unique}-b"]
    for name in names:
        done = labctl("up", "lab.toml", "--name", name)
        assert done.returncode == 0, done.stderr
    assert running_labs(home) == names
    ambiguous = labctl("inspect", "thing.a")
    assert ambiguous.returncode == ExitCode.USAGE
    assert (
        ambiguous.stderr == f"error: several labs are running: {', '.join(names)}\nhint: say which: --lab {names[0]}\n"
    )
    assert labctl("down", names[0]).returncode == 0
    assert running_labs(home) == [names[1]]
    assert labctl("inspect", "thing.a", "--json").returncode == 0


def test_command_line_through_a_labs_life(labctl: Any, home: Path, unique: str, tmp_path: Path) -> None:
    (tmp_path / "lab.toml").write_text(LAB)
    first = labctl("up", "lab.toml", "--name", unique)
    assert first.returncode == 0, first.stderr
    assert f"lab {unique} is up\n" in first.stdout
    assert "create file:a: done" in first.stderr
    again = labctl("up", "lab.toml", "--name", unique)
    assert f"lab {unique} is up; nothing to do\n" in again.stdout
    status = json.loads(labctl("status", "--json").stdout)
    assert [item["name"] for item in status["resources"]] == ["a", "b"]
    assert "thing.made" in labctl("events").stdout
    assert labctl("logs", "labd").returncode == 0
    assert labctl("thing", "list").stdout == "things\n"
    wrong = labctl("inspect", "thing.aa")
    assert (wrong.returncode, wrong.stderr) == (
        ExitCode.NOT_RUNNING,
        f'error: lab {unique} has no resource thing.aa\nhint: did you mean "thing.a"?\n',
    )
    (tmp_path / "lab.toml").write_text(LAB.replace("[thing.b]", "[thing.c]"))
    plan = labctl("plan", "lab.toml", "--name", unique)
    assert "+ thing.c: add" in plan.stdout
    assert "- thing.b: remove" in plan.stdout
    down = labctl("down")
    assert (down.returncode, down.stdout) == (0, f"lab {unique} is down\n")
    assert labctl("status").returncode == ExitCode.NOT_RUNNING


def test_interrupting_up_says_that_labd_goes_on(home: Path, unique: str, tmp_path: Path) -> None:
    (tmp_path / "slow.toml").write_text(SLOW)
    process = subprocess.Popen(
        command("up", str(tmp_path / "slow.toml"), "--name", unique), stderr=subprocess.PIPE, text=True
    )
    wait_for(lambda: running_labs(home) == [unique], 20)
    client = DaemonClient(home / "labs" / unique / "labd.sock", unique)
    wait_for(lambda: client.get("/v1/lab")["operation"] == "up", 20)
    assert process.stderr is not None
    assert "waiting" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 130
    assert f"labd goes on with the up of lab {unique}" in said
    assert "Traceback" not in said
    assert client.get("/v1/lab")["operation"] == "up"


def test_any_command_starts_a_labd_that_died(labctl: Any, home: Path, unique: str) -> None:
    client = ensure_daemon(home, unique)
    up(client)
    os.kill(pid_of(client), signal.SIGKILL)
    wait_for(lambda: running_labs(home) == [])
    assert "thing" in labctl("status").stdout
    assert running_labs(home) == [unique]


def test_first_up_that_fails_leaves_nothing_and_can_be_repeated_at_once(home: Path, unique: str) -> None:
    for _ in range(3):
        client = ensure_daemon(home, unique)
        with pytest.raises(LabError):
            up(client, "[thing.a]\ntex = 1\n")
    wait_for(lambda: not (home / "labs").exists())
