"""Long-lived processes: started in a namespace and a cgroup, known by more than their number, ended for certain.

Rules: a process is (pid, start time), since the kernel reuses pids; nothing is signalled but through a pidfd that was checked to stand for
that very process (pidfd_open(2)). A process is in its cgroup before its program runs. What a starter had no time to record is found
again by a token in its environment. No preexec_fn: it is unsafe with threads; the starting thread enters the namespace instead.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from labctl.errors import MissingToolError, TimedOutError
from labctl.linux.errors import explain
from labctl.linux.namespaces import in_own_thread, run_in

KILL_DEADLINE = 10.0
"""Seconds that a SIGKILL may take: only a process in uninterruptible sleep takes longer."""

_PREPARE = (
    'cd "$1" || exit 125; n=$2; shift 2; '
    'while [ "$n" -gt 0 ]; do echo 0 >"$1"/cgroup.procs || exit 125; shift; n=$((n-1)); done; '
    'exec "$@"'
)
"""$1 the working folder, $2 how many cgroups follow, then the program: a shell moves itself, so there is no moment outside."""

_DEAD_STATES = "ZXx"


@dataclass(frozen=True, kw_only=True, order=True)
class ProcessId:
    """A process for good: a pid that is reused later has another start time.

    Args:
        pid: its number.
        start_time: clock ticks since boot, field 22 of /proc/PID/stat (proc(5)).
    """

    pid: int
    start_time: int


def spawn(
    argv: Sequence[str],
    *,
    namespace: Path | None = None,
    cgroups: Sequence[Path] = (),
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
    log: Path | None = None,
) -> ProcessId:
    """Start a detached process: own session, stdin empty, stdout and stderr appended to a log.

    Args:
        argv: the program, looked up on PATH, and its arguments.
        namespace: the network namespace's file, or None for our own.
        cgroups: folders that it is moved into first (one of cgroup2, others of v1 controllers).
        environment: all of it, or None for a copy of ours.
        directory: its working folder; ours where None.
        log: a file, or None to discard what it says.

    Returns:
        Who it is. It is our child: `reap` it when it ends.

    Raises:
        MissingToolError: there is no such program.
        LabError: it could not be started.
    """
    env = dict(os.environ if environment is None else environment)
    program = shutil.which(argv[0], path=env.get("PATH"))
    if program is None:
        raise MissingToolError(
            f'no program "{argv[0]}" on PATH', hint="install it; `labctl doctor` names the package of each tool"
        )
    command = [program, *argv[1:]]
    if cgroups or directory:
        folder = str(directory or Path.cwd())
        command = ["/bin/sh", "-c", _PREPARE, "sh", folder, str(len(cgroups)), *map(str, cgroups), *command]

    def start() -> ProcessId:
        pid = _spawn(command, env, log)
        process = identify(pid)
        for cgroup in cgroups:
            # The shell moves itself too; this is so that whoever kills the group once we return misses nobody.
            with contextlib.suppress(ProcessLookupError):
                (cgroup / "cgroup.procs").write_text(str(pid))
        return process

    try:
        return run_in(namespace, start) if namespace is not None else in_own_thread(start)
    except OSError as error:
        raise explain(f"start {argv[0]}", error) from error


def identify(pid: int) -> ProcessId:
    """The identity of the process that has a pid now.

    Raises:
        ProcessLookupError: nobody has it.
    """
    fields = _stat(pid)
    if fields is None:
        raise ProcessLookupError(pid)
    return ProcessId(pid=pid, start_time=int(fields[19]))


def alive(process: ProcessId) -> bool:
    """Whether it still runs; a zombie does not."""
    fields = _stat(process.pid)
    return fields is not None and int(fields[19]) == process.start_time and fields[0] not in _DEAD_STATES


def reap(process: ProcessId) -> int | None:
    """Collect a child of ours that has ended.

    Returns:
        Its exit status (negative: the signal that ended it), or None while it runs or where it is no child of ours.
    """
    try:
        pid, status = os.waitpid(process.pid, os.WNOHANG)
    except ChildProcessError:
        return None
    return os.waitstatus_to_exitcode(status) if pid else None


def open_pidfd(process: ProcessId) -> int | None:
    """A descriptor that stands for the process and polls readable when it ends, or None where it is gone. The caller closes it."""
    try:
        fd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return None
    # Whoever had the pid when it was opened is held by the descriptor: if that is ours now, it was then.
    if alive(process):
        return fd
    os.close(fd)
    return None


def send_signal(process: ProcessId, number: int) -> bool:
    """Send a signal; whether there was anybody to get it.

    Raises:
        KernelError: it may not be signalled by us.
    """
    with _pidfds([process]) as fds:
        return _signal(fds, number) > 0


def terminate(processes: Iterable[ProcessId], *, grace: float = 5.0) -> None:
    """End processes: SIGTERM to all, SIGKILL to those that are left after the grace, and wait until they are gone.

    Args:
        processes: those that are gone are fine.
        grace: seconds; 0 kills at once.

    Raises:
        TimedOutError: one does not die even of SIGKILL.
        KernelError: one may not be signalled by us.
    """
    wanted = list(processes)
    with _pidfds(wanted) as fds:
        left = dict(fds)
        if grace > 0:
            _signal(left, signal.SIGTERM)
            left = _wait(left, grace)
        _signal(left, signal.SIGKILL)
        left = _wait(left, KILL_DEADLINE)
    for process in wanted:
        reap(process)
    if left:
        pids = ", ".join(str(process.pid) for process in left)
        raise TimedOutError(
            f"killed, but not gone after {KILL_DEADLINE:g} s: process {pids}",
            hint="it hangs in the kernel, mostly on a dead disk or network file system: see `ps -o stat,wchan`",
        )


def wait_gone(processes: Iterable[ProcessId], timeout: float) -> list[ProcessId]:
    """Wait until processes have ended; returns those that have not.

    Args:
        processes: to wait for.
        timeout: seconds.
    """
    with _pidfds(processes) as fds:
        return list(_wait(fds, timeout))


def find_by_environment(entry: str) -> list[ProcessId]:
    """The processes whose environment, as they were started, holds an entry exactly.

    Args:
        entry: `NAME=value`.
    """
    wanted = os.fsencode(entry)
    found: list[ProcessId] = []
    for name in os.listdir("/proc"):  # noqa: PTH208 - names alone, some hundreds of them
        if not name.isdigit():
            continue
        # Gone meanwhile, or somebody else's.
        with contextlib.suppress(OSError):
            if wanted in Path("/proc", name, "environ").read_bytes().split(b"\0"):
                found.append(identify(int(name)))
    return [process for process in found if alive(process)]


def _spawn(command: list[str], environment: Mapping[str, str], log: Path | None) -> int:
    output = str(log) if log is not None else os.devnull
    return os.posix_spawn(
        command[0],
        command,
        environment,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
        setsigmask=(),
        setsigdef=(signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGXFSZ),
    )


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat after the name, or None; the first is the state (field 3)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name may hold spaces and parentheses; the last one closes it.
    return text.rpartition(")")[2].split()


@contextlib.contextmanager
def _pidfds(processes: Iterable[ProcessId]) -> Iterator[dict[ProcessId, int]]:
    fds: dict[ProcessId, int] = {}
    try:
        for process in dict.fromkeys(processes):
            if (fd := open_pidfd(process)) is not None:
                fds[process] = fd
        yield fds
    finally:
        for fd in fds.values():
            os.close(fd)


def _signal(fds: Mapping[ProcessId, int], number: int) -> int:
    count = 0
    for process, fd in fds.items():
        try:
            signal.pidfd_send_signal(fd, number)
            count += 1
        except ProcessLookupError:
            continue
        except OSError as error:
            raise explain(f"send {signal.Signals(number).name} to process {process.pid}", error) from error
    return count


def _wait(fds: Mapping[ProcessId, int], timeout: float) -> dict[ProcessId, int]:
    """Wait for the end of all; returns those that are left."""
    left = dict(fds)
    poller = select.poll()
    by_fd = {fd: process for process, fd in fds.items()}
    for fd in by_fd:
        poller.register(fd, select.POLLIN)
    deadline = time.monotonic() + timeout
    while left and (remaining := deadline - time.monotonic()) > 0:
        for fd, _events in poller.poll(remaining * 1000):
            poller.unregister(fd)
            del left[by_fd[fd]]
    return left
