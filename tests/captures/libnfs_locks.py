"""libnfs's byte-range locks, which its own tools do not take: for record_others.

python libnfs_locks.py URL hold      opens a file, locks it, says so, and lets go at the end of its input
python libnfs_locks.py URL try       tests the lock and asks for it; exits with 0 if it was refused
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bench"))
from nfs_metadata import Libnfs

LOCK, TRY, UNLOCK, TEST = range(4)
O_RDWR = 2
LENGTH = 4096


def main(url: str, what: str) -> int:
    """Do it."""
    client = Libnfs(url)
    handle = ctypes.c_void_p()
    client.check(client.lib.nfs_open(client.context, b"/locked", O_RDWR, ctypes.byref(handle)))

    def lock(command: int) -> int:
        return int(client.lib.nfs_lockf(client.context, handle, command, ctypes.c_uint64(LENGTH)))

    if what == "hold":
        client.check(lock(LOCK))
        sys.stdout.write("held\n")
        sys.stdout.flush()
        sys.stdin.read()
        client.check(lock(UNLOCK))
        refused = True
    else:
        refused = lock(TEST) < 0 and lock(TRY) < 0
    # libnfs 4.0 counts the owner's requests wrong once there was a lock: its CLOSE is refused with NFS4ERR_BAD_SEQID.
    client.lib.nfs_close(client.context, handle)
    client.check(client.lib.nfs_umount(client.context))
    return 0 if refused else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
