"""A disk whose store cannot be reached yet: it is there, says that it is not ready, and opens as soon as it can.

For a target that starts while the storage behind it is away: its initiators find their disks, and wait, instead of losing them.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from labemu_store.block.api import BlockStore, Buffer, Capabilities, Extent, Operation
from labemu_store.block.writeback import WriteBackStore
from labemu_store.errors import StoreConfigError, StoreError

T = TypeVar("T")

logger = logging.getLogger(__name__)

PAUSE: Final = 2.0  # seconds between attempts to open: initiators try again about as often


class AwaitedStore:
    """A store that is opened when it is first used, and again and again until that succeeds.

    `problem` says why the last call failed, and is empty since one succeeded.

    Args:
        opening: opens it; its StoreConfigErrors are told by their errno, ENOTCONN where they have none.
        size: bytes, until it is open.
        capabilities: until it is open, and of it then: what a unit was told must stay true.
        clock: seconds.
    """

    def __init__(
        self,
        opening: Callable[[], BlockStore],
        *,
        size: int,
        capabilities: Capabilities,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._opening = opening
        self._size = size
        self._clock = clock
        self._store: BlockStore | None = None
        self._closed = False
        self._lock = threading.Lock()
        self._next_attempt = -PAUSE
        self._code = errno.ENOTCONN
        self.capabilities = capabilities
        self.problem = ""

    @property
    def size(self) -> int:
        """Bytes."""
        store = self._store
        return self._size if store is None else store.size

    @property
    def is_open(self) -> bool:
        """Whether it has been reached."""
        return self._store is not None

    @property
    def waiting(self) -> int:
        """Bytes that were written and are not yet where they belong."""
        store = self._store
        return store.waiting if isinstance(store, WriteBackStore) else 0

    def reach(self) -> BlockStore:
        """The store, opened now if it is time to try.

        Raises:
            StoreError: it cannot be had at present; `problem` says why.
        """
        store = self._store
        if store is not None:
            return store
        with self._lock:  # whoever comes during an attempt shares its outcome
            if self._store is not None:
                return self._store
            if self._closed or self._clock() < self._next_attempt:
                raise self._failure()
            try:
                self._store = self._opening()
            except StoreConfigError as error:
                self._next_attempt = self._clock() + PAUSE
                self._code, self.problem = error.errno or errno.ENOTCONN, str(error)
                logger.warning("not ready: %s", error)
                raise self._failure() from None
            self.problem = ""
            return self._store

    def _do(self, call: Callable[[BlockStore], T]) -> T:
        """What one call says, and in `problem` whether it failed."""
        store = self.reach()
        try:
            result = call(store)
        except StoreError as error:
            self.problem = error.strerror or str(error)
            raise
        self.problem = ""
        return result

    def _failure(self) -> StoreError:
        return StoreError(self._code, os.strerror(self._code))

    def read(self, offset: int, length: int) -> Buffer:
        """Pass on."""
        return self._do(lambda store: store.read(offset, length))

    def write(self, offset: int, data: Buffer) -> None:
        """Pass on."""
        self._do(lambda store: store.write(offset, data))

    def unmap(self, offset: int, length: int) -> None:
        """Pass on."""
        self._do(lambda store: store.unmap(offset, length))

    def write_zeroes(self, offset: int, length: int) -> None:
        """Pass on."""
        self._do(lambda store: store.write_zeroes(offset, length))

    def flush(self) -> None:
        """Pass on: what waits from before may be there although nothing was written since."""
        self._do(lambda store: store.flush())

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        """Pass on."""
        return self._do(lambda store: iter(list(store.extents(offset, length))))

    def allocated(self) -> int:
        """Bytes that it takes; 0 as long as nobody can know."""
        store = self._store
        return 0 if store is None else store.allocated()

    def resize(self, size: int) -> None:
        """Pass on."""
        self._do(lambda store: store.resize(size))

    def latency(self, operation: Operation, offset: int, length: int) -> float:
        """None of its own."""
        return 0.0

    def discard(self) -> None:
        """What waits is to be forgotten: the disk is about to be removed."""
        if isinstance(self._store, WriteBackStore):
            self._store.discard()

    def close(self) -> None:
        """Flush and close it, if it was ever reached."""
        with self._lock:
            self._closed = True
            store, self._store = self._store, None
        if store is not None:
            store.close()
