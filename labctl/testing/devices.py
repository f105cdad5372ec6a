"""Lending /dev/net/tun to ordinary users for the time of a test.

Most machines have it with mode 0666; where it is 0600, root may lend it. Several tests may borrow at the same time, in several
processes: the last one to give it back restores the mode that the first one found. A borrower that is killed leaves its note behind,
and the next one to give back restores from that.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

TUN = Path("/dev/net/tun")
LENT = 0o666
LEDGER = Path("/run/labctl-test-tun")  # holds the original mode in octal while somebody borrows


@contextlib.contextmanager
def lent_tun(device: Path = TUN, ledger: Path = LEDGER) -> Iterator[None]:
    """Make the device usable by everybody while the context lasts.

    Args:
        device: the device node.
        ledger: the file that borrowers agree by; FILE.users is held by each for as long as it borrows.

    Raises:
        PermissionError: this user may neither use the device nor lend it.
    """
    if os.access(device, os.R_OK | os.W_OK) and os.geteuid() != 0:
        yield
        return
    with ledger.with_suffix(".users").open("a") as users:
        with _noted(ledger) as note:
            if not os.pread(note, 16, 0):
                os.pwrite(note, f"{stat.S_IMODE(device.stat().st_mode):o}".encode(), 0)
            device.chmod(LENT)
            fcntl.flock(users, fcntl.LOCK_SH)
        try:
            yield
        finally:
            with _noted(ledger) as note:
                _give_back(note, users.fileno(), device)


@contextlib.contextmanager
def _noted(ledger: Path) -> Iterator[int]:
    """The ledger, opened and held alone."""
    note = os.open(ledger, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(note, fcntl.LOCK_EX)
        yield note
    finally:
        os.close(note)


def _give_back(note: int, users: int, device: Path) -> None:
    """Restore the mode unless somebody else still borrows."""
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    device.chmod(int(os.pread(note, 16, 0), 8))
    os.ftruncate(note, 0)
