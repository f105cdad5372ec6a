"""Benchmarks' tables in docs/reference/benchmarks.md: each benchmark owns the section between its two markers."""

from __future__ import annotations

import datetime
import os
import platform
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "benchmarks.md"
TITLE = "# Benchmarks\n\nEach section is written by the benchmark that it names, on the machine that it names.\n"


def machine() -> str:
    """The machine and the day, in one line."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    today = datetime.datetime.now(tz=datetime.UTC).date()
    return f"{os.cpu_count()} CPUs {model}, Linux {platform.release()}, Python {platform.python_version()}, {today}"


def write_section(name: str, text: str, page: Path = PAGE) -> None:
    """Put a benchmark's text between its markers, at the end where there are none yet.

    Args:
        name: the benchmark's.
        text: Markdown, beginning with a heading of level 2.
        page: the file.
    """
    start, end = f"<!-- bench {name}: start -->", f"<!-- bench {name}: end -->"
    section = f"{start}\n{text.strip()}\n{end}"
    whole = page.read_text() if page.exists() else TITLE
    head, found, rest = whole.partition(start)
    whole = head + section + rest.partition(end)[2] if found else f"{whole.rstrip()}\n\n{section}\n"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(whole)
