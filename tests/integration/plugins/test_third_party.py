"""A third party's plugin, from `labctl plugin new` to a running lab; and one that is broken in every way that its author may break it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

LABCTL = str(Path(sys.executable).parent / "labctl")

CLOCK = '[wall-clock.hall]\ntext = "good morning"\n'

BROKEN = {
    "cannot be imported": (
        "import no_such_module_at_all",
        "cannot import labctl_wall_clock.plugin: ModuleNotFoundError",
    ),
    "has a hook with a wrong argument": (
        "from labctl.plugin.hookspecs import hookimpl\n@hookimpl\ndef labctl_kinds(topology): return []",
        "Argument(s) {'topology'} are declared in the hookimpl but can not be found in the hookspec",
    ),
    "has a hook that raises": (
        "from labctl.plugin.hookspecs import hookimpl\n@hookimpl\ndef labctl_kinds(): raise ValueError('no time')",
        "labctl_kinds failed: ValueError: no time",
    ),
    "brings a kind whose name is taken": (
        "from labctl.plugin.hookspecs import hookimpl\n@hookimpl\ndef labctl_kinds():\n"
        "    from labctl_wall_clock.kind import WallClockKind\n"
        "    class Host(WallClockKind):\n        name = 'host'\n"
        "    return [Host()]",
        'the kind "host" is taken by plugin server',
    ),
}


class Author:
    """Somebody who writes a plugin: has a project, its package on the path, and a state folder for labs.

    Args:
        folder: where the project is made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.project = folder / "labctl-wall-clock"

    def run(self, *argv: str, code: int = 0) -> str:
        done = subprocess.run(
            argv,
            cwd=self.project if self.project.exists() else self.folder,
            env={**os.environ, "PYTHONPATH": str(self.project), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def labctl(self, *arguments: str, code: int = 0) -> str:
        return self.run(LABCTL, *arguments, code=code)

    def json(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self.labctl(*arguments, "--json", code=code))

    def install(self) -> None:
        """Put beside the package what an installer writes; the project's folder is on the path."""
        metadata = tomllib.loads((self.project / "pyproject.toml").read_text())["project"]
        info = self.project / f"labctl_wall_clock-{metadata['version']}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {metadata['name']}\nVersion: {metadata['version']}\n"
        )
        entries = "".join(f"{name} = {value}\n" for name, value in metadata["entry-points"]["labctl"].items())
        (info / "entry_points.txt").write_text(f"[labctl]\n{entries}")


@pytest.fixture
def author(lab_home: Path, tmp_path: Path) -> Author:
    """Somebody whose new plugin is installed and not yet touched."""
    found = Author(tmp_path)
    found.labctl("plugin", "new", "wall-clock")
    found.install()
    return found


@pytest.fixture
def take_down(author: Author) -> Iterator[Callable[[str], None]]:
    """Names a lab that is taken down whatever happens."""
    names: list[str] = []
    yield names.append
    for name in names:
        subprocess.run([LABCTL, "down", name, "--purge"], capture_output=True, timeout=120, check=False)


def test_a_new_plugin_passes_its_own_tests_and_is_found(author: Author) -> None:
    assert "4 passed" in author.run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    (row,) = (found for found in author.json("plugin", "list")["plugins"] if found["name"] == "wall_clock")
    assert (row["kinds"], row["version"]) == (["wall-clock"], "0.1.0")
    assert author.json("plugin", "doctor")["failures"] == []
    assert "wall-clock" in json.loads(author.labctl("schema"))["properties"]


def test_a_new_plugins_kind_comes_up_and_goes_with_a_lab(
    author: Author, lab_home: Path, unique: str, take_down: Callable[[str], None]
) -> None:
    topology = author.project / "lab.toml"
    topology.write_text(CLOCK)
    take_down(unique)
    author.labctl("up", str(topology), "--name", unique)
    file = lab_home / "labs" / unique / "wall-clock" / "hall.txt"
    assert file.read_text() == "good morning"
    (resource,) = author.json("status", unique)["resources"]
    assert (resource["kind"], resource["name"], resource["state"]) == ("wall-clock", "hall", "running")
    topology.write_text(CLOCK.replace("morning", "evening"))
    author.labctl("up", str(topology), "--name", unique)
    assert file.read_text() == "good evening"
    author.labctl("down", unique)
    assert not list(lab_home.iterdir())


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_plugin_is_named_and_everything_else_works(case: str, author: Author) -> None:
    source, message = BROKEN[case]
    (author.project / "labctl_wall_clock" / "plugin.py").write_text(source)
    (failure,) = author.json("plugin", "doctor", code=1)["failures"]
    assert failure["plugin"] == "wall_clock"
    assert message in failure["message"]
    assert "plugin" in author.labctl("--help")
    assert author.json("validate", "minimal")["ok"]


@pytest.mark.needs("root")
def test_a_lab_comes_up_beside_a_broken_plugin(
    author: Author, lab_home: Path, unique: str, take_down: Callable[[str], None]
) -> None:
    (author.project / "labctl_wall_clock" / "plugin.py").write_text("import no_such_module_at_all")
    topology = author.project / "lab.toml"
    topology.write_text('[network.production]\nrole = "production"\nsubnet = "10.10.0.0/24"\n')
    take_down(unique)
    assert "failed  plugin wall_clock: cannot import" in author.labctl("plugin", "doctor", code=1)
    author.labctl("up", str(topology), "--name", unique)
    assert [found["state"] for found in author.json("status", unique)["resources"]] == ["running"]
    assert "plugin wall_clock: cannot import" in author.labctl("logs", "--lab", unique, "labd")
    author.labctl("down", unique)
    assert not list(lab_home.iterdir())


def test_a_kind_of_a_plugin_that_failed_is_no_riddle(author: Author) -> None:
    (author.project / "labctl_wall_clock" / "plugin.py").write_text("import no_such_module_at_all")
    (author.project / "lab.toml").write_text('[lab]\nname = "sundial"\n' + CLOCK)
    (problem,) = author.json("validate", "lab.toml", code=3)["problems"]
    assert "plugin wall_clock could not be loaded: see `labctl plugin doctor`" in problem
