"""Exports whose files are objects: a real S3 protocol server, libnfs's tools over NFSv3 and NFSv4, kills of the NFS server."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest

from labctl.testing.objects import S3Server, Wire, s3_environment
from labctl.testing.waiting import wait_for

pytestmark = pytest.mark.needs("libnfs")

MIB = 1 << 20


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with S3Server() as server:
        yield server


class Server:
    """An NFS server on loopback that serves a prefix at /s3."""

    def __init__(self, s3: S3Server, prefix: str, folder: Path, *options: str) -> None:
        self.s3, self.prefix = s3, prefix
        self._folder = folder
        self._options = options
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, environment: Mapping[str, str] | None = None) -> None:
        log = self._folder / "server.log"
        query = "&".join((f"folder={self._folder}/cache", *self._options))
        export = f"/s3=s3://{self.s3.bucket}/{self.prefix}?{query}"
        argv = [sys.executable, "-m", "labemu_nfs", "--listen", "127.0.0.1", "--port", "0", "--no-portmap"]
        argv += ["--state-dir", f"{self._folder}/state", "--export", export]
        with log.open("wb") as output:
            env = {**os.environ, **s3_environment(self.s3.endpoint), **(environment or {})}
            self._process = subprocess.Popen(argv, stderr=output, env=env)
        wait_for(lambda: "serving" in log.read_text() or self._process.poll() is not None, 60, what="the server")
        found = re.search(r"port (\d+)", log.read_text())
        assert found, log.read_text()
        self._port = int(found[1])

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(60)
            self._process = None

    def url(self, name: str, version: int = 3) -> str:
        return f"nfs://127.0.0.1/s3/{name}?nfsport={self._port}&mountport={self._port}&version={version}"

    def objects(self) -> dict[str, bytes]:
        keys = self.s3.keys(f"{self.prefix}/")
        bucket = f"{self.s3.endpoint}/{self.s3.bucket}"
        headers = {"Authorization": "AWS lab:unchecked"}
        found = {key: httpx.get(f"{bucket}/{key}", headers=headers, trust_env=False).content for key in keys}
        return {key[len(self.prefix) + 1 :]: body for key, body in found.items() if "labemu-holder" not in key}


@pytest.fixture
def server(request: pytest.FixtureRequest, s3: S3Server, unique: str, tmp_path: Path) -> Iterator[Server]:
    it = Server(s3, unique, tmp_path, *getattr(request, "param", ()))
    yield it
    it.stop(signal.SIGKILL)


def run(*argv: str) -> bytes:
    done = subprocess.run(argv, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, f"{argv}: {done.stdout!r} {done.stderr!r}"
    return done.stdout


@pytest.mark.parametrize("version", [3, 4])
def test_clients_read_and_write_what_is_on_object_storage(server, tmp_path, version) -> None:
    picture = os.urandom(3 * MIB + 17)
    server.s3.put(f"{server.prefix}/pictures/cat", picture)
    server.start()
    assert run("nfs-cat", server.url("pictures/cat", version)) == picture
    mine = tmp_path / "mine"
    mine.write_bytes(os.urandom(2 * MIB if version == 3 else 3000))  # libnfs encodes no large write of NFSv4
    run("nfs-cp", str(mine), server.url("pictures/dog", version))
    server.stop()
    assert server.objects() == {"pictures/cat": picture, "pictures/dog": mine.read_bytes()}


def test_a_kill_of_the_server_loses_nothing_that_was_acknowledged(server, tmp_path) -> None:
    server.start()
    mine = tmp_path / "mine"
    mine.write_bytes(os.urandom(2 * MIB))
    run("nfs-cp", str(mine), server.url("a"))
    server.stop(signal.SIGKILL)
    server.start()
    assert run("nfs-cat", server.url("a")) == mine.read_bytes()
    server.stop()
    assert server.objects() == {"a": mine.read_bytes()}


@pytest.mark.parametrize("server", [("durable=far",)], indirect=True)
def test_durable_at_the_far_side_needs_no_folder_to_survive(server, tmp_path) -> None:
    server.start()
    mine = tmp_path / "mine"
    mine.write_bytes(os.urandom(MIB))
    run("nfs-cp", str(mine), server.url("a"))  # it ends with a COMMIT
    assert server.objects() == {"a": mine.read_bytes()}


def test_what_is_here_is_served_while_object_storage_is_away_and_the_rest_when_it_is_back(server) -> None:
    server.s3.put(f"{server.prefix}/far", b"far")
    server.s3.put(f"{server.prefix}/near", b"near")
    with Wire(server.s3.port) as wire:
        server.start({"AWS_ENDPOINT_URL": wire.endpoint})
        assert run("nfs-cat", server.url("near")) == b"near"
        wire.refuse()
        with subprocess.Popen(
            ["nfs-cat", server.url("far")], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as waiting:
            assert run("nfs-cat", server.url("near")) == b"near", "it does not wait behind the other"
            output, _ = waiting.communicate(timeout=60)
        assert not output, "libnfs tells its user of JUKEBOX as of an error"
        wire.accept()
        assert run("nfs-cat", server.url("far")) == b"far"
