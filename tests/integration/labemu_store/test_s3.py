"""Disks on object storage, over the real protocol: what is acknowledged as durable stays, whatever becomes of the way there."""

from __future__ import annotations

import errno
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from labctl.testing.objects import S3Server, Wire
from labctl.testing.waiting import wait_for
from labemu_store.block import BlockStore, open_block_store
from labemu_store.errors import UNREACHABLE, StoreConfigError, StoreError
from labemu_store.remote import calls

KIB, MIB = 1 << 10, 1 << 20
SIZE = 2 * MIB
CHUNK = 64 * KIB
DISK = f"size={SIZE}&chunk={CHUNK}"

Opener = Callable[[], BlockStore]


@pytest.fixture
def opened(wire: Wire, prefix: str, tmp_path: Path) -> Opener:
    return lambda: open_block_store(f"{prefix}/disk?{DISK}&folder={tmp_path}/waiting")


def kept(prefix: str) -> bytes:
    """What another machine would read there."""
    store = open_block_store(f"{prefix}/disk?readonly=1")
    content = bytes(store.read(0, SIZE))
    store.close()
    return content


def test_a_disk_is_made_written_trimmed_and_read_again(opened: Opener, s3_server: S3Server, prefix: str) -> None:
    chance = random.Random(5)
    model = bytearray(SIZE)
    store = opened()
    assert store.capabilities.thin
    assert store.capabilities.granularity == CHUNK
    for _ in range(60):
        offset = chance.randrange(SIZE)
        data = chance.randbytes(chance.randrange(min(100 * KIB, SIZE - offset)) + 1)
        store.write(offset, data)
        model[offset : offset + len(data)] = data
    store.unmap(4 * CHUNK, 8 * CHUNK)
    model[4 * CHUNK : 12 * CHUNK] = bytes(8 * CHUNK)
    store.flush()
    assert kept(prefix) == model
    assert bytes(store.read(0, SIZE)) == model
    folder = prefix.removeprefix(f"s3://{s3_server.bucket}/")
    chunks = [key for key in s3_server.keys(folder) if "/chunks/" in key]
    assert len(chunks) <= SIZE // CHUNK - 8
    store.close()
    assert bytes(opened().read(0, SIZE)) == model


def test_only_what_chunks_hold_is_counted_as_used(opened: Opener, prefix: str) -> None:
    store = opened()
    store.write(0, b"x" * CHUNK)
    store.write(10 * CHUNK, b"y" * 100)
    store.flush()
    store.close()
    again = open_block_store(f"{prefix}/disk?readonly=1")
    assert again.allocated() == CHUNK + 100
    assert [(extent.offset, extent.length) for extent in again.extents(0, SIZE) if extent.is_data] == [
        (0, CHUNK),
        (10 * CHUNK, CHUNK),
    ]
    again.close()


@pytest.mark.parametrize("fault", ["busy", "error", "cut", "refused"])
def test_a_flush_that_fails_loses_nothing_and_the_next_one_brings_it(
    fault: str, opened: Opener, wire: Wire, prefix: str
) -> None:
    store = opened()
    store.write(0, b"old" * CHUNK)
    store.flush()
    before = kept(prefix)
    new = random.Random(1).randbytes(10 * CHUNK)
    store.write(100, new)
    break_way(wire, fault)
    with pytest.raises(StoreError) as caught:
        store.flush()
    assert caught.value.errno in UNREACHABLE
    assert bytes(store.read(100, len(new))) == new
    mend_way(wire)
    there = kept(prefix)
    for start in range(0, SIZE, CHUNK):  # each chunk is the one or the other, never half
        assert there[start : start + CHUNK] in (before[start : start + CHUNK], bytes(store.read(start, CHUNK)))
    store.flush()
    assert kept(prefix)[100 : 100 + len(new)] == new
    store.close()


def break_way(wire: Wire, fault: str) -> None:
    if fault == "refused":
        wire.refuse()
    elif fault == "cut":
        wire.cut_every = 20 * KIB  # in the middle of each upload
    else:
        wire.answer = {"busy": (503, "SlowDown"), "error": (500, "InternalError")}[fault]


def mend_way(wire: Wire) -> None:
    wire.answer = wire.cut_every = None
    wire.delay = 0.0
    with suppress(OSError):
        wire.accept()


