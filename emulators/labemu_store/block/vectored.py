"""Runs of buffers through stores that have others behind them.

A layer offers `readv` and `writev` where it changes nothing of them, whatever lies behind; whether that takes them is known only when
they are called. One that does not fails with EOPNOTSUPP, and has done nothing: the caller then makes its calls one by one.
"""

from __future__ import annotations

import errno
from typing import cast

from labemu_store.block.api import BlockStore, VectoredStore
from labemu_store.errors import StoreError


def takes_runs(store: BlockStore) -> bool:
    """Whether the store takes runs at present."""
    return bool(getattr(store, "vectored", False))


def behind(store: BlockStore) -> VectoredStore:
    """The store, to hand a run on to.

    Raises:
        StoreError: EOPNOTSUPP, it takes none.
    """
    if not hasattr(store, "readv"):  # an isinstance of a protocol costs more than the call itself
        raise StoreError(errno.EOPNOTSUPP, "no runs of buffers here")
    return cast("VectoredStore", store)
