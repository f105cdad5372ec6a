"""The commands that an installation brings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(("command", "says"), [("labctl-iscsi", "--lun"), ("labctl-nfs", "--export"), ("labctl", "up")])
def test_each_command_is_installed_and_explains_itself(command: str, says: str) -> None:
    program = Path(sys.executable).parent / command
    done = subprocess.run([program, "--help"], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert says in done.stdout
