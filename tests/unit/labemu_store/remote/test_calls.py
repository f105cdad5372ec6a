"""What a filesystem's failure means, in errno's words, without the packages that raise it."""

from __future__ import annotations

import errno
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from fsspec.exceptions import FSTimeoutError
from fsspec.implementations.memory import MemoryFileSystem

from labemu_store.block.objects import open_objects
from labemu_store.errors import UNREACHABLE, StoreConfigError, StoreError
from labemu_store.remote.calls import Carried, code_of, translated
from labemu_store.remote.opening import check_protocol, open_filesystem


class HTTPClientError(Exception):
    """As botocore's."""


class ReadTimeoutError(HTTPClientError):
    """As botocore's."""


class NoCredentialsError(Exception):
    """As botocore's."""


class ClientResponseError(Exception):
    """As aiohttp's."""

    def __init__(self, status: int) -> None:
        self.status = status


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (PermissionError("secret"), errno.EACCES),
        (NoCredentialsError(), errno.EACCES),
        (ClientResponseError(401), errno.EACCES),
        (ClientResponseError(404), errno.ENOENT),
        (FileNotFoundError("s3://key:secret@x"), errno.ENOENT),
        (NotImplementedError(), errno.EROFS),
        (OSError(errno.ENOSPC, "full"), errno.ENOSPC),
        (ValueError("?"), errno.EIO),
        (OSError("no errno"), errno.EIO),
    ],
)
def test_each_failure_has_its_errno(error: Exception, code: int) -> None:
    with pytest.raises(StoreError) as caught, translated("reading"):
        raise error
    assert caught.value.errno == code
    assert "secret" not in str(caught.value)
    assert caught.value.errno not in UNREACHABLE


@pytest.mark.parametrize(
    "error",
    [
        ReadTimeoutError(),
        FSTimeoutError(),
        TimeoutError(),
        ConnectionRefusedError(errno.ECONNREFUSED, "no"),
        ConnectionError(),
        EOFError(),
        socket.gaierror(-2, "unknown"),
        OSError(errno.EREMOTEIO, "500"),
        OSError(errno.EBUSY, "503"),
        ClientResponseError(429),
        ClientResponseError(502),
    ],
)
def test_what_may_work_later_is_told_apart(error: Exception) -> None:
    assert code_of(error) in UNREACHABLE


def test_a_filesystem_is_called_on_the_threads_that_it_was_given() -> None:
    threads: set[str] = set()

    class Watched(MemoryFileSystem):  # type: ignore[misc] # fsspec has no types
        def cat_file(self, path: str, start: int | None = None, end: int | None = None, **options: object) -> bytes:
            threads.add(threading.current_thread().name)
            content: bytes = super().cat_file(path, start=start, end=end)
            return content

    with ThreadPoolExecutor(1, thread_name_prefix="outside") as executor:
        filesystem = Carried(executor, Watched(skip_instance_cache=True))
        store = open_objects(filesystem, "/test-carried/disk", size=1 << 16, chunk=4096)
        store.write(5000, b"there")
        store.flush()
        store.resize(1 << 17)
        again = open_objects(filesystem, "/test-carried/disk")
        assert bytes(again.read(5000, 5)) == b"there"
        assert again.size == 1 << 17
    assert threads == {"outside_0"}
    MemoryFileSystem().rm("/test-carried", recursive=True)


def test_a_filesystem_can_be_had_there() -> None:
    with ThreadPoolExecutor(1) as executor:
        filesystem, path = open_filesystem("memory://test-had/x", {}, executor)
        filesystem.makedirs("/test-had", exist_ok=True)
        filesystem.pipe_file(path, b"1")
        assert filesystem.info(path)["size"] == 1
        filesystem.mv(path, path + "2")
        filesystem.rm_file(path + "2")
        filesystem.rmdir("/test-had")
        filesystem.invalidate_cache()


@pytest.mark.parametrize(
    ("url", "words", "hint"),
    [
        ("nosuch://host/disk", "nosuch:// is no filesystem that fsspec knows", "s3://"),
        ("oci://bucket@space/disk", "what fsspec needs for oci:// is not installed", "pip install ocifs"),
        ("zip://a::oci://bucket@space/disk", "what fsspec needs for oci:// is not installed", "pip install ocifs"),
    ],
)
def test_a_filesystem_that_is_not_to_be_had_is_named_with_what_to_install(url: str, words: str, hint: str) -> None:
    with pytest.raises(StoreConfigError, match=words) as caught:
        check_protocol(url)
    assert hint in caught.value.hint
