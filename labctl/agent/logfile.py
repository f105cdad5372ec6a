"""Keeps a process's log, which is its standard error, from growing without end.

The log is one file that the process, and whatever it starts, appends to; a rename would leave them writing to the old one. So at the
limit its content is copied to `NAME.1` and the file is emptied: everybody's O_APPEND goes on at the new end.
"""

from __future__ import annotations

import logging
import os
import shutil
import stat
import sys
from pathlib import Path

LOG_LIMIT = 4 * 1024 * 1024
"""Bytes; with the copy, a node's log never takes more than twice that."""

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class BoundedHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to standard error and empties the file behind it at the limit.

    Args:
        limit: bytes.
    """

    def __init__(self, limit: int = LOG_LIMIT) -> None:
        super().__init__(sys.stderr)
        self._limit = limit

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        super().emit(record)
        bound(sys.stderr.fileno(), self._limit)


def bound(descriptor: int, limit: int) -> None:
    """Empty the file behind a descriptor once it is larger than `limit`, keeping a copy; does nothing to what is no file."""
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_size <= limit:
        return
    path = Path(f"/proc/self/fd/{descriptor}").readlink()
    if path.exists():
        shutil.copyfile(path, path.with_name(f"{path.name}.1"))
        os.ftruncate(descriptor, 0)


def log_to_stderr(level: int = logging.INFO) -> None:
    """Send the process's log to standard error, bounded."""
    logging.basicConfig(level=level, format=FORMAT, handlers=[BoundedHandler()], force=True)
    # One line a request, at INFO: noise here.
    logging.getLogger("httpx").setLevel(logging.WARNING)
