"""bootstrap.sh in a checkout of its own, with the machine's real sh and stand-ins for apt, so that nothing is installed."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SYSTEM_TOOLS = (
    "sh",
    "dirname",
    "id",
    "cat",
    "awk",
    "touch",
    "mkdir",
    "flock",
    "cksum",
    "readlink",
    "basename",
    "rm",
    "env",
)
OWN_TIME = 0.3  # seconds that bootstrap.sh may take when nothing is to do
INSTALLED_ALL = 'shift 3; for p in "$@"; do echo "installed $p"; done'


class Checkout:
    """A folder with bootstrap.sh, a finished environment whose labctl only tells its arguments, and a PATH of its own."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "checkout"
        self.bin = folder / "bin"
        self.bin.mkdir()
        for tool in SYSTEM_TOOLS:
            found = shutil.which(tool)
            assert found, tool
            (self.bin / tool).symlink_to(found)
        shutil.copytree(REPOSITORY / ".ci", self.root / ".ci")
        for name in ("bootstrap.sh", "pyproject.toml"):
            shutil.copy(REPOSITORY / name, self.root)
        self._make_venv()

    def _make_venv(self) -> None:
        venv = self.root / ".venv"
        (venv / "bin").mkdir(parents=True)
        python = self.bin.parent / "python3.11"
        python.touch(0o755)
        (venv / "bin/python3").symlink_to(python)
        (venv / "lib/python3.11").mkdir(parents=True)
        self.script(venv / "bin/pip", "exit 1")
        self.script(venv / "bin/labctl", 'printf "labctl:%s\\n" "$@"; pwd; exit 7')
        with (self.root / "pyproject.toml").open() as file:
            checksum = subprocess.run(["cksum"], stdin=file, capture_output=True, text=True, check=True).stdout.strip()
        (venv / ".installed-run").write_text(f"{checksum} {self.root}\n")

    def script(self, path: Path, body: str) -> None:
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)

    def tool(self, name: str, body: str) -> None:
        (self.bin / name).unlink(missing_ok=True)
        self.script(self.bin / name, body)

    def run(self, *args: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.root / "bootstrap.sh"), *args],
            env={"PATH": str(self.bin), "HOME": "/nonexistent"},
            cwd=cwd or self.root,
            text=True,
            capture_output=True,
            timeout=30,
            check=False,
        )


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def with_packages(checkout: Checkout) -> Checkout:
    checkout.tool("apt-get", "echo unexpected >&2; exit 1")
    checkout.tool("dpkg-query", INSTALLED_ALL)
    return checkout


@pytest.mark.parametrize("args", [[], ["--help"], ["-h"]])
def test_help_explains_and_installs_nothing(checkout: Checkout, args: list[str]) -> None:
    done = checkout.run(*args)
    assert done.returncode == 0
    assert "./bootstrap.sh COMMAND" in done.stdout
    assert done.stderr == ""


def test_arguments_go_to_labctl_unchanged_and_its_exit_code_comes_back(checkout: Checkout, tmp_path: Path) -> None:
    done = with_packages(checkout).run("up", "my lab.toml", "--name", "", cwd=tmp_path)
    assert done.stdout.splitlines() == ["labctl:up", "labctl:my lab.toml", "labctl:--name", "labctl:", str(tmp_path)]
    assert (done.returncode, done.stderr) == (7, "")


def test_nothing_is_looked_at_twice_and_it_is_quick(checkout: Checkout) -> None:
    with_packages(checkout).run("status")
    # Later than now, as on a machine that has been left in peace since.
    for stamp in (checkout.root / ".venv").glob(".packages-*"):
        os.utime(stamp, (time.time() + 10, time.time() + 10))
    checkout.tool("dpkg-query", "echo asked again >&2")
    spent = []
    for _round in range(5):
        before = time.monotonic()
        assert checkout.run("status").stderr == ""
        spent.append(time.monotonic() - before)
    assert min(spent) < OWN_TIME


def test_missing_packages_are_installed_without_questions_and_lists_are_refreshed_when_needed(
    checkout: Checkout,
) -> None:
    log = checkout.root / "calls"
    checkout.tool("dpkg-query", "exit 1")
    checkout.tool(
        "apt-get",
        f'echo "$DEBIAN_FRONTEND $*" >>{log}; case "$*" in *update*) : >{log}.fresh ;; *) test -e {log}.fresh ;; esac',
    )
    checkout.tool("id", "echo 0")
    done = checkout.run("status")
    assert done.returncode == 7, done.stderr
    first, update, second = log.read_text().splitlines()
    assert first == second
    assert first.startswith("noninteractive -q -y")
    assert "--no-install-recommends python3 python3-venv" in first
    assert "tshark" not in first
    assert update.endswith("update")
    assert "installing" in done.stderr


def test_what_apt_says_is_shown_when_it_fails(checkout: Checkout) -> None:
    checkout.tool("dpkg-query", "exit 1")
    checkout.tool("apt-get", "echo E: the disk is full; exit 100")
    checkout.tool("id", "echo 0")
    done = checkout.run("status")
    assert done.returncode == 1
    assert "E: the disk is full" in done.stderr


def test_without_root_and_sudo_an_administrator_is_given_the_command(checkout: Checkout) -> None:
    checkout.tool("dpkg-query", "exit 1")
    checkout.tool("apt-get", "exit 1")
    checkout.tool("id", "echo 1000")
    done = checkout.run("status")
    assert done.returncode == 1
    assert "ask an administrator to run:" in done.stderr
    assert "apt-get update && apt-get install --no-install-recommends python3 python3-venv" in done.stderr


def test_without_apt_the_missing_commands_are_named(checkout: Checkout) -> None:
    checkout.tool("qemu-img", "exit 0")
    done = checkout.run("status")
    assert done.returncode == 1
    assert "this machine has no apt" in done.stderr
    assert "qemu-system-x86_64" in done.stderr
    assert "qemu-img" not in done.stderr


def test_an_unsuitable_labctl_python_is_refused_by_name(checkout: Checkout) -> None:
    shutil.rmtree(checkout.root / ".venv")
    with_packages(checkout).tool("oldpython", "exit 1")
    done = subprocess.run(
        [str(checkout.root / "bootstrap.sh"), "status"],
        env={"PATH": str(checkout.bin), "LABCTL_PYTHON": "oldpython"},
        text=True,
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert "LABCTL_PYTHON=oldpython is not a Python 3.11 or later with venv" in done.stderr


@pytest.mark.needs("shellcheck")
def test_the_scripts_are_clean() -> None:
    scripts = ["bootstrap.sh", ".ci/run", *(str(path) for path in REPOSITORY.glob("tests/**/*.sh"))]
    done = subprocess.run(["shellcheck", *scripts], cwd=REPOSITORY, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout
