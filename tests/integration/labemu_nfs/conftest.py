"""An NFS server in a network namespace of its own, since its clients look for the port mapper at port 111."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from labctl.testing.waiting import wait_for

ADDRESS = "127.0.0.1"


class ServedFolder:
    """A folder served at /gold; `run` runs a client in the server's namespace."""

    def __init__(self, namespace: str, above: Path) -> None:
        self.namespace = namespace
        self.folder = above / "gold"
        self.folder.mkdir()
        self._above = above
        self._process: subprocess.Popen[bytes] | None = None
        self.log = above / "server.log"

    def url(self, name: str = "") -> str:
        return f"nfs://{ADDRESS}/gold/{name}"

    def inside(self, *argv: str) -> list[str]:
        return ["ip", "netns", "exec", self.namespace, *argv]

    def start(self, *options: str) -> None:
        argv = [sys.executable, "-m", "labemu_nfs", "--listen", ADDRESS, "--state-dir", str(self._above / "state")]
        argv += ["--export", f"/gold=file://{self.folder}", "--export", "/memory=memory://", *options]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(self.inside(*argv), stderr=log)
        wait_for(lambda: b"serving" in self.log.read_bytes() or self._process.poll() is not None, what="the server")
        assert self._process.poll() is None, self.log.read_text()

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        code = self._process.wait(10)
        self._process = None
        return code

    @property
    def running(self) -> bool:
        return self._process is not None

    def run(self, *argv: str) -> str:
        done = subprocess.run(self.inside(*argv), capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}\nserver: {self.log.read_text()}"
        return done.stdout


@pytest.fixture
def served(unique: str, tmp_path: Path) -> Iterator[ServedFolder]:
    namespace = f"{unique}-nfs"
    subprocess.run(["ip", "netns", "add", namespace], check=True)
    try:
        subprocess.run(["ip", "-n", namespace, "link", "set", "lo", "up"], check=True)
        it = ServedFolder(namespace, tmp_path)
        it.start()
        try:
            yield it
        finally:
            if it.running:
                it.stop()
    finally:
        subprocess.run(["ip", "netns", "del", namespace], check=True)
