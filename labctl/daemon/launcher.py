"""Starts labd where it does not run yet, and finds the ones that do.

Rules: one labd a lab, however many command lines start one at the same moment: who launches holds a lock on the lab's folder, and labd
itself holds another for as long as it lives. labd is a session of its own with no descriptor of ours, so what it does goes on when we are
gone. That it serves is told through a pipe, not found by asking again and again.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from labctl.daemon.client import DaemonClient
from labctl.daemon.surroundings import Surroundings
from labctl.errors import ConflictError, LabError, NotRunningError, TimedOutError
from labctl.runtime.paths import LabPaths

START_DEADLINE = 30.0
"""Seconds for labd's start; it takes about one, and recovery of an interrupted operation comes after it serves."""

END_DEADLINE = 15.0
"""Seconds for labd to end after a `down`."""

LOG_LINES = 15

READY_VARIABLE = "LABCTL_READY_FD"

DAEMON_MODULE = "labctl.daemon"

PROBE_TIMEOUT = 5.0

LOCK_INTERVAL = 0.02
"""Seconds between attempts at a lock that an ending labd lets go of in a moment; flock(2) knows no deadline."""


def known_labs(home: Path) -> list[str]:
    """Labs that have a journal, whether their labd runs or not."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return sorted(entry.name for entry in (home / "labs").iterdir() if LabPaths(home, entry.name).journal.exists())
    return []


def running_labs(home: Path) -> list[str]:
    """Labs whose labd answers."""
    return [name for name in known_labs(home) if _answers(LabPaths(home, name))]


def connect(home: Path, lab: str) -> DaemonClient:
    """The client of a running lab.

    Raises:
        NotRunningError: there is no such lab, or its labd is dead.
    """
    paths = LabPaths(home, lab)
    if _answers(paths):
        return DaemonClient(paths.socket, lab)
    if paths.directory.is_dir():
        raise NotRunningError(
            f"labd of lab {lab} is not running",
            hint="`labctl up` starts it again and adopts what runs; `labctl down` removes it",
        )
    from labctl.model.suggest import did_you_mean

    hint = did_you_mean(lab, known_labs(home), what="the labs")
    raise NotRunningError(f"there is no lab {lab}", hint=hint or "`labctl up quickstart` brings one up")


def ensure_daemon(home: Path, lab: str) -> DaemonClient:
    """The client of a lab's labd, which is started unless it runs.

    Raises:
        LabError: it ended at once; the error shows the end of its log.
        TimedOutError: it did not serve in time.
    """
    paths = LabPaths(home, lab)
    paths.check()
    client = DaemonClient(paths.socket, lab)
    if _answers(paths):
        return client
    with _launch_lock(paths):
        # Another command line may have been quicker.
        if not _answers(paths):
            _start(paths)
    return client


@contextmanager
def take_down(home: Path, lab: str, *, purge: bool) -> Iterator[Iterator[dict[str, Any]]]:
    """The stream of a `down`; at the end waits until labd is gone, and with it the lab's folder.

    Raises:
        NotRunningError: there is no such lab.
    """
    paths = LabPaths(home, lab)
    if not paths.directory.is_dir():
        connect(home, lab)  # says that there is none, and which there are
    client = ensure_daemon(home, lab)
    pid = int(client.get("/v1/lab")["pid"])
    with suppress(ProcessLookupError), _process(pid) as process:
        yield client.stream("POST", "/v1/down", {"purge": purge})
        ready, _, _ = select.select([process], [], [], END_DEADLINE)
        if not ready:
            raise TimedOutError(
                f"labd of lab {lab} (pid {pid}) did not end within {END_DEADLINE:.0f} s", hint=f"see {paths.log}"
            )


@contextmanager
def _process(pid: int) -> Iterator[int]:
    descriptor = os.pidfd_open(pid)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _answers(paths: LabPaths) -> bool:
    if not paths.socket.exists():
        return False
    try:
        answer = DaemonClient(paths.socket, paths.lab).get("/v1/lab", timeout=PROBE_TIMEOUT)
    except LabError:
        return False
    return not answer.get("ending")


@contextmanager
def _launch_lock(paths: LabPaths) -> Iterator[None]:
    """Held by the one command line that launches; made anew where a `down` removed the folder meanwhile."""
    while True:
        paths.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            descriptor = os.open(paths.directory / "launch.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            _await_end_of_labd(paths)
            if os.fstat(descriptor).st_nlink == 0:
                continue
            yield
            return
        finally:
            os.close(descriptor)


def _await_end_of_labd(paths: LabPaths) -> None:
    """Wait for a labd that is about to end: it no longer takes requests, and may yet remove the folder.

    Raises:
        TimedOutError: it does not end.
    """
    deadline = time.monotonic() + END_DEADLINE
    while not _answers(paths):
        try:
            with only_one(paths.directory):
                return
        except FileNotFoundError:
            return  # it has removed the folder
        except ConflictError:
            if time.monotonic() > deadline:
                raise TimedOutError(
                    f"labd of lab {paths.lab} neither answers nor ends", hint=f"its log is {paths.log}; kill it"
                ) from None
            time.sleep(LOCK_INTERVAL)


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Hold the lock that a labd holds for as long as it lives.

    Raises:
        ConflictError: a labd holds it.
        FileNotFoundError: the folder is gone.
    """
    descriptor = os.open(folder / "labd.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConflictError(f"another labd serves the lab in {folder}") from error
        yield
    finally:
        os.close(descriptor)


def _start(paths: LabPaths) -> None:
    surroundings = Surroundings.of(paths)
    reading, writing = os.pipe2(os.O_CLOEXEC)
    try:
        pid = _spawn(paths, surroundings, writing)
    finally:
        os.close(writing)
    with os.fdopen(reading, "rb", buffering=0) as pipe:
        _await_ready(paths, pipe.fileno(), pid)


def _spawn(paths: LabPaths, surroundings: Surroundings, writing: int) -> int:
    argv = [sys.executable, "-m", DAEMON_MODULE, "--lab", paths.lab, "--home", str(paths.home)]
    argv = surroundings.wrap([*argv, *(["--rootless"] if surroundings.rootless else [])])
    ready = 3
    environment = {**os.environ, READY_VARIABLE: str(ready), "LABCTL_LAB": paths.lab, "PYTHONUNBUFFERED": "1"}
    return os.posix_spawn(
        argv[0],
        argv,
        environment,
        file_actions=[
            (os.POSIX_SPAWN_DUP2, writing, ready),
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(paths.log), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
        setsigmask=[],
        setsigdef=[signal.SIGTERM, signal.SIGINT, signal.SIGPIPE, signal.SIGHUP],
    )


def _await_ready(paths: LabPaths, pipe: int, pid: int) -> None:
    """Wait for the byte that says that labd serves; an end of the pipe without one says that it died."""
    deadline = time.monotonic() + START_DEADLINE
    ready, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
    if not ready:
        raise TimedOutError(
            f"labd of lab {paths.lab} (pid {pid}) does not serve after {START_DEADLINE:.0f} s{_log_end(paths)}",
            hint=f"its log is {paths.log}",
        )
    if not os.read(pipe, 1):
        raise LabError(f"labd of lab {paths.lab} ended at once{_log_end(paths)}", hint=f"its log is {paths.log}")


def _log_end(paths: LabPaths) -> str:
    try:
        lines = paths.log.read_text("utf-8", "replace").splitlines()[-LOG_LINES:]
    except OSError:
        return ""
    return "".join(f"\n  | {line}" for line in lines)
