"""Unix sockets for one's own user only, at paths of any length.

A socket address holds 107 bytes of path; a lab's folder under a long home directory has more. Both ends therefore go through a descriptor
of the folder: `/proc/self/fd/N/NAME` is short whatever the folder is called (unix(7), proc(5)).
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

LISTEN_BACKLOG = 128


@contextlib.contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    """A listening socket that only its owner may use, removed at the end. Replaces what a killed predecessor left there."""
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        # The mode is that of the socket's own inode before bind: there is no moment at which others could connect.
        os.fchmod(sock.fileno(), 0o600)
        with _short(path) as short:
            sock.bind(short)
        sock.listen(LISTEN_BACKLOG)
        sock.setblocking(False)
        inode = path.stat().st_ino
        try:
            yield sock
        finally:
            # A successor may have put its own there.
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_ino == inode:
                    path.unlink()


def connected(path: Path, *, timeout: float | None = None) -> socket.socket:
    """A socket connected to `path`; the caller closes it.

    Raises:
        OSError: nobody listens there.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout)
        with _short(path) as short:
            sock.connect(short)
    except OSError:
        sock.close()
        raise
    return sock


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
