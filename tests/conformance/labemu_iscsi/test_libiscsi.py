"""libiscsi's own suite against our target: no test may fail, and exactly those may skip that docs/reference/conformance.md explains.

The counts are those of libiscsi 1.19, and that page's tables are where they stand: a command that disappears, or a test that skips or
stops skipping, makes the page wrong and the test fail. All LUNs are tested at a time, for the suite sleeps for most of its life.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from labemu_iscsi.io import IscsiServer
from labemu_store.block import MemoryBlockStore

pytestmark = [pytest.mark.needs("libiscsi"), pytest.mark.slow]

PAGE = Path(__file__).parents[3] / "docs/reference/conformance.md"
TARGET = "iqn.2026-11.lab:conformance"
MIB = 1 << 20
SANITIZE_SECONDS = (
    8.0  # Sanitize.Reset looks after 3 seconds and again after several resets whether it is still under way
)
SKIP = re.compile(r"\[SKIPPED\] *(.*?)\.?\n")
TOTALS = re.compile(r"tests\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)")


@dataclass(frozen=True, kw_only=True)
class Family:
    """A run of the suite: which tests, against what, over how many paths."""

    tests: str = "ALL"
    options: dict[str, Any] = field(default_factory=dict)
    paths: int = 1


ALIGNED = {"physical_block_size": 512}
FAMILIES = {
    "thin": Family(options=ALIGNED),
    "thick": Family(options=ALIGNED | {"thin": False}),
    "removable": Family(options=ALIGNED | {"removable": True}),
    "4 KiB": Family(options={"block_size": 4096}),
    "multipath": Family(tests="ALL.MultipathIO", options=ALIGNED, paths=2),
    "512e, (10)": Family(tests="ALL.WriteSame10.UnmapUnaligned"),
    "512e, (16)": Family(tests="ALL.WriteSame16.UnmapUnaligned"),
    "read-only": Family(tests="ALL.ReadOnly", options={"read_only": True}),
}


@dataclass(frozen=True)
class Outcome:
    tests: str
    paths: int
    total: int
    ran: int
    passed: int
    failed: int
    failures: list[str]
    skips: dict[str, int]


async def _suite(family: Family) -> Outcome:
    server = IscsiServer([("127.0.0.1", 0)] * 2)
    server.add_target(TARGET)
    unit = server.add_lun(TARGET, 0, MemoryBlockStore(128 * MIB), **family.options)
    unit.wipe_seconds = SANITIZE_SECONDS
    await server.start()
    try:
        urls = [f"iscsi://{host}:{port}/{TARGET}/0" for host, port in server.portals[: family.paths]]
        output = await _run(family.tests, urls)
    finally:
        await server.close()
    found = TOTALS.search(output)
    assert found, output
    failures = re.findall(r"Suite .*had failures:\n(?: +\d+\. .*\n?)+", output)
    return Outcome(family.tests, family.paths, *map(int, found.groups()), failures, Counter(SKIP.findall(output)))


async def _run(tests: str, urls: Sequence[str]) -> str:
    process = await asyncio.create_subprocess_exec(
        "iscsi-test-cu",
        "--dataloss",
        "--allow-sanitize",
        "--normal",
        "-t",
        tests,
        *urls,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        raw, _ = await asyncio.wait_for(process.communicate(), 300)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return raw.decode(errors="replace")


def _table(first_heading: str) -> list[dict[str, str]]:
    """The rows of the page's table whose first column is headed so."""
    lines = iter(PAGE.read_text().splitlines())
    heads: list[str] = []
    for line in lines:
        heads = [cell.strip() for cell in line.strip("|").split("|")]
        if heads[0] == first_heading:
            break
    next(lines)
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append(dict(zip(heads, (cell.strip() for cell in line.strip("|").split("|")), strict=True)))
    return rows


def _documented_skips(lun: str) -> dict[str, int]:
    found = {row["message"].strip("`"): row.get(lun, "") for row in _table("message")}
    return {message: int(count) for message, count in found.items() if count}


@pytest.mark.timeout(360)
async def test_no_test_of_the_suite_fails_and_every_skip_is_known() -> None:
    results = await asyncio.gather(*(_suite(family) for family in FAMILIES.values()))
    outcomes = dict(zip(FAMILIES, results, strict=True))
    assert {lun: outcome.failures for lun, outcome in outcomes.items() if outcome.failures} == {}
    documented = {row["LUN"]: row for row in _table("LUN")}
    assert outcomes.keys() == documented.keys()
    for lun, outcome in outcomes.items():
        row = documented[lun]
        assert f"`{outcome.tests}`" == row["tests"], lun
        figures = (outcome.paths, outcome.total, outcome.failed)
        assert figures == (int(row["paths"]), int(row["run"]), int(row["failed"])), lun
        assert (outcome.ran, outcome.passed) == (outcome.total, outcome.total), lun
        assert outcome.skips == _documented_skips(lun), lun


def test_every_skip_has_its_reason() -> None:
    assert all(row["reason"] for row in _table("message"))
