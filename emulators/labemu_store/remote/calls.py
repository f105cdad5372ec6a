"""Filesystems that are not this machine's, as block stores see them: one protocol, errors in errno's words, and a place for the calls.

What a failure means is said once, here, by errno: whoever asks must learn whether to try again (UNREACHABLE), whether the credentials
are no longer taken (EACCES), or whether the data is gone (anything else). The filesystem's own words never pass: they may carry secrets.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar, cast

from fsspec.asyn import sync

from labemu_store.errors import StoreConfigError, StoreError

T = TypeVar("T")

DEADLINE: Final = 20.0
"""Seconds for one call; Linux gives a SCSI command 30. A chunk of 1 MiB needs a way that carries 50 KiB a second."""

SLOWEST: Final = 50 << 10
"""Bytes a second that a way must carry, or a long upload is given up."""

IN_PLACE: Final = frozenset({"file", "local", "sftp", "ssh", "ftp", "smb"})
"""Where a write can be seen half done, so that it is made under another name first."""

OBJECTS: Final = frozenset(
    {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "obs", "tos", "oci", "swift", "b2"}
)
"""Where names have no folders: fsspec would make, or remove, a bucket for one."""

_KINDS: Final[dict[str, int]] = {
    "PermissionError": errno.EACCES,
    "NoCredentialsError": errno.EACCES,  # botocore
    "PartialCredentialsError": errno.EACCES,
    "FileNotFoundError": errno.ENOENT,
    "NotImplementedError": errno.EROFS,  # fsspec: a filesystem that only reads
    "TimeoutError": errno.ETIMEDOUT,  # and fsspec's FSTimeoutError, which is one
    "ConnectionError": errno.ECONNRESET,  # Python's, botocore's and requests'
    "EndpointConnectionError": errno.ECONNREFUSED,  # botocore
    "ConnectTimeoutError": errno.ETIMEDOUT,
    "ReadTimeoutError": errno.ETIMEDOUT,
    "HTTPClientError": errno.ECONNRESET,  # botocore: refused, cut, timed out
    "ClientConnectionError": errno.ECONNRESET,  # aiohttp
    "ClientPayloadError": errno.ECONNRESET,
    "EOFError": errno.ECONNRESET,  # ftplib, paramiko
    "gaierror": errno.EHOSTUNREACH,
}
"""By the name of the exception's class or of one that it comes from: the packages need not be installed to be known."""

_STATUSES: Final[dict[int, int]] = {
    401: errno.EACCES,
    403: errno.EACCES,
    404: errno.ENOENT,
    408: errno.ETIMEDOUT,
    410: errno.ENOENT,
    429: errno.EBUSY,
    **dict.fromkeys(range(500, 600), errno.EBUSY),  # RFC 9110 15.6: the server's fault, the request may be right
}


class FileSystem(Protocol):
    """What is used of fsspec's AbstractFileSystem."""

    protocol: Any

    def cat_file(self, path: str, start: int | None = None, end: int | None = None) -> bytes:
        """Bytes of an object."""

    def pipe_file(self, path: str, value: bytes) -> None:
        """Make an object."""

    def rm_file(self, path: str) -> None:
        """Remove an object."""

    def mv(self, path1: str, path2: str) -> None:
        """Rename."""

    def ls(self, path: str, detail: bool = True) -> list[dict[str, Any]]:
        """What lies under a folder."""

    def info(self, path: str) -> dict[str, Any]:
        """An object's size."""

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Make a folder."""

    def rmdir(self, path: str) -> None:
        """Remove an empty folder."""

    def invalidate_cache(self, path: str | None = None) -> None:
        """Forget listings."""

    def find(self, path: str, *, detail: bool = False) -> dict[str, dict[str, Any]]:
        """All objects below a prefix, and what is known of them."""

    def put_file(self, lpath: str, rpath: str) -> None:
        """Make an object of a local file's bytes."""

    def cp_file(self, path1: str, path2: str) -> None:
        """Copy an object."""


def protocols(filesystem: FileSystem) -> set[str]:
    """What a filesystem is called in URLs."""
    protocol = filesystem.protocol
    return {protocol} if isinstance(protocol, str) else set(protocol)


