"""The last lines of a log file, and those to come.

New lines are told by inotify (inotify(7)), not found by polling. A log that is rotated (renamed, then made anew) is followed by name.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from labctl.errors import NotRunningError
from labctl.model.json import Json

IN_MODIFY, IN_MOVED_TO, IN_CREATE = 0x2, 0x80, 0x100
READ_SIZE = 65536


async def follow_lines(path: Path, *, lines: int, follow: bool) -> AsyncGenerator[Json, None]:
    """`{"line": text}` for the last `lines` lines, and with `follow` for every line to come.

    Raises:
        NotRunningError: there is no such log.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError as error:
        raise NotRunningError(f"there is no log {path.name} in {path.parent}") from error
    with ExitStack() as stack:
        stack.enter_context(file)
        changed = stack.enter_context(_watch(path.parent))
        for text in deque(file, maxlen=max(lines, 0)):
            yield _entry(text)
        rest = b""
        while follow:
            changed.clear()
            if os.fstat(file.fileno()).st_size < file.tell():
                file.seek(0)  # emptied at its limit (labctl.agent.logfile)
            while chunk := file.read(READ_SIZE):
                *whole, rest = (rest + chunk).split(b"\n")
                for text in whole:
                    yield _entry(text)
            if _replaced(path, file.fileno()):
                file = stack.enter_context(path.open("rb"))
                continue
            await changed.wait()


def _entry(text: bytes) -> Json:
    return {"line": text.decode(errors="replace").rstrip("\r\n")}


def _replaced(path: Path, descriptor: int) -> bool:
    try:
        return path.stat().st_ino != os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False


@contextmanager
def _watch(folder: Path) -> Iterator[asyncio.Event]:
    """An event that is set whenever something changes in a folder."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "inotify_init1")
    changed = asyncio.Event()

    def arrived() -> None:
        os.read(descriptor, READ_SIZE)
        changed.set()

    loop = asyncio.get_running_loop()
    try:
        if libc.inotify_add_watch(descriptor, os.fsencode(folder), IN_MODIFY | IN_MOVED_TO | IN_CREATE) < 0:
            raise OSError(ctypes.get_errno(), "inotify_add_watch", str(folder))
        loop.add_reader(descriptor, arrived)
        yield changed
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
