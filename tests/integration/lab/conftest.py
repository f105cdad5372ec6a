"""Labs for the tests of the whole: each is brought up through the command line, as a user would, and taken down afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from labctl.daemon.client import DaemonClient
from labctl.runtime.paths import LabPaths
from labctl.testing import leaks
from labctl.testing.plugin import new_token, short_folder, watched

LABCTL = [str(Path(sys.executable).parent / "labctl")]
UP_DEADLINE = 240.0


@dataclass
class LabUnderTest:
    """A lab in a state folder of its own."""

    name: str
    home: Path

    @property
    def command(self) -> list[str]:
        return LABCTL

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "LABCTL_HOME": str(self.home), leaks.TOKEN_VARIABLE: self.name}

    def run(
        self, *args: str, check: bool = True, timeout: float = UP_DEADLINE, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        variables = {**self.environment, **environment}
        done = subprocess.run(
            [*LABCTL, *args], env=variables, text=True, capture_output=True, timeout=timeout, check=False
        )
        if check and done.returncode != 0:
            raise AssertionError(f"labctl {' '.join(args)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done

    def json(self, *args: str) -> Any:
        return json.loads(self.run(*args, "--json").stdout)

    def up(self, topology: str | Path, *args: str) -> subprocess.CompletedProcess[str]:
        return self.run("up", str(topology), "--name", self.name, *args)

    def down(self, *args: str) -> subprocess.CompletedProcess[str]:
        return self.run("down", self.name, *args)

    def exec(self, node: str, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run("exec", "--lab", self.name, node, "--", *argv, check=check)

    def namespace(self, node: str) -> str:
        return f"/run/netns/{self.name}-{node}"

    def inside(
        self, node: str, *argv: str, check: bool = True, timeout: float = 30
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in a node's namespace, past labctl."""
        return subprocess.run(
            ["nsenter", f"--net={self.namespace(node)}", *argv],
            text=True,
            capture_output=True,
            timeout=timeout,
            check=check,
        )

    def status(self) -> dict[str, Any]:
        """Resources by address, as `labctl status --json` has them."""
        return {
            f"{resource['kind']}.{resource['name']}": resource
            for resource in self.json("status", self.name)["resources"]
        }

    @property
    def labd_pid(self) -> int:
        paths = LabPaths(self.home, self.name)
        return int(DaemonClient(paths.socket, self.name).get("/v1/lab")["pid"])


def new_lab(home: Path, name: str | None = None) -> LabUnderTest:
    return LabUnderTest(name=name or new_token(), home=home)


@pytest.fixture
def lab(lab_home: Path, unique: str) -> Iterator[LabUnderTest]:
    """A lab for one test, not up yet; whatever the test leaves is taken down."""
    made = new_lab(lab_home, unique)
    yield made
    made.run("down", made.name, "--purge", check=False)


@pytest.fixture(scope="module")
def quickstart() -> Iterator[LabUnderTest]:
    """The quickstart, up, shared by a module's tests that leave it as they found it."""
    token = new_token()
    with short_folder(token) as home, watched(token, home):
        made = new_lab(home, token)
        try:
            made.up("quickstart")
            yield made
        finally:
            made.run("down", made.name, "--purge", check=False)


@pytest.fixture(scope="module")
def lab_of() -> Iterator[Callable[[str], LabUnderTest]]:
    """Brings up a lab of a topology's text, shared by a module's tests; its file is `lab.toml` in its home."""
    with contextlib.ExitStack() as stack:

        def make(text: str) -> LabUnderTest:
            token = new_token()
            home = stack.enter_context(short_folder(token))
            stack.enter_context(watched(token, home))
            made = new_lab(home, token)
            stack.callback(made.run, "down", made.name, "--purge", check=False)
            (home / "lab.toml").write_text(text)
            made.up(home / "lab.toml")
            return made

        yield make
