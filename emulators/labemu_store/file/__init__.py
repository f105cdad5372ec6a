"""File stores: a POSIX-shaped file system with stated capabilities, over a directory or in memory."""

from labemu_store.file.local import LocalFileStore
from labemu_store.file.memory import MemoryFileStore
from labemu_store.file.protocol import FileStore
from labemu_store.file.types import AttributeChange, Attributes, Capabilities, FileKind, Key, Ownership
from labemu_store.file.url import FileStoreUrlError, open_file_store

__all__ = [
    "AttributeChange",
    "Attributes",
    "Capabilities",
    "FileKind",
    "FileStore",
    "FileStoreUrlError",
    "Key",
    "LocalFileStore",
    "MemoryFileStore",
    "Ownership",
    "open_file_store",
]
