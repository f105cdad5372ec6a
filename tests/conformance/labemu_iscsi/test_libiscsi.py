"""libiscsi's own suite against our target: no test may fail, and as many must run as do today.

The counts are asserted, so that a command that disappears, or a suite that skips what it did not skip before, is seen.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass

import pytest

from labemu_iscsi.io import IscsiServer
from labemu_store.block import MemoryBlockStore

pytestmark = [pytest.mark.needs("libiscsi"), pytest.mark.slow]

TARGET = "iqn.2026-11.lab:conformance"
MIB = 1 << 20
TOTALS = re.compile(r"tests\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)")
FAMILIES = {
    "thin": ("ALL", {}, 205),
    "thick": ("SCSI", {"thin": False}, 190),
    "removable": ("SCSI", {"removable": True}, 190),
    "large blocks": ("iSCSI", {"block_size": 4096}, 10),
    "read-only": ("ALL.ReadOnly", {"read_only": True}, 1),
}


@dataclass
class Totals:
    total: int
    ran: int
    passed: int
    failed: int
    skipped: int
    output: str


async def _suite(url: str, *arguments: str) -> Totals:
    process = await asyncio.create_subprocess_exec(
        "iscsi-test-cu",
        "--dataloss",
        "--normal",
        *arguments,
        url,
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
    return Totals(*map(int, found.groups()), output.count("[SKIPPED]"), output)


@pytest.mark.parametrize("kind", FAMILIES)
async def test_no_test_of_the_suite_fails(kind: str) -> None:
    family, options, at_least = FAMILIES[kind]
    server = IscsiServer([("127.0.0.1", 0)])
    server.add_target(TARGET)
    server.add_lun(TARGET, 0, MemoryBlockStore(128 * MIB), **options)
    await server.start()
    try:
        port = server.portals[0][1]
        totals = await _suite(f"iscsi://127.0.0.1:{port}/{TARGET}/0", "-t", family)
    finally:
        await server.close()
    failures = re.findall(r"Suite .*had failures:\n.*", totals.output)
    assert not failures
    assert totals.failed == 0
    assert totals.total == totals.passed
    assert totals.total >= at_least
