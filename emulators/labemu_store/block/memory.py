"""A store in memory: an anonymous file (memfd), so sparse, resizable and as quick as the page cache.

What it holds goes with the process.
"""

from __future__ import annotations

import os
from dataclasses import replace

from labemu_store.block.file import FileBlockStore


class MemoryBlockStore(FileBlockStore):
    """A sparse store that lives as long as the process.

    Args:
        size: bytes; nothing is allocated until it is written.
        name: for messages.
    """

    def __init__(self, size: int, *, name: str = "memory") -> None:
        descriptor = os.memfd_create(name, os.MFD_CLOEXEC)
        os.ftruncate(descriptor, size)
        super().__init__(descriptor, name=name)
        self.capabilities = replace(self.capabilities, survives_kill=False)

    def flush(self) -> None:
        """Nothing outlives the process, so there is nothing to wait for."""
