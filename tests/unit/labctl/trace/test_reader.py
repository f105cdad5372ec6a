"""`read`: a capture's commands, and them as rows."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from labctl.trace.command import Command
from labctl.trace.errors import UsageOfTraceError
from labctl.trace.reader import Trace, read, to_arrow, to_pandas, to_rows

NFS3 = str(Path(__file__).parents[3] / "captures/linux-nfs3.pcapng.zst")


def test_commands_come_with_their_packets_links_and_problems() -> None:
    trace = Trace(NFS3)
    commands = list(trace)
    assert [each.id for each in sorted(commands, key=lambda each: each.id)] == list(range(1, len(commands) + 1))
    assert (trace.packets, [link.name for link in trace.links]) == (348, ["lan"])
    assert (trace.problems, trace.more_problems, trace.annotations, trace.messages) == ([], 0, [], [])
    assert list(read(NFS3)) == commands


def test_rows_are_flat() -> None:
    row = next(row for row in to_rows(read(NFS3)) if row["operation"] == "WRITE")
    assert all(isinstance(value, str | int | bool | None) for value in row.values())
    assert row["latency"] == row["end"] - row["start"]


@pytest.mark.parametrize(("convert", "package"), [(to_pandas, "pandas"), (to_arrow, "pyarrow")])
def test_without_the_package_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, convert: Callable[[Iterator[Command]], Any], package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageOfTraceError) as caught:
        convert(iter(()))
    assert caught.value.hint == f"pip install {package}"
