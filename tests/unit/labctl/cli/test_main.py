"""The command line says what went wrong, what to do, and ends with the documented code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from labctl.cli import main
from labctl.cli.commands import CORE
from labctl.cli.lazy import load
from labctl.errors import ExitCode, LabError


def failing(error: Exception):  # type: ignore[no-untyped-def]
    def fail(*_arguments: object, **_options: object) -> None:
        raise error

    return fail


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABCTL_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["--help"]) == 0
    shown = capsys.readouterr().out
    for name, entry in CORE.items():
        assert f"  {name} " in shown
        assert entry.help[:30] in shown


def every_command() -> list[tuple[str, ...]]:
    """The core's commands, and those of its groups."""
    found: list[tuple[str, ...]] = []
    for name, entry in CORE.items():
        found += [(name, inner) for inner in load(entry).commands] if entry.group else [(name,)]
    return found


@pytest.mark.parametrize("words", every_command(), ids=" ".join)
def test_every_command_has_examples_and_json(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run([*words, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "Example" in shown
    assert f"labctl {' '.join(words)}" in shown
    assert "--json" in shown or words == ("schema",)  # a schema is JSON anyhow


def test_help_imports_no_command_and_no_heavy_library() -> None:
    code = (
        "import sys; from labctl.cli import main; main.run(['--help']);"
        "print([name for name in ('asyncio', 'pydantic', 'rich', 'pyroute2', 'labctl.cli.up') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.splitlines()[-1] == "[]"


@pytest.mark.parametrize("entry", CORE.values(), ids=list(CORE))
def test_every_entry_loads(entry) -> None:  # type: ignore[no-untyped-def]
    assert callable(load(entry).main)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["status"], ExitCode.NOT_RUNNING, "error: no lab is running\nhint: `labctl up quickstart` brings one up\n"),
        (
            ["status", "blue"],
            ExitCode.NOT_RUNNING,
            "error: there is no lab blue\nhint: `labctl up quickstart` brings one up\n",
        ),
        (["down"], ExitCode.NOT_RUNNING, "error: no lab is running\nhint: `labctl up quickstart` brings one up\n"),
        (
            ["up", "lab.toml", "--name", "Blue Lab"],
            ExitCode.USAGE,
            'error: "Blue Lab" cannot be the name of a lab\n'
            "hint: a name starts with a letter a-z and has only a-z, 0-9 and -; 20 characters at most\n",
        ),
        (
            ["validate", "lab.toml"],
            ExitCode.INVALID_TOPOLOGY,
            'lab.toml:1:1: error: lab: "name" is missing (write name = "my-lab" under [lab])\n'
            'lab.toml:2:1: error: lab.nam: unknown key "nam" (did you mean "name"?)\n',
        ),
    ],
)
def test_errors_read_like_this(
    arguments: list[str], code: ExitCode, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lab.toml").write_text('[lab]\nnam = "x"\n')
    assert main.run(arguments) == code
    assert capsys.readouterr().err == said


def test_unknown_topology_suggests(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["up", "nothing-like-that"]) != 0
    assert "nothing-like-that" in capsys.readouterr().err


def test_unknown_command_is_a_matter_of_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["upp"]) == ExitCode.USAGE
    assert "upp" in capsys.readouterr().err


def test_traceback_only_with_debug(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("labctl.daemon.launcher.known_labs", failing(LabError("it broke", hint="mend it")))
    assert main.run(["status"]) == ExitCode.FAILED
    assert capsys.readouterr().err == "error: it broke\nhint: mend it\n"
    assert main.run(["status", "--debug"]) == ExitCode.FAILED
    assert "Traceback" in capsys.readouterr().err


def test_bug_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("labctl.daemon.launcher.known_labs", failing(ZeroDivisionError("by zero")))
    assert main.run(["status"]) == ExitCode.BUG
    said = capsys.readouterr().err
    assert said.startswith("error: this is a bug of labctl: ZeroDivisionError: by zero\nhint: ")
    assert "Traceback" not in said


def test_debug_behind_the_dashes_is_the_commands_own(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    class Recorder:
        def main(self, args: list[str], prog_name: str) -> None:
            seen.append(args)

    monkeypatch.setattr("typer.main.get_command", lambda _app: Recorder())
    main.run(["exec", "esx1", "--debug", "--", "gdb", "--debug"])
    assert seen == [["exec", "esx1", "--", "gdb", "--debug"]]


def test_completion_offers_the_labs(tmp_path: Path) -> None:
    from labctl.cli import completion

    class Context:
        params: dict[str, object] = {"home": tmp_path / "nowhere"}  # noqa: RUF012 - a stand-in

    assert completion.labs(Context(), "") == []
    (tmp_path / "lab.toml").touch()
    assert "lab.toml" in completion.topologies("la")
