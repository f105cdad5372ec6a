"""The commands on a running lab, as their user sees them."""

from __future__ import annotations

import os
import pty
import select
import subprocess
from xml.etree import ElementTree

import pytest

from labctl.testing.waiting import Deadline

from .conftest import LABCTL

pytestmark = [pytest.mark.needs("root", "qemu", "tun"), pytest.mark.xdist_group("lab")]

CTRL_CLOSE_BRACKET = b"\x1d"
CONSOLE_DEADLINE = 30.0


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, lab, *arguments: str) -> None:
        self._mine, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [*LABCTL, *arguments],
            env=lab.environment,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self.seen = b""

    def type(self, text: bytes) -> None:
        os.write(self._mine, text)

    def expect(self, text: bytes) -> None:
        deadline = Deadline(CONSOLE_DEADLINE)
        while text not in self.seen:
            ready, _, _ = select.select([self._mine], [], [], deadline.left)
            assert ready, f"no {text!r} in {self.seen!r}"
            try:
                self.seen += os.read(self._mine, 4096)
            except OSError:  # the other side closed
                raise AssertionError(f"it ended without {text!r}: {self.seen!r}") from None

    def end(self) -> int:
        try:
            return self.process.wait(CONSOLE_DEADLINE)
        finally:
            self.process.kill()
            self.process.wait()
            os.close(self._mine)


def test_the_console_is_the_guests_own_and_ctrl_close_bracket_leaves_it(quickstart) -> None:
    terminal = Terminal(quickstart, "console", "web1", "--lab", quickstart.name)
    try:
        terminal.expect(b"ctrl-] leaves")
        terminal.type(b"\n")
        terminal.expect(b"web1:")
        terminal.type(b"echo $((6 * 7))-from-the-console\n")
        terminal.expect(b"42-from-the-console")
        terminal.type(CTRL_CLOSE_BRACKET)
    finally:
        code = terminal.end()
    assert code == 0


def test_a_shell_in_a_node_sees_that_nodes_network_alone(quickstart) -> None:
    terminal = Terminal(quickstart, "shell", "client", "--lab", quickstart.name)
    try:
        terminal.type(b"ip -o -4 addr show eth0; exit 3\n")
        terminal.expect(b"inet 10.10.0.")
    finally:
        code = terminal.end()
    assert code == 3


@pytest.mark.parametrize(
    ("command", "key", "names"),
    [
        (("vm", "list"), "vms", {"web1", "db1"}),
        (("host", "list"), "hosts", {"esx1", "esx2"}),
        (("datastore", "list"), "datastores", {"gold", "shared"}),
    ],
)
def test_lists_name_what_there_is_for_people_and_for_programs(quickstart, command, key, names) -> None:
    assert {row["name"] for row in quickstart.json(*command, "--lab", quickstart.name)[key]} == names
    shown = quickstart.run(*command, "--lab", quickstart.name).stdout
    assert all(name in shown for name in names)


def test_a_vm_is_stopped_shown_as_stopped_and_started(quickstart) -> None:
    quickstart.run("vm", "stop", "db1", "--lab", quickstart.name)
    assert quickstart.status()["vm.db1"]["state"] == "stopped"
    quickstart.run("vm", "start", "db1", "--lab", quickstart.name)
    assert quickstart.status()["vm.db1"]["state"] == "running"
    assert quickstart.exec("db1", "hostname").stdout == "db1\n"


def test_inspect_events_and_logs_tell_of_the_lab(quickstart) -> None:
    assert quickstart.json("inspect", "vm.web1", "--lab", quickstart.name)["name"] == "web1"
    assert "vm.started" in quickstart.run("events", "--lab", quickstart.name).stdout
    assert "serving san1" in quickstart.run("logs", "san1", "--lab", quickstart.name).stdout


def test_the_running_lab_is_drawn_in_each_form(quickstart, tmp_path) -> None:
    graph = ["graph", "--lab", quickstart.name]
    assert "vm web1" in quickstart.run(*graph).stdout
    assert quickstart.run(*graph, "--format", "mermaid").stdout.startswith("flowchart")
    file = tmp_path / "lab.svg"
    quickstart.run(*graph, "--format", "svg", "-o", str(file))
    assert "vm web1" in " ".join(ElementTree.parse(file).getroot().itertext())


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        (("inspect", "vm.web9"), "web1", 6),
        (("exec", "web9", "--", "true"), "web1", 6),
        (("logs", "san9"), "san1", 6),
    ],
)
def test_a_name_that_is_not_there_suggests_the_nearest(quickstart, arguments, said, code) -> None:
    split = arguments.index("--") if "--" in arguments else len(arguments)
    done = quickstart.run(*arguments[:split], "--lab", quickstart.name, *arguments[split:], check=False)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr
