"""`labctl plugin new` makes a plugin that works as it is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from labctl.errors import ConflictError, UsageError
from labctl.plugin.scaffold import new_plugin


def run(folder: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("name", ["note", "load-balancer"])
def test_a_new_plugins_own_tests_pass(name: str, tmp_path: Path) -> None:
    new_plugin(name, tmp_path)
    assert "4 passed" in run(tmp_path / f"labctl-{name}", "-m", "pytest", "-q", "-p", "no:cacheprovider")


def test_a_new_plugin_is_found_by_its_entry_point(tmp_path: Path) -> None:
    new_plugin("load-balancer", tmp_path)
    project = tmp_path / "labctl-load-balancer"
    info = project / "labctl_load_balancer-0.1.0.dist-info"  # what an installer writes
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: labctl-load-balancer\nVersion: 0.1.0\n")
    pyproject = (project / "pyproject.toml").read_text()
    entry = pyproject.split("[project.entry-points.labctl]\n")[1].splitlines()[0].replace('"', "")
    (info / "entry_points.txt").write_text(f"[labctl]\n{entry}\n")
    script = """
from labctl.plugin.loader import load_plugins
plugins = load_plugins()
print([(found.name, found.distribution, found.version) for found in plugins.loaded if found.name == "load_balancer"])
print("load-balancer" in plugins.kinds, "load-balancer" in plugins.handlers)
print([failure for failure in plugins.failures if failure.plugin == "load_balancer"])
"""
    out = run(project, "-c", script)
    assert out.splitlines() == ["[('load_balancer', 'labctl-load-balancer', '0.1.0')]", "True True", "[]"]


@pytest.mark.parametrize("name", ["", "Note", "9lives", "a--b", "../evil", "a_b"])
def test_a_name_that_cannot_be_one_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        new_plugin(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_exists_is_not_written_over(tmp_path: Path) -> None:
    new_plugin("note", tmp_path)
    with pytest.raises(ConflictError):
        new_plugin("note", tmp_path)
