"""From a URL to a file store."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from labemu_store.file.local import LocalFileStore
from labemu_store.file.memory import MemoryFileStore
from labemu_store.file.protocol import FileStore


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
    """The store that a URL names: `file:///srv/gold` (or `/srv/gold`), a directory that is there, or `memory://`.

    Raises:
        FileStoreUrlError: with a hint.
    """
    parts = urlsplit(url)
    if parts.scheme == "memory":
        return MemoryFileStore()
    if parts.scheme not in ("", "file"):
        raise FileStoreUrlError(
            f"{url}: no file store for {parts.scheme}://", hint="Use file:///absolute/path or memory://."
        )
    path = Path(unquote(parts.path) if parts.scheme else url)
    if parts.netloc or not path.is_absolute():
        raise FileStoreUrlError(f"{url}: not an absolute path", hint="Write three slashes: file:///srv/gold.")
    try:
        return LocalFileStore(path)
    except OSError as error:
        raise FileStoreUrlError(
            f"{url}: {error.strerror}", hint=f"Create the directory first: mkdir -p {path}"
        ) from error
