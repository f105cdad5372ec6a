"""A target alone, with faults set over its control socket, seen by libiscsi's and QEMU's tools."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import TARGET, free_port

pytestmark = pytest.mark.needs("libiscsi", "qemu-img", "qemu-iscsi")

MIB = 1 << 20


class Controlled:
    """`python -m labemu_iscsi --control` with a disk in memory."""

    def __init__(self, folder: Path) -> None:
        self._control = folder / "control"
        portal = f"127.0.0.1:{free_port()}"
        argv = [sys.executable, "-m", "labemu_iscsi", "--portal", portal, "--target", TARGET]
        argv += ["--lun", "memory://a?size=16MiB", "--control", str(self._control)]
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()

    def ask(self, **request: Any) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(10)
            sock.connect(str(self._control))
            sock.sendall(json.dumps(request).encode() + b"\n")
            return dict(json.loads(sock.makefile("rb").readline()))

    def order(self, action: dict[str, Any], **selectors: Any) -> None:
        assert "fault" in self.ask(do="add", fault={"action": action, **selectors})

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*argv, self.url], capture_output=True, text=True, timeout=60, check=False)

    def close(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        with self.process:
            return self.process.wait(20)


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Controlled]:
    made = Controlled(tmp_path)
    yield made
    assert made.close() == 0
    assert not (tmp_path / "control").exists()


def test_a_lost_device_is_lost_until_it_is_cleared(target) -> None:
    assert target.run("iscsi-readcapacity16").returncode == 0
    target.order({"kind": "sense", "code": [5, 0x25, 0]})
    assert target.run("iscsi-readcapacity16").returncode != 0
    lost = target.run("qemu-img", "info")
    assert lost.returncode != 0
    assert "LOGICAL_UNIT_NOT_SUPPORTED" in lost.stderr
    assert target.ask(do="clear") == {"cleared": ["1"]}
    assert target.run("iscsi-readcapacity16").returncode == 0


def test_latency_is_what_a_client_waits(target) -> None:
    bench = ("qemu-img", "bench", "-f", "raw", "-c", "25", "-d", "1", "-s", "4096")
    target.order({"kind": "latency", "average": 0.04}, operations=["read"])
    begun = time.monotonic()
    assert target.run(*bench).returncode == 0
    assert time.monotonic() - begun >= 1.0
    (fault,) = target.ask(do="list")["faults"]
    assert fault["hits"] >= 25


def test_a_refused_login_is_told_with_its_status(target) -> None:
    target.order({"kind": "refuse", "code": [3, 1]})
    refused = target.run("iscsi-readcapacity16")
    assert refused.returncode != 0
    assert "Service unavailable" in refused.stdout + refused.stderr


def test_what_makes_no_sense_is_said(target) -> None:
    assert target.ask(do="add", fault={"action": {"kind": "error", "code": [5]}})["error"] == (
        "error is nothing that an iSCSI target can do"
    )
