"""What the NFS benchmark's client does with metadata: libnfs's own calls, one at a time or with many under way.

    python nfs_metadata.py URL FOLDER COUNT DEPTH      prints one JSON object: operations a second of each kind

libnfs is driven through ctypes, so the client costs the same against every server. Each kind works on COUNT files in FOLDER.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import json
import select
import sys
import time
from collections.abc import Callable

O_RDONLY, O_WRONLY, O_CREAT = 0, 1, 0o100
MODE = 0o644
_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
Issue = Callable[[int, object], int]


class Libnfs:
    """A mounted export.

    Args:
        url: `nfs://address/export?version=3`.
    """

    def __init__(self, url: str) -> None:
        self.lib = ctypes.CDLL(ctypes.util.find_library("nfs") or "libnfs.so.13")
        for name in ("nfs_init_context", "nfs_parse_url_dir", "nfs_readdir", "nfs_get_error"):
            getattr(self.lib, name).restype = ctypes.c_void_p
        self.lib.nfs_get_error.restype = ctypes.c_char_p
        self.context = ctypes.c_void_p(self.lib.nfs_init_context())
        parsed = ctypes.c_void_p(self.lib.nfs_parse_url_dir(self.context, url.encode()))
        if not parsed.value:
            raise SystemExit(f"{url}: {self.error()}")
        server, path = ctypes.cast(parsed, ctypes.POINTER(ctypes.c_char_p))[0:2]
        self.check(self.lib.nfs_mount(self.context, server, path))
        self.stat = ctypes.create_string_buffer(256)

    def error(self) -> str:
        """What went wrong last."""
        return str(self.lib.nfs_get_error(self.context).decode())

    def check(self, status: int) -> int:
        """The status, unless it is an error."""
        if status < 0:
            raise SystemExit(f"libnfs: {self.error()}")
        return status

    def create(self, path: bytes) -> ctypes.c_void_p:
        """A new file."""
        handle = ctypes.c_void_p()
        self.check(self.lib.nfs_open2(self.context, path, O_WRONLY | O_CREAT, MODE, ctypes.byref(handle)))
        return handle

    def open(self, path: bytes) -> ctypes.c_void_p:
        """A file that is there."""
        handle = ctypes.c_void_p()
        self.check(self.lib.nfs_open(self.context, path, O_RDONLY, ctypes.byref(handle)))
        return handle

    def list(self, path: bytes) -> int:
        """How many entries a folder has, read from the server."""
        folder = ctypes.c_void_p()
        self.check(self.lib.nfs_opendir(self.context, path, ctypes.byref(folder)))
        count = 0
        while self.lib.nfs_readdir(self.context, folder):
            count += 1
        self.lib.nfs_closedir(self.context, folder)
        return count

    def flight(self, count: int, depth: int, issue: Issue) -> float:
        """Keep `depth` calls under way until `count` are done; returns calls a second.

        Args:
            count: in all.
            depth: at once.
            issue: starts call number n with a callback.
        """
        begun = done = 0

        def answered(status: int, context: object, data: object, private: object) -> None:
            nonlocal done, begun
            self.check(status)
            done += 1
            if begun < count:
                self.check(issue(begun, callback))
                begun += 1

        callback = _CALLBACK(answered)
        poll = select.poll()
        start = time.perf_counter()
        while begun < min(depth, count):
            self.check(issue(begun, callback))
            begun += 1
        while done < count:
            poll.register(self.lib.nfs_get_fd(self.context), self.lib.nfs_which_events(self.context))
            for _, events in poll.poll(10_000):
                self.check(self.lib.nfs_service(self.context, events))
        return count / (time.perf_counter() - start)


def rate(count: int, work: Callable[[int], object]) -> float:
    """Calls a second of `work`, one after the other."""
    start = time.perf_counter()
    for number in range(count):
        work(number)
    return count / (time.perf_counter() - start)


def alone(nfs: Libnfs, folder: str, count: int) -> dict[str, float]:
    """One at a time."""
    lib, context = nfs.lib, nfs.context
    paths = [f"{folder}/s{number}".encode() for number in range(count)]

    def create(number: int) -> None:
        handle = nfs.create(paths[number])
        nfs.check(lib.nfs_pwrite(context, handle, ctypes.c_uint64(0), ctypes.c_uint64(5), b"hello"))
        nfs.check(lib.nfs_close(context, handle))

    found = {"create+write+close": rate(count, create)}
    handle = nfs.open(paths[0])
    found["getattr"] = rate(count * 4, lambda _: nfs.check(lib.nfs_fstat64(context, handle, nfs.stat)))
    nfs.check(lib.nfs_close(context, handle))
    found["lookup"] = rate(count, lambda number: nfs.check(lib.nfs_lstat64(context, paths[number], nfs.stat)))
    found["unlink"] = rate(count, lambda number: nfs.check(lib.nfs_unlink(context, paths[number])))
    return found


def together(nfs: Libnfs, folder: str, count: int, depth: int, version: int) -> dict[str, float]:
    """Many under way."""
    lib, context = nfs.lib, nfs.context
    paths = [f"{folder}/p{number}".encode() for number in range(count)]
    found: dict[str, float] = {}
    if version == 3:
        found["create"] = nfs.flight(count, depth, lambda n, cb: lib.nfs_creat_async(context, paths[n], MODE, cb, None))
    else:  # libnfs has one open-owner, whose opens come one after the other (RFC 7530 9.1.7), and does not wait for that
        for path in paths:
            nfs.check(lib.nfs_close(context, nfs.create(path)))
    handle = nfs.open(paths[0])
    found["getattr"] = nfs.flight(count * 8, depth, lambda _, cb: lib.nfs_fstat64_async(context, handle, cb, None))
    found["lookup"] = nfs.flight(count, depth, lambda n, cb: lib.nfs_lstat64_async(context, paths[n], cb, None))
    nfs.check(lib.nfs_close(context, handle))
    start = time.perf_counter()
    listed = nfs.list(folder.encode())
    found["readdirplus, entries"] = listed / (time.perf_counter() - start)
    start = time.perf_counter()
    listed = nfs.list(folder.encode())
    found["readdirplus again, entries"] = listed / (time.perf_counter() - start)
    found["unlink"] = nfs.flight(count, depth, lambda n, cb: lib.nfs_unlink_async(context, paths[n], cb, None))
    return found


def run(url: str, folder: str, count: int, depth: int) -> dict[str, float]:
    """All kinds, in a folder of its own."""
    nfs = Libnfs(url)
    nfs.check(nfs.lib.nfs_mkdir(nfs.context, folder.encode()))
    found = (
        alone(nfs, folder, count) if depth == 1 else together(nfs, folder, count, depth, 4 if "version=4" in url else 3)
    )
    nfs.check(nfs.lib.nfs_rmdir(nfs.context, folder.encode()))
    return found


if __name__ == "__main__":
    sys.stdout.write(json.dumps(run(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
