"""docs/howto/craft-packets.md: its blocks of Python do what the page says, against a target on loopback."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs/howto/craft-packets.md"


def test_the_page_does_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    crafted, broken = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    exec(crafted, {})
    shown = capsys.readouterr().out
    assert "READ(10)" in shown
    assert "lba       = 8" in shown
    argv = [sys.executable, "-m", "labemu_iscsi", "--portal", "127.0.0.1:0", "--target", "iqn.2026-11.lab:t1"]
    argv += ["--lun", "memory://d?size=1MiB"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as target:
        try:
            assert target.stdout is not None
            port = target.stdout.readline().split("/")[2].rpartition(":")[2]
            exec(broken.replace("3260", port), {})
        finally:
            target.terminate()
    shown = capsys.readouterr().out
    assert "Login Response" in shown
    assert "Command not supported" in shown
