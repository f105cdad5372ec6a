"""LUNs whose disks are on object storage, on the web, in archives: each form of URL that is documented, as clients see it."""

from __future__ import annotations

import functools
import http.server
import random
import re
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from labctl.testing.objects import S3Server, Wire, s3_environment
from labctl.testing.waiting import wait_for

MIB = 1 << 20
pytestmark = pytest.mark.needs("libiscsi", "qemu-img", "qemu-iscsi")


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    with S3Server() as server:
        yield server


@pytest.fixture
def wire(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    with Wire(s3_server.port) as made:
        for name, value in s3_environment(made.endpoint).items():
            monkeypatch.setenv(name, value)
        yield made


@pytest.fixture
def serve(target_process: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """Start a target whose LUNs, from 2 on, are those of the URLs."""
    started: list[Any] = []

    def start(*urls: str) -> Any:
        process = target_process(*[word for url in urls for word in ("--lun", url)])
        process.start()
        started.append(process)
        return process

    yield start
    for process in started:
        if process.process is not None:
            assert process.stop() == 0


def qemu_io(target: Any, *commands: str, lun: int = 2) -> subprocess.CompletedProcess[str]:
    """Through QEMU's driver, which opens for writing where a command writes."""
    words = [word for command in commands for word in ("-c", command)]
    mode = [] if any(command.startswith(("write", "discard")) for command in commands) else ["-r"]
    argv = ["qemu-io", *mode, "-f", "raw", *words, target.url(lun)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)


def must(target: Any, *commands: str, lun: int = 2) -> None:
    done = qemu_io(target, *commands, lun=lun)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "failed" not in done.stdout


def read_only(target: Any, lun: int = 2) -> bool:
    return "LUN is write protected" in qemu_io(target, "write -P 1 0 512", lun=lun).stderr


def test_a_bucket_with_and_without_a_folder(
    wire: Wire, s3_server: S3Server, unique: str, serve: Any, tmp_path: Path
) -> None:
    base = f"s3://{s3_server.bucket}/{unique}"
    target = serve(
        f"{base}/one?size=8MiB&folder={tmp_path}/waiting&chunk=64KiB&cache=1MiB",
        f"{base}/two?size=8MiB",
    )
    for lun in (2, 3):
        must(target, "write -P 0x5a 1M 2M", "read -P 0x5a 1M 2M", "discard 1M 1M", "read -P 0 1M 1M", "flush", lun=lun)
    assert (tmp_path / "waiting").is_dir()
    assert target.stop() == 0
    target = serve(f"{base}/one?readonly=1", f"{base}/two")
    for lun in (2, 3):
        must(target, "read -P 0 1M 1M", "read -P 0x5a 2M 1M", lun=lun)
    assert read_only(target)
    assert not read_only(target, 3)


def test_an_object_on_the_web_and_one_in_an_archive_are_read_only(
    wire: Wire, s3_server: S3Server, unique: str, serve: Any, tmp_path: Path
) -> None:
    content = b"\x5a" * MIB + random.Random(1).randbytes(2 * MIB) + b"\x77" * MIB
    s3_server.put(f"{unique}.img", content)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("disk.img", content)
    target = serve(
        f"{wire.endpoint}/{s3_server.bucket}/{unique}.img",
        f"s3://{s3_server.bucket}/{unique}.img",
        f"zip://disk.img::file://{tmp_path}/a.zip",
    )
    for lun in (2, 3, 4):
        must(target, "read -P 0x5a 0 1M", "read -P 0x77 3M 1M", lun=lun)
        assert read_only(target, lun)
    wire.refuse()
    assert "NOT READY" in qemu_io(target, "read 1M 64k").stderr + qemu_io(target, "read 2M 64k").stderr
    wire.accept()
    wait_for(lambda: qemu_io(target, "read 2M 64k").returncode == 0, 60)


class Quiet(http.server.SimpleHTTPRequestHandler):
    """It knows no ranges."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


@pytest.fixture
def plain_server(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "disk.img").write_bytes(bytes(MIB))
    handler = functools.partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def refusal(url: str) -> str:
    command = [sys.executable, "-m", "labemu_iscsi", "--portal", "127.0.0.1:0", "--target", "iqn.2026-11.lab:t"]
    done = subprocess.run([*command, "--lun", url], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "hint:" in done.stderr
    return done.stderr


def test_what_cannot_be_served_says_what_and_what_to_do(
    wire: Wire, s3_server: S3Server, plain_server: str, unique: str
) -> None:
    assert "does not hand out parts" in refusal(f"{plain_server}/disk.img")
    assert "there is no disk at this URL" in refusal(f"{plain_server}/none.img")
    assert "there is no disk at this URL" in refusal(f"s3://{s3_server.bucket}/{unique}")
    assert "does the bucket or folder exist?" in refusal("s3://no-such-bucket/disk?size=1MiB")
    assert "pip install ocifs" in refusal("oci://bucket/disk?size=1MiB")
    assert "unknown option" in refusal(f"s3://{s3_server.bucket}/{unique}?colour=red")
    told = refusal("ftp://me:hidden-word@127.0.0.1:1/disk?size=1MiB")
    assert "hidden-word" not in told
    told = refusal(f"s3://{s3_server.bucket}/{unique}?size=1MiB&block_size=1000")
    assert "block_size is 512 or 4096" in told
    wire.refuse()
    assert "is its address right?" in refusal(f"s3://{s3_server.bucket}/{unique}?size=1MiB")


@pytest.mark.parametrize(
    ("answer", "sense"),
    [  # libiscsi's words and numbers: key, ASC and ASCQ
        ((503, "SlowDown"), r"SENSE KEY:.*\(2\) ASCQ:.*\(0x0401\)"),
        ((403, "AccessDenied"), r"SENSE KEY:.*\(4\) ASCQ:.*\(0x4400\)"),
        (None, r"SENSE KEY:.*\(3\) ASCQ:.*\(0x1100\)"),
    ],
    ids=["not-ready", "hardware-error", "medium-error"],
)
def test_each_failure_reaches_the_initiator_as_its_sense(
    answer: tuple[int, str] | None, sense: str, wire: Wire, s3_server: S3Server, unique: str, serve: Any
) -> None:
    url = f"s3://{s3_server.bucket}/{unique}/disk"
    target = serve(f"{url}?size=8MiB")
    must(target, "write -P 0x5a 0 2M", "flush")
    assert target.stop() == 0
    target = serve(url)
    wire.answer = answer
    if answer is None:
        s3_server.put(f"{unique}/disk/chunks/{0:012x}", b"cut short")
    done = qemu_io(target, "read 0 512")
    assert re.search(sense, done.stderr), done.stderr
    wire.answer = None
    must(target, "read -P 0x5a 1M 1M")


def test_a_client_verifies_every_byte_while_the_target_is_killed_over_and_over(
    wire: Wire, s3_server: S3Server, unique: str, serve: Any, tmp_path: Path
) -> None:
    target = serve(f"s3://{s3_server.bucket}/{unique}/disk?size=16MiB&chunk=256KiB&folder={tmp_path}/waiting")
    commands = []
    for number in range(48):
        pattern, offset = number % 250 + 1, number % 16
        commands += [
            f"write -P {pattern} {offset}M 1M",
            *(["flush"] if number % 5 == 4 else []),
            f"read -P {pattern} {offset}M 1M",
        ]
    words = [word for command in commands for word in ("-c", command)]
    argv = ["qemu-io", "-f", "raw", *words, target.url(2)]
    client = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert client.stdout is not None
    lines: list[str] = []
    kills = 0
    with client:
        watchdog = threading.Timer(200, client.kill)
        watchdog.start()
        for line in client.stdout:  # each line is an operation that ended: kill at points of real progress
            lines.append(line)
            if kills < 2 and len(lines) > 60 * (kills + 1):
                target.stop(signal.SIGKILL)
                target.start()
                kills += 1
        watchdog.cancel()
        code = client.wait()
    output = "".join(lines)
    assert (code, kills) == (0, 2), output[-2000:]
    assert "failed" not in output
    assert output.count("read 1048576/1048576") == 48
    assert target.stop() == 0
    target = serve(f"s3://{s3_server.bucket}/{unique}/disk?readonly=1")  # another machine: without the folder
    must(target, *[f"read -P {number % 250 + 1} {number % 16}M 1M" for number in range(32, 48)])