def code_of(error: BaseException) -> int:
    """The errno that says what a filesystem's exception means."""
    status = getattr(error, "status", None)  # aiohttp's ClientResponseError
    if isinstance(status, int) and status in _STATUSES:
        return _STATUSES[status]
    for kind in type(error).__mro__:
        code = getattr(error, "errno", None)
        if kind is OSError and isinstance(code, int) and code > 0:
            return errno.EBUSY if code == errno.EREMOTEIO else code  # s3fs: 500, of which S3 says to try again
        if kind.__name__ in _KINDS:
            return code if isinstance(code, int) and code > 0 else _KINDS[kind.__name__]
    return errno.EIO


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Whatever a filesystem raises becomes a StoreError; its words stay inside, since they may carry credentials."""
    try:
        yield
    except (StoreError, StoreConfigError):
        raise
    except Exception as error:
        code = code_of(error)
        raise StoreError(code, f"{what} failed: {os.strerror(code)} ({type(error).__name__})") from None


class Prompt:
    """An asynchronous filesystem whose calls end in time.

    One that does not is cancelled, and its connection closed: an upload that was left to itself could arrive after a later one of the same
    chunk. TCP alone would wait a quarter of an hour for a machine that is gone in the middle of an upload.

    Args:
        inner: the filesystem (fsspec's AsyncFileSystem).
    """

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.protocol = inner.protocol

    def _do(self, call: Callable[..., Coroutine[Any, Any, T]], *arguments: Any, **options: Any) -> T:
        return self._do_within(DEADLINE, call, *arguments, **options)

    def _do_within(
        self, seconds: float, call: Callable[..., Coroutine[Any, Any, T]], *arguments: Any, **options: Any
    ) -> T:
        async def work() -> T:
            return await asyncio.wait_for(call(*arguments, **options), seconds)

        return cast("T", sync(self._inner.loop, work))

    def cat_file(self, path: str, start: int | None = None, end: int | None = None) -> bytes:
        """Bytes of an object."""
        content: bytes = self._do(self._inner._cat_file, path, start=start, end=end)
        return content

    def pipe_file(self, path: str, value: bytes) -> None:
        """Make an object."""
        self._do(self._inner._pipe_file, path, value)

    def rm_file(self, path: str) -> None:
        """Remove an object."""
        self._do(self._inner._rm_file, path)

    def mv(self, path1: str, path2: str) -> None:
        """Rename: fsspec has no asynchronous form."""
        self._inner.mv(path1, path2)

    def ls(self, path: str, detail: bool = True) -> list[dict[str, Any]]:
        """What lies under a folder."""
        return self._do(self._inner._ls, path, detail=detail)

    def info(self, path: str) -> dict[str, Any]:
        """An object's size."""
        return self._do(self._inner._info, path)

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Make a folder."""
        self._do(self._inner._makedirs, path, exist_ok=exist_ok)

    def rmdir(self, path: str) -> None:
        """Remove an empty folder."""
        self._do(self._inner._rmdir, path)

    def invalidate_cache(self, path: str | None = None) -> None:
        """Forget listings."""
        self._inner.invalidate_cache(path)

    def find(self, path: str, *, detail: bool = False) -> dict[str, dict[str, Any]]:
        """All objects below a prefix; as long as it takes, since they may be many."""
        found: dict[str, dict[str, Any]] = sync(self._inner.loop, partial(self._inner._find, path, detail=detail))
        return found

    def put_file(self, lpath: str, rpath: str) -> None:
        """Make an object of a local file's bytes; a large one has longer."""
        seconds = DEADLINE + Path(lpath).stat().st_size / SLOWEST
        self._do_within(seconds, self._inner._put_file, lpath, rpath)

    def cp_file(self, path1: str, path2: str) -> None:
        """Copy an object."""
        self._do(self._inner._cp_file, path1, path2)


class Carried:
    """A filesystem whose calls are made on an executor's threads, for instance some that live in another network namespace.

    Args:
        executor: where; it must have its threads already if what they inherit matters.
        inner: the filesystem, made there.
    """

    def __init__(self, executor: Executor, inner: FileSystem) -> None:
        self._executor = executor
        self._inner = inner
        self.protocol = inner.protocol

    def _do(self, call: Callable[..., T], *arguments: Any, **options: Any) -> T:
        return self._executor.submit(call, *arguments, **options).result()

    def cat_file(self, path: str, start: int | None = None, end: int | None = None) -> bytes:
        """Bytes of an object."""
        return self._do(self._inner.cat_file, path, start=start, end=end)

    def pipe_file(self, path: str, value: bytes) -> None:
        """Make an object."""
        self._do(self._inner.pipe_file, path, value)

    def rm_file(self, path: str) -> None:
        """Remove an object."""
        self._do(self._inner.rm_file, path)

    def mv(self, path1: str, path2: str) -> None:
        """Rename."""
        self._do(self._inner.mv, path1, path2)

    def ls(self, path: str, detail: bool = True) -> list[dict[str, Any]]:
        """What lies under a folder."""
        return self._do(self._inner.ls, path, detail=detail)

    def info(self, path: str) -> dict[str, Any]:
        """An object's size."""
        return self._do(self._inner.info, path)

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Make a folder."""
        self._do(self._inner.makedirs, path, exist_ok=exist_ok)

    def rmdir(self, path: str) -> None:
        """Remove an empty folder."""
        self._do(self._inner.rmdir, path)

    def invalidate_cache(self, path: str | None = None) -> None:
        """Forget listings."""
        self._do(self._inner.invalidate_cache, path)

    def find(self, path: str, *, detail: bool = False) -> dict[str, dict[str, Any]]:
        """All objects below a prefix."""
        return self._do(self._inner.find, path, detail=detail)

    def put_file(self, lpath: str, rpath: str) -> None:
        """Make an object of a local file's bytes."""
        self._do(self._inner.put_file, lpath, rpath)

    def cp_file(self, path1: str, path2: str) -> None:
        """Copy an object."""
        self._do(self._inner.cp_file, path1, path2)
