"""docs/howto/craft-packets.md: its blocks of Python do what the page says, against servers on loopback."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs/howto/craft-packets.md"


BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


def test_the_page_does_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    crafted, broken, _ = BLOCKS
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


def test_nfs4_is_asked_an_operation_at_a_time(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "labemu_nfs", "--listen", "127.0.0.1", "--port", "0", "--no-portmap"]
    argv += ["--export", f"/gold=file://{tmp_path}"]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            (port,) = re.findall(r"port (\d+)", server.stderr.readline())
            exec(BLOCKS[2].replace("2049", port), {})
        finally:
            server.terminate()
    right, short, long = capsys.readouterr().out.split("###[ RPC ]###")[1:]
    assert "objtype   = NF4DIR" in right
    assert "status    = NFS4_OK" in right
    assert "status    = NFS4ERR_BADXDR" in short
    assert "status    = NFS4ERR_BADXDR" in long
