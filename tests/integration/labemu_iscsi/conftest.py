"""A target as its own process, as users start it, that can be killed and started again on the same port."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

TARGET = "iqn.2026-11.lab:t1"
MIB = 1 << 20


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class TargetProcess:
    """`python -m labemu_iscsi` with one file behind LUN 0 and memory behind LUN 1, and options of its own."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.options = options
        self.disk = folder / "disk.img"
        self.port = free_port()
        self.process: subprocess.Popen[str] | None = None

    def url(self, lun: int = 0) -> str:
        return f"iscsi://127.0.0.1:{self.port}/{TARGET}/{lun}"

    @property
    def command(self) -> list[str]:
        """What is started."""
        luns = ["--lun", f"file://{self.disk}?size={64 * MIB}", "--lun", "memory://scratch?size=16MiB"]
        return [
            sys.executable,
            "-m",
            "labemu_iscsi",
            "--portal",
            f"127.0.0.1:{self.port}",
            "--target",
            TARGET,
            *luns,
            *self.options,
        ]

    def start(self) -> None:
        """Start, and wait until it says that it listens."""
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline().strip() == self.url(0)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Signal it and wait; its exit code."""
        process, self.process = self.process, None
        assert process is not None
        process.send_signal(number)
        with process:
            return process.wait(20)


@pytest.fixture
def target_process(tmp_path: Path) -> Callable[..., TargetProcess]:
    """Make one with options of its own; who makes it starts and stops it."""
    return partial(TargetProcess, tmp_path)


@pytest.fixture
def target(tmp_path: Path) -> Iterator[TargetProcess]:
    process = TargetProcess(tmp_path)
    process.start()
    yield process
    if process.process is not None:
        assert process.stop() == 0
