"""libiscsi's own suite against our target: no test may fail, and exactly those may skip that docs/reference/conformance.md explains.

The counts are those of libiscsi 1.19. They are exact, so that a command that disappears, or a test that skips or stops skipping, is
seen. Each target has two portals, and the suite gets both where its tests of multipath are to run.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from labemu_iscsi.io import IscsiServer
from labemu_store.block import MemoryBlockStore

pytestmark = [pytest.mark.needs("libiscsi"), pytest.mark.slow]

TARGET = "iqn.2026-11.lab:conformance"
MIB = 1 << 20
SKIP = re.compile(r"\[SKIPPED\] *(.*?)\.?\n")
TOTALS = re.compile(r"tests\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)")

NOT_ASKED_FOR = {"--allow-sanitize flag is not set. Skipping test": 11}
WRITABLE = {"Logical unit is not write-protected. Skipping test": 1}
FIXED = {"Logical unit is not removable. Skipping test": 8, "Media is not removable": 1}
ONE_PATH = {"Multipath unavailable. Skipping test": 4}
THIN = {"LBPPB < 2. Skipping test": 2}
ALIGNED = {"physical_block_size": 512}
THICK = {"Logical unit is fully provisioned. Skipping test": 13, "UNMAP is not implemented": 1}
SCSI = NOT_ASKED_FOR | WRITABLE


@dataclass(frozen=True, kw_only=True)
class Family:
    """A run of the suite: which tests, against what, over how many paths; what it comes to."""

    tests: str
    total: int
    skips: dict[str, int] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    paths: int = 1


FAMILIES = {
    "thin": Family(tests="ALL", total=230, skips=SCSI | FIXED | THIN, paths=2, options=ALIGNED),
    "thick": Family(tests="SCSI", total=215, skips=SCSI | FIXED | THICK | ONE_PATH, options={"thin": False}),
    "removable": Family(tests="SCSI", total=215, skips=SCSI | THIN | ONE_PATH, options=ALIGNED | {"removable": True}),
    "large blocks": Family(tests="iSCSI", total=15, options={"block_size": 4096}),
    "read-only": Family(tests="ALL.ReadOnly", total=1, options={"read_only": True}),
    "multipath": Family(tests="ALL.MultipathIO", total=4, paths=2),
}


@dataclass
class Totals:
    total: int
    ran: int
    passed: int
    failed: int
    skips: dict[str, int]
    output: str


async def _suite(urls: Sequence[str], tests: str) -> Totals:
    process = await asyncio.create_subprocess_exec(
        "iscsi-test-cu",
        "--dataloss",
        "--normal",
        "-t",
        tests,
        *urls,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        raw, _ = await asyncio.wait_for(process.communicate(), 240)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    output = raw.decode(errors="replace")
    found = TOTALS.search(output)
    assert found, output
    return Totals(*map(int, found.groups()), Counter(SKIP.findall(output)), output)


@pytest.mark.parametrize("kind", FAMILIES)
async def test_no_test_of_the_suite_fails_and_every_skip_is_known(kind: str) -> None:
    family = FAMILIES[kind]
    server = IscsiServer([("127.0.0.1", 0)] * 2)
    server.add_target(TARGET)
    server.add_lun(TARGET, 0, MemoryBlockStore(128 * MIB), **family.options)
    await server.start()
    try:
        urls = [f"iscsi://{host}:{port}/{TARGET}/0" for host, port in server.portals[: family.paths]]
        totals = await _suite(urls, family.tests)
    finally:
        await server.close()
    failures = re.findall(r"Suite .*had failures:\n.*", totals.output)
    assert not failures
    assert (totals.total, totals.ran, totals.passed, totals.failed) == (family.total, family.total, family.total, 0)
    assert totals.skips == family.skips