def test_an_upload_that_is_cut_once_is_tried_again(opened: Opener, wire: Wire, prefix: str) -> None:
    store = opened()
    data = random.Random(2).randbytes(8 * CHUNK)
    store.write(0, data)
    wire.cut_after = 100 * KIB
    store.flush()
    assert wire.cuts == 1
    assert kept(prefix)[: len(data)] == data
    store.close()


def test_an_upload_that_hangs_is_given_up_and_never_comes_late(
    opened: Opener, wire: Wire, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened()
    store.write(0, b"old" * CHUNK)
    wire.delay = 2.0
    with monkeypatch.context() as patch:
        patch.setattr(calls, "DEADLINE", 0.5)
        with pytest.raises(StoreError) as caught:
            store.flush()
    assert caught.value.errno == errno.ETIMEDOUT
    wire.delay = 0.0
    store.write(0, b"new" * CHUNK)
    store.flush()
    wait_for(lambda: not wire.delayed, 60, what="what was delayed to have gone on, or nowhere")
    assert kept(prefix)[: 3 * CHUNK] == b"new" * CHUNK
    store.close()


def test_credentials_that_are_refused_are_told_apart(opened: Opener, wire: Wire) -> None:
    store = opened()
    store.write(0, b"x")
    wire.answer = (403, "AccessDenied")
    with pytest.raises(StoreError) as caught:
        store.flush()
    assert caught.value.errno == errno.EACCES
    with pytest.raises(StoreError) as caught:
        store.flush()
    wire.answer = None
    store.close()


def test_reads_go_on_while_a_slow_upload_is_under_way(opened: Opener, wire: Wire) -> None:
    store = opened()
    store.write(0, b"a" * 4 * CHUNK)
    store.flush()
    store.write(8 * CHUNK, b"b" * 4 * CHUNK)
    wire.delay = 0.2
    upload = threading.Thread(target=store.flush)
    requests = wire.requests
    upload.start()
    wait_for(lambda: wire.requests > requests, 60)
    for _ in range(100):
        assert bytes(store.read(0, 100)) == b"a" * 100
    assert upload.is_alive()
    wire.delay = 0.0
    upload.join(60)
    store.close()


_WRITER = """
import sys
from labemu_store.block import open_block_store
store = open_block_store(sys.argv[1])
count = 0
while True:
    count += 1
    store.write((count % 31) * 65536 + 512, count.to_bytes(8, "big") * 64)
    store.flush()
    print(count, flush=True)
"""


@pytest.mark.parametrize("folder", [True, False])
def test_every_flush_that_returned_outlives_a_kill(folder: bool, wire: Wire, prefix: str, tmp_path: Path) -> None:
    url = f"{prefix}/disk?{DISK}" + (f"&folder={tmp_path}/waiting" if folder else "")
    with subprocess.Popen([sys.executable, "-c", _WRITER, url], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        durable = 0
        while durable < 40:
            durable = int(writer.stdout.readline())
        writer.kill()
    there = kept(prefix)
    for number in range(max(1, durable - 30), durable + 1):
        offset = (number % 31) * 65536 + 512
        assert int.from_bytes(there[offset : offset + 8], "big") >= number
        assert there[offset : offset + 512] == there[offset : offset + 8] * 64


def test_what_a_url_lacks_is_said_before_anything_is_made(
    wire: Wire, s3_server: S3Server, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StoreConfigError, match="no disk at this URL"):
        open_block_store(f"{prefix}/none")
    with pytest.raises(StoreConfigError, match="No such file or directory") as missing:
        open_block_store("s3://no-such-bucket/disk?size=1MiB")
    assert "bucket" in missing.value.hint
    with pytest.raises(StoreConfigError, match="unknown option 'sise'"):
        open_block_store(f"{prefix}/none?sise=1MiB")
    wire.answer = (403, "AccessDenied")
    with pytest.raises(StoreConfigError, match="Permission denied") as refused:
        open_block_store(f"{prefix}/none?size=1MiB")
    assert "credentials" in refused.value.hint
    wire.answer = None
    wire.refuse()
    with pytest.raises(StoreConfigError) as unreachable:
        open_block_store(f"{prefix}/none?size=1MiB")
    assert "address" in unreachable.value.hint
    assert "secret-of-the-lab" not in str(unreachable.value)
    assert not s3_server.keys(prefix.rpartition("/")[2])


def test_without_credentials_a_disk_says_so(wire: Wire, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(StoreConfigError, match="Permission denied") as caught:
        open_block_store(f"{prefix}/none?size=1MiB")
    assert caught.value.hint == "the credentials are missing or not accepted"
