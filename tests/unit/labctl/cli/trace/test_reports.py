"""`labctl trace list` and `summary` on a capture of Linux's own NFS client."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from labctl.cli.trace.list import app as list_app
from labctl.cli.trace.summary import app as summary_app
from labctl.errors import UsageError
from labctl.trace.errors import CaptureError

CAPTURES = Path(__file__).parents[4] / "captures"
NFS3 = str(CAPTURES / "linux-nfs3.pcapng.zst")
NFS41 = str(CAPTURES / "linux-nfs4.1.pcapng.zst")


def run(app, *words: str) -> str:  # type: ignore[no-untyped-def]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_list_has_a_line_for_each_command_that_is_meant() -> None:
    lines = run(list_app, NFS3, "--op", "WRITE").splitlines()
    assert lines[0].split() == [
        "id",
        "time",
        "host",
        "vm",
        "proto",
        "operation",
        "object",
        "offset",
        "length",
        "latency",
        "status",
    ]
    assert len(lines) > 12
    assert all("WRITE" in line and "/gold/dir/" in line and line.endswith("NFS3_OK") for line in lines[1:])


def test_a_list_for_programs_is_an_object_a_line() -> None:
    rows = [json.loads(line) for line in run(list_app, NFS3, "--json", "--failed").splitlines()]
    assert {(row["operation"], row["status"]) for row in rows} >= {("LOOKUP", "NFS3ERR_NOENT")}
    assert {row["protocol"] for row in rows} <= {"nfs3", "rpc"}


def test_operations_that_only_lead_to_others_are_shown_when_asked_for() -> None:
    assert "SEQUENCE" not in run(list_app, NFS41)
    assert "SEQUENCE" in run(list_app, NFS41, "--all")


def test_a_summary_has_its_parts() -> None:
    text = run(summary_app, NFS3)
    assert "commands in 348 packets" in text
    assert "\nErrors\n" in text
    assert "\nSlowest\n" in text
    assert "Protocol violations" not in text
    told = json.loads(run(summary_app, NFS3, "--json", "--op", "READ"))
    (row,) = told["operations"]
    assert (row["operation"], row["received"]) == ("READ", 6 * 65536 + 6)
    assert (told["packets"], told["problems"]) == (348, [])


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--slower"):
        run(list_app, NFS3, "--slower", "soon")
    (tmp_path / "a.pcap").write_bytes(b"no capture")
    with pytest.raises(CaptureError, match="neither a pcap nor a pcapng file"):
        run(summary_app, str(tmp_path / "a.pcap"))
