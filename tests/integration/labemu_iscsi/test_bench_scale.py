"""The benchmark of many LUNs and sessions runs, at a size that measures nothing, and says what it was asked."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

RUN = Path(__file__).resolve().parents[2] / "bench" / "run.py"
SMALL = ("--repeat", "1", "--commands", "64", "--no-write")


def bench(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(RUN), "iscsi-scale", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_both_costs_and_their_ratio_are_printed() -> None:
    done = bench("--luns", "300", "--sessions", "3", *SMALL)  # more than 256 LUNs are addressed in another way
    assert done.returncode == 0, done.stderr
    assert "300 LUNs, 3 sessions" in done.stdout
    rows = re.findall(
        r"^\| (\w+) 4 KiB, (\d+) at a time \| [\d.]+ µs \| [\d.]+ µs \| \*\*[\d.]+\*\*", done.stdout, re.M
    )
    assert rows == [("read", "4"), ("read", "32"), ("write", "4"), ("write", "32")]


def test_more_sessions_than_luns_are_refused() -> None:
    done = bench("--luns", "2", "--sessions", "3", *SMALL)
    assert done.returncode == 2
    assert "a LUN for each" in done.stderr
