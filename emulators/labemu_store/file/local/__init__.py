"""File stores over a local directory, on file descriptors all the way."""

from labemu_store.file.local.store import LocalFileStore

__all__ = ["LocalFileStore"]
