"""What goes wrong in a store.

Two families: a configuration that cannot be used (`StoreConfigError`, for whoever wrote the URL) and an operation
that failed on the medium (`StoreError`, an OSError: the protocol in front turns its errno into a sense code or an nfsstat).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Final

UNREACHABLE: Final = frozenset(
    {
        errno.ETIMEDOUT,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.ECONNABORTED,
        errno.EPIPE,
        errno.ENOTCONN,
        errno.EHOSTUNREACH,
        errno.EHOSTDOWN,
        errno.ENETUNREACH,
        errno.ENETDOWN,
        errno.EBUSY,
    }
)
"""The errnos of a StoreError that say: what holds the data cannot be reached or has no time now; nothing is lost, try again."""


class StoreConfigError(ValueError):
    """A store that cannot be opened as asked.

    Args:
        message: what happened.
        hint: what to do.
        errno: where the medium's failure is the reason, how it failed.
    """

    def __init__(self, message: str, *, hint: str = "", errno: int | None = None) -> None:
        super().__init__(message)
        self.hint = hint
        self.errno = errno


class StoreError(OSError):
    """An operation that the medium failed; `errno` says how."""


class AbsentError(OSError):
    """What an operation needs must be fetched from elsewhere first; nothing was done yet.

    Args:
        fetch: what to call, in any thread; it raises OSError. After that the operation is to be asked for again.
    """

    def __init__(self, fetch: Callable[[], None]) -> None:
        super().__init__(errno.EAGAIN, os.strerror(errno.EAGAIN))
        self.fetch = fetch
