"""From a URL to a file store."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from labemu_store.errors import StoreConfigError
from labemu_store.file.local import LocalFileStore
from labemu_store.file.memory import MemoryFileStore
from labemu_store.file.protocol import FileStore

_OPTIONS = {"folder", "durable"}


class FileStoreUrlError(ValueError):
    """A URL that names no usable file store.

    Args:
        message: what is wrong with it.
        hint: what to write instead.
    """

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def open_file_store(url: str) -> FileStore:
    """The store that a URL names: `file:///srv/gold` (or `/srv/gold`), a directory that is there; `memory://`; or a tree elsewhere.

    Any other URL is one of fsspec's, `s3://bucket/prefix?folder=/var/lib/lab/gold`. Its query may carry `folder`, where the tree is kept
    on this machine (a temporary one without), and `durable=far`: what is made durable is at the far side, not only in the folder.

    Raises:
        FileStoreUrlError: with a hint.
    """
    parts = urlsplit(url)
    if parts.scheme == "memory":
        return MemoryFileStore()
    if parts.scheme not in ("", "file"):
        return _open_elsewhere(url)
    path = Path(unquote(parts.path) if parts.scheme else url)
    if parts.netloc or not path.is_absolute():
        raise FileStoreUrlError(f"{url}: not an absolute path", hint="Write three slashes: file:///srv/gold.")
    try:
        return LocalFileStore(path)
    except OSError as error:
        raise FileStoreUrlError(
            f"{url}: {error.strerror}", hint=f"Create the directory first: mkdir -p {path}"
        ) from error


def _open_elsewhere(url: str) -> FileStore:
    from labemu_store.file.bridge import (
        open_bridge,
    )  # here: fsspec takes long to import, and local directories need none of it
    from labemu_store.remote.opening import redacted

    address, _, query = url.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    for name in options.keys() - _OPTIONS:
        raise FileStoreUrlError(
            f"{redacted(url)}: unknown option {name!r}", hint=f"There are: {', '.join(sorted(_OPTIONS))}."
        )
    durable = options.get("durable", "folder")
    if durable not in ("folder", "far"):
        raise FileStoreUrlError(f"{redacted(url)}: durable={durable}", hint="Write durable=folder or durable=far.")
    folder = options.get("folder")
    if folder is not None and not Path(folder).is_absolute():
        raise FileStoreUrlError(f"{redacted(url)}: folder={folder}", hint="Write the folder as an absolute path.")
    try:
        return open_bridge(address, folder=None if folder is None else Path(folder), durable_far=durable == "far")
    except StoreConfigError as error:
        raise FileStoreUrlError(str(error), hint=error.hint) from error
