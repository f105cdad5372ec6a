"""Files that a process mapped and does not use are taken out of its memory, and come back when it does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from labctl.linux.memory import page_out
from labctl.linux.processes import identify

pytestmark = pytest.mark.needs("root")

SIZE = 16 << 20
MAPPER = """
import mmap, sys
with open(sys.argv[1], "rb") as file:
    mapped = mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
for word in ["ready", "again"]:
    print(word, sum(mapped[::4096]), flush=True)
    sys.stdin.readline()
"""


def resident(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssFile:")) * 1024


def test_a_mapped_file_leaves_memory_and_comes_back_whole(tmp_path: Path) -> None:
    file = tmp_path / "boot" / "kernel"
    file.parent.mkdir()
    file.write_bytes(b"\x01" * SIZE)
    subprocess.run(["sync", str(file)], check=True)
    argv = [sys.executable, "-c", MAPPER, str(file)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == f"ready {SIZE // 4096}\n"
            full = resident(process.pid)
            assert page_out(identify(process.pid), tmp_path / "other") == 0
            assert resident(process.pid) == full
            assert page_out(identify(process.pid), tmp_path / "boot") == SIZE
            assert resident(process.pid) <= full - SIZE * 0.9
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == f"again {SIZE // 4096}\n"
        finally:
            process.kill()


def test_a_process_that_is_gone_gives_nothing_back(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        identity = identify(process.pid)
        process.kill()
    assert page_out(identity, tmp_path) == 0
