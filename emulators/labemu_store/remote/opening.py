"""From a URL to a filesystem, with errors that say what to do and tell no secret."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from types import MappingProxyType
from typing import cast
from urllib.parse import urlsplit

from fsspec.core import url_to_fs
from fsspec.registry import get_filesystem_class, known_implementations

from labemu_store.errors import UNREACHABLE, StoreConfigError, StoreError
from labemu_store.remote.calls import Carried, FileSystem, Prompt, protocols, translated

_S3: dict[str, object] = {
    "config_kwargs": {"retries": {"total_max_attempts": 1}, "connect_timeout": 5, "read_timeout": 9}  # seconds
}
_DEFAULTS = {"s3": _S3, "s3a": _S3}
_S3_ATTEMPTS = 2
"""Of s3fs itself, which has no option for it: what fails at once is tried again at once, and what hangs leaves time for a second try."""


def open_filesystem(
    url: str, options: Mapping[str, object] = MappingProxyType({}), executor: Executor | None = None
) -> tuple[FileSystem, str]:
    """The filesystem of a URL, and the path in it.

    Args:
        url: what fsspec takes.
        options: of the filesystem, for instance credentials.
        executor: on whose threads its calls are made; on the caller's where None.

    Raises:
        StoreError: it cannot be had.
        StoreConfigError: no such protocol, or its package is missing.
    """
    check_protocol(url)

    known = {**_DEFAULTS.get(urlsplit(url).scheme, {}), **options}

    def make() -> tuple[FileSystem, str]:
        # fsspec would hand out an earlier one again, with the credentials and the address that the environment named then
        filesystem, path = url_to_fs(url, skip_instance_cache=True, **known)
        if "s3" in protocols(filesystem):
            filesystem.retries = _S3_ATTEMPTS
        if filesystem.async_impl and not filesystem.asynchronous:
            return Prompt(filesystem), path
        return cast("FileSystem", filesystem), path

    with translated("opening"):
        if executor is None:
            return make()
        inner, path = executor.submit(make).result()
        return Carried(executor, inner), path


def check_protocol(url: str) -> None:
    """See whether a URL's filesystem is there, without asking it anything.

    Raises:
        StoreConfigError: fsspec knows no such protocol, or a package that it needs is missing.
    """
    for protocol in (part.partition("://")[0] for part in url.split("::") if "://" in part):
        known = known_implementations.get(protocol, {})
        try:
            get_filesystem_class(protocol)
        except ValueError:
            raise StoreConfigError(
                f"{protocol}:// is no filesystem that fsspec knows", hint="such as s3://, gs://, abfs:// or sftp://"
            ) from None
        except ImportError:
            package = str(known.get("class", "")).partition(".")[0]
            told = known.get("err") or "a package is missing"
            hint = f"pip install {package}" if package not in ("", "fsspec") else str(told)
            raise StoreConfigError(f"what fsspec needs for {protocol}:// is not installed", hint=hint) from None


@contextmanager
def explained(url: str) -> Iterator[None]:
    """What goes wrong in opening becomes a StoreConfigError that names the URL, without secrets, and says what to do."""
    try:
        yield
    except StoreConfigError as error:
        raise StoreConfigError(f"{redacted(url)}: {error}", hint=error.hint, errno=error.errno) from None
    except StoreError as error:
        raise StoreConfigError(f"{redacted(url)}: {error.strerror}", hint=_hint(error), errno=error.errno) from None


def _hint(error: StoreError) -> str:
    if error.errno in UNREACHABLE:
        return "does what holds the data run, and is its address right?"
    if error.errno == errno.EACCES:
        return "the credentials are missing or not accepted"
    if error.errno == errno.ENOENT:
        return "does the bucket or folder exist?"
    return "is the URL right?"


def redacted(url: str) -> str:
    """A URL without what may be secret: user, password and query."""
    scheme, _, rest = url.partition("?")[0].partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"
