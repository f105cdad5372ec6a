"""From an array's configuration to its shelf."""

from __future__ import annotations

from concurrent.futures import Executor
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict

from labctl_storage.arrayd.shelves.elsewhere import ElsewhereShelf
from labctl_storage.arrayd.shelves.files import FileShelf
from labctl_storage.arrayd.shelves.memory import MemoryShelf
from labctl_storage.arrayd.shelves.shelf import Shelf
from labemu_store.block.writeback import LIMIT


class ShelfConfig(BaseModel):
    """Where an array's data lies.

    `backing` is a URL. Where that is neither file:// nor memory://, `folder` is where changes wait, `cache` how many bytes of them for each
    volume, `options` what the filesystem is opened with, and `secret` a file with more of that.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    backing: str
    folder: Path | None = None
    cache: int = LIMIT
    options: dict[str, Any] = {}
    secret: Path | None = None


def build_shelf(config: ShelfConfig, directory: Path, outside: Executor | None) -> Shelf:
    """The shelf that a configuration asks for.

    Args:
        config: the configuration.
        directory: the agent's own folder.
        outside: threads that live in the machine's own network.
    """
    parts = urlsplit(config.backing)
    if parts.scheme == "file":
        return FileShelf(Path(unquote(parts.path)))
    if parts.scheme == "memory":
        return MemoryShelf(directory / "memory")
    return ElsewhereShelf(
        config.backing,
        config.folder or directory / "waiting",
        cache=config.cache,
        options=config.options,
        secret=config.secret,
        executor=outside,
    )
