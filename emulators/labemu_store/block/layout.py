"""How a disk lies on a filesystem that is not this machine's.

`PREFIX/manifest.json` is `{"version": 1, "size": bytes, "chunk": bytes}`; `PREFIX/chunks/INDEX` is a chunk, its index in 12
hexadecimal digits, without the zeroes at its end. The manifest makes the disk: it comes last when one is made and goes first when one is
removed, so chunks without it are what an interruption left. A file is replaced as a whole: at once where a filesystem puts objects, by a
rename where it writes in place.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from labemu_store.errors import StoreConfigError, StoreError
from labemu_store.remote.calls import IN_PLACE, OBJECTS, FileSystem, protocols, translated

T = TypeVar("T")

CHUNK: Final = 1 << 20  # a compromise: larger ones cost small writes dearly, smaller ones cost a request each
_AT_A_TIME: Final = 8  # requests: each waits for the network most of its time
_DIGITS: Final = 12


class Manifest(NamedTuple):
    """A disk's size and the size of its chunks, in bytes."""

    size: int
    chunk: int


def chunk_name(path: str, index: int) -> str:
    """Where a chunk lies."""
    return f"{path}/chunks/{index:0{_DIGITS}x}"


def put_chunk(filesystem: FileSystem, path: str, index: int, content: bytes) -> None:
    """Make or replace a chunk."""
    _replace(filesystem, chunk_name(path, index), content)


def remove_chunk(filesystem: FileSystem, path: str, index: int) -> None:
    """Remove a chunk; one that is gone is fine: an answer may have been lost."""
    with suppress(FileNotFoundError):
        filesystem.rm_file(chunk_name(path, index))


def chunks(filesystem: FileSystem, path: str, chunk: int) -> dict[int, int]:
    """The chunks that are there and their sizes; none where nothing has been written, since objects have no folders.

    Raises:
        StoreError: the filesystem failed.
    """
    found: dict[int, int] = {}
    for entry in _entries(filesystem, path):
        name = str(entry["name"]).rsplit("/", 1)[-1]
        if len(name) == _DIGITS:
            found[int(name, 16)] = chunk if entry["size"] is None else int(entry["size"])
    return found


def _files(filesystem: FileSystem, path: str) -> list[str]:
    return [str(entry["name"]) for entry in _entries(filesystem, path) if entry.get("type") == "file"]


def _entries(filesystem: FileSystem, path: str) -> list[dict[str, Any]]:
    try:
        with translated("listing the chunks"):
            filesystem.invalidate_cache()
            return filesystem.ls(f"{path}/chunks", detail=True)
    except StoreError as error:
        if error.errno != errno.ENOENT:
            raise
    return []


def read_manifest(filesystem: FileSystem, path: str) -> Manifest | None:
    """A disk's manifest, or None where there is no disk.

    Raises:
        StoreConfigError: it is damaged, or of a later version.
        StoreError: the filesystem failed.
    """
    try:
        with translated("opening"):
            filesystem.invalidate_cache()
            body = filesystem.cat_file(f"{path}/manifest.json")
    except StoreError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        raise
    try:
        found = json.loads(body)
        version, size, chunk = found["version"], int(found.get("size", 0)), int(found.get("chunk", 0))
    except (ValueError, TypeError, KeyError, AttributeError):
        raise StoreConfigError(
            "the disk's manifest is damaged", hint="write it again: docs/reference/block-stores.md says what it holds"
        ) from None
    if version != 1 or chunk <= 0:
        raise StoreConfigError("the disk was written by a later version", hint="use that version")
    return Manifest(size, chunk)


def put_manifest(filesystem: FileSystem, path: str, manifest: Manifest) -> None:
    """Make or replace a disk's manifest.

    Raises:
        StoreError: the filesystem failed.
    """
    body = json.dumps({"version": 1, "size": manifest.size, "chunk": manifest.chunk}).encode()
    with translated("writing the manifest"):
        _replace(filesystem, f"{path}/manifest.json", body)


def create(
    filesystem: FileSystem, path: str, manifest: Manifest, *, source: Path | None = None, over: bool = False
) -> None:
    """Make a disk; it is there when this returns, and not before.

    Args:
        filesystem: where.
        path: its prefix.
        manifest: its sizes.
        source: a file with its first content.
        over: remove chunks that are there without a manifest, as an interruption leaves them; else that is an error.

    Raises:
        StoreConfigError: there are such chunks.
        StoreError: the filesystem failed.
    """
    if not OBJECTS & protocols(filesystem):
        with translated("making the disk"):
            filesystem.makedirs(f"{path}/chunks", exist_ok=True)
    left = _files(filesystem, path)
    if left and not over:
        raise StoreConfigError(
            "there are chunks of a disk without its manifest",
            hint="write its manifest again (docs/reference/block-stores.md), or use another prefix",
        )
    _remove(filesystem, left)
    if source is not None:
        with translated("copying the image"):
            _all(
                lambda piece: put_chunk(filesystem, path, *piece),
                _pieces(source, manifest.chunk),
            )
    put_manifest(filesystem, path, manifest)


def remove(filesystem: FileSystem, path: str) -> None:
    """Remove a disk and what an interruption left of one; one that is gone is fine.

    Raises:
        StoreError: the filesystem failed.
    """
    for name in ("manifest.json", "holder"):
        with translated("removing the disk"), suppress(FileNotFoundError):
            filesystem.rm_file(f"{path}/{name}")
    _remove(filesystem, _files(filesystem, path))
    if not OBJECTS & protocols(filesystem):
        for folder in (f"{path}/chunks", path):
            with translated("removing the disk"), suppress(FileNotFoundError):
                filesystem.rmdir(folder)


def _remove(filesystem: FileSystem, names: list[str]) -> None:
    def one(name: str) -> None:
        with suppress(FileNotFoundError):
            filesystem.rm_file(name)

    with translated("removing chunks"):
        _all(one, names)


def _pieces(source: Path, chunk: int) -> Iterator[tuple[int, bytes]]:
    """A file's chunks that hold anything."""
    with source.open("rb") as file:
        index = 0
        while piece := file.read(chunk):
            if kept := piece.rstrip(b"\0"):
                yield index, kept
            index += 1


def _all(work: Callable[[T], None], items: Iterable[T]) -> None:
    """Several at a time, and no more of them in memory than that; the first failure ends it."""
    remaining = iter(items)
    with ThreadPoolExecutor(_AT_A_TIME, thread_name_prefix="labemu-chunks") as pool:
        while batch := [item for _, item in zip(range(_AT_A_TIME), remaining, strict=False)]:
            list(pool.map(work, batch))


def _replace(filesystem: FileSystem, name: str, content: bytes) -> None:
    if not IN_PLACE & protocols(filesystem):
        filesystem.pipe_file(name, content)
        return
    draft = name + ".new"
    filesystem.pipe_file(draft, content)
    filesystem.mv(draft, name)
