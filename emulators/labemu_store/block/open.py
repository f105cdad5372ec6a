"""From a URL to a block store.

`file:///path` or a plain path, `memory://name?size=64MiB`, and any other URL that fsspec opens (objects.py says how a disk is kept there).
The query may carry `size` (creates or grows a disk) and `readonly=1`; for other filesystems also `chunk` (bytes), `cache` (bytes of memory
or of the folder for changes that wait) and `folder` (where they wait). The rest of the query is the filesystem's.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from fsspec.core import url_to_fs

from labemu_store.block.api import BlockStore
from labemu_store.block.file import FileBlockStore
from labemu_store.block.filters.readonly import ReadonlyFilter
from labemu_store.block.memory import MemoryBlockStore
from labemu_store.block.objects import CHUNK, open_objects, translated
from labemu_store.block.writeback import LIMIT, WriteBackStore
from labemu_store.errors import StoreConfigError, StoreError
from labemu_store.size import parse_size

_OPTIONS = {"size", "readonly"}
_REMOTE_OPTIONS = _OPTIONS | {"chunk", "cache", "folder"}


def open_block_store(url: str, *, size: int | None = None, read_only: bool = False) -> BlockStore:
    """Open the store that a URL names.

    Args:
        url: `file:///disk.img?size=1GiB`, `/disk.img`, `memory://scratch?size=64MiB`.
        size: bytes; wins over the URL's `size`.
        read_only: also where the URL does not say `readonly=1`.

    Raises:
        StoreConfigError: unknown scheme or option, missing size, a file that is missing or in use.
    """
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if parts.scheme not in ("", "file", "memory"):
        return _open_remote(url, size=size, read_only=read_only)
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


def _open_remote(url: str, *, size: int | None, read_only: bool) -> BlockStore:
    parts = urlsplit(url)
    query = parse_qsl(parts.query, keep_blank_values=True)
    options = {name: value for name, value in query if name in _REMOTE_OPTIONS}
    rest = urlencode([pair for pair in query if pair[0] not in _REMOTE_OPTIONS])
    address = url.partition("?")[0] + (f"?{rest}" if rest else "")
    if size is None and "size" in options:
        size = parse_size(options["size"])
    limit = parse_size(options.get("cache", f"{LIMIT}"))
    try:
        with translated("opening"):
            filesystem, path = url_to_fs(address)
        store = open_objects(filesystem, path, size=size, chunk=parse_size(options.get("chunk", f"{CHUNK}")))
    except (StoreConfigError, StoreError) as error:
        problem = error.strerror if isinstance(error, StoreError) else str(error)
        hint = (
            getattr(error, "hint", "")
            or f"is what fsspec needs for {parts.scheme}:// installed, and are the credentials right?"
        )
        raise StoreConfigError(f"{redacted(url)}: {problem}", hint=hint) from None
    if store.capabilities.read_only:
        return store
    if read_only or options.get("readonly", "0") not in ("", "0", "false", "no"):
        return ReadonlyFilter(store)
    return WriteBackStore(store, folder=Path(options["folder"]) if "folder" in options else None, limit=limit)


def redacted(url: str) -> str:
    """A URL without what may be secret: user, password and query."""
    scheme, _, rest = url.partition("?")[0].partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"
