"""From a URL to a block store.

`file:///path` or a plain path, `memory://name?size=64MiB`. The query may carry `size` (creates or grows a file) and `readonly=1`.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from labemu_store.block.api import BlockStore
from labemu_store.block.file import FileBlockStore
from labemu_store.block.memory import MemoryBlockStore
from labemu_store.errors import StoreConfigError
from labemu_store.size import parse_size

_OPTIONS = {"size", "readonly"}


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
    for option in options.keys() - _OPTIONS:
        raise StoreConfigError(f"{url}: unknown option {option!r}", hint="known are: " + ", ".join(sorted(_OPTIONS)))
    if size is None and "size" in options:
        size = parse_size(options["size"])
    read_only = read_only or options.get("readonly", "0") not in ("", "0", "false", "no")
    if parts.scheme == "memory":
        if size is None:
            raise StoreConfigError(f"{url} has no size", hint="say how large it is: memory://disk?size=64MiB")
        return MemoryBlockStore(size, name=parts.netloc or parts.path.strip("/") or "memory")
    if parts.scheme in ("", "file"):
        if parts.netloc not in ("", "localhost"):
            raise StoreConfigError(f"{url} names a host", hint="a local file has three slashes: file:///disk.img")
        return FileBlockStore.open(Path(unquote(parts.path)), size=size, read_only=read_only)
    raise StoreConfigError(f"{url}: no block store for {parts.scheme}://", hint="use file:// or memory://")
