"""From a URL to a block store.

`file:///path` or a plain path, `memory://name?size=64MiB`, and any other URL that fsspec opens (objects.py says how a disk is kept there).
The query may carry `size` (creates or grows a disk) and `readonly=1`; for other filesystems also `chunk` (bytes), `cache` (bytes of memory
or of the folder for changes that wait) and `folder` (where they wait). The rest of the query is the web's.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from labemu_store.block.api import BlockStore
from labemu_store.block.file import FileBlockStore
from labemu_store.block.filters.readonly import ReadonlyFilter
from labemu_store.block.layout import CHUNK
from labemu_store.block.memory import MemoryBlockStore
from labemu_store.block.objects import open_objects
from labemu_store.block.writeback import LIMIT, WriteBackStore
from labemu_store.errors import StoreConfigError
from labemu_store.remote.calls import FileSystem
from labemu_store.remote.holder import Holder
from labemu_store.remote.opening import explained, open_filesystem, redacted
from labemu_store.size import parse_size

_OPTIONS = {"size", "readonly"}
_REMOTE_OPTIONS = _OPTIONS | {"chunk", "cache", "folder"}
_WITH_QUERY = {"http", "https"}  # whose own address may have one
_MIN_CHUNK = 4096


def open_block_store(
    url: str,
    *,
    size: int | None = None,
    read_only: bool = False,
    storage: Mapping[str, object] | None = None,
    executor: Executor | None = None,
) -> BlockStore:
    """Open the store that a URL names.

    Args:
        url: `file:///disk.img?size=1GiB`, `/disk.img`, `memory://scratch?size=64MiB`.
        size: bytes; wins over the URL's `size`.
        read_only: also where the URL does not say `readonly=1`.
        storage: options of the filesystem of other URLs, for instance credentials.
        executor: on whose threads that filesystem's calls are made.

    Raises:
        StoreConfigError: unknown scheme or option, missing size, a file that is missing or in use.
    """
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if parts.scheme not in ("", "file", "memory"):
        return _open_remote(url, size=size, read_only=read_only, options=storage or {}, executor=executor)
    for option in options.keys() - _OPTIONS:
        raise StoreConfigError(f"{url}: unknown option {option!r}", hint="known are: " + ", ".join(sorted(_OPTIONS)))
    if size is None and "size" in options:
        size = parse_size(options["size"])
    read_only = read_only or options.get("readonly", "0") not in ("", "0", "false", "no")
    if parts.scheme == "memory":
        if size is None:
            raise StoreConfigError(f"{url} has no size", hint="say how large it is: memory://disk?size=64MiB")
        return MemoryBlockStore(size, name=parts.netloc or parts.path.strip("/") or "memory")
    if parts.netloc not in ("", "localhost"):
        raise StoreConfigError(f"{url} names a host", hint="a local file has three slashes: file:///disk.img")
    return FileBlockStore.open(Path(unquote(parts.path)), size=size, read_only=read_only)


def _open_remote(
    url: str, *, size: int | None, read_only: bool, options: Mapping[str, object], executor: Executor | None
) -> BlockStore:
    parts = urlsplit(url)
    query = parse_qsl(parts.query, keep_blank_values=True)
    known = {name: value for name, value in query if name in _REMOTE_OPTIONS}
    rest = [pair for pair in query if pair[0] not in _REMOTE_OPTIONS]
    if rest and parts.scheme not in _WITH_QUERY and "::" not in url:
        names = ", ".join(sorted(_REMOTE_OPTIONS))
        raise StoreConfigError(f"{redacted(url)}: unknown option {rest[0][0]!r}", hint=f"known are: {names}")
    address = url.partition("?")[0] + (f"?{urlencode(rest)}" if rest else "")
    if size is None and "size" in known:
        size = parse_size(known["size"])
    limit, chunk = parse_size(known.get("cache", f"{LIMIT}")), parse_size(known.get("chunk", f"{CHUNK}"))
    if chunk < _MIN_CHUNK:
        raise StoreConfigError(f"{redacted(url)}: chunks of {chunk} bytes", hint=f"{_MIN_CHUNK} is the least")
    with explained(url):
        filesystem, path = open_filesystem(address, options, executor)
        store = open_objects(filesystem, path, size=size, chunk=chunk)
    if store.capabilities.read_only:
        return store
    if read_only or known.get("readonly", "0") not in ("", "0", "false", "no"):
        return ReadonlyFilter(store)
    if "folder" not in known:
        return WriteBackStore(store, limit=limit)
    with explained(url):
        return written_back(store, filesystem, path, Path(known["folder"]), limit)


def written_back(store: BlockStore, filesystem: FileSystem, path: str, folder: Path, limit: int) -> WriteBackStore:
    """A disk behind a folder of changes, and marked as used by whoever has that folder.

    Args:
        store: the disk.
        filesystem: where it is.
        path: its prefix.
        folder: made where it is missing.
        limit: bytes that may wait.

    Raises:
        StoreConfigError: the folder or the disk is in use.
        StoreError: the filesystem failed.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    holder = Holder(filesystem, path.rstrip("/"), folder)
    holder.take()
    return WriteBackStore(store, folder=folder, limit=limit, emptied=holder.release)
