"""Control groups: one folder a node, so that a node's processes can be killed, counted and limited together.

Rules: killing and counting need cgroup2 only, and some machines mount it beside v1 (at /sys/fs/cgroup/unified) without any controller;
a limit needs whichever side owns its controller. What cannot be had is said, never passed over. Nothing outside our own folder
`labctl` is touched, except that controllers are handed down to it (cgroups(7), Documentation/admin-guide/cgroup-v2.rst).
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from labctl.errors import LabError, TimedOutError
from labctl.linux.errors import explain

FOLDER = "labctl"
"""Everything of ours lies below it."""

KILL_DEADLINE = 10.0
"""Seconds until a killed group must be empty."""

_CPU_PERIOD = 100_000  # microseconds; the kernel's default


@dataclass(frozen=True, kw_only=True)
class Hierarchy:
    """Where control groups are mounted, and where below that we may make our own.

    Args:
        unified: the folder in cgroup2 that we may make groups in.
        controllers: those of v1 hierarchies, each with its folder.
    """

    unified: Path
    controllers: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What came of a wish for limits.

    Args:
        folders: the groups that a process must be put into for the limits to hold (see `processes.spawn`).
        missing: sentences, one for each limit that cannot be had here.
    """

    folders: tuple[Path, ...]
    missing: tuple[str, ...] = ()


def find(*, mountinfo: str | None = None, own: str | None = None) -> Hierarchy | None:
    """The machine's hierarchy, or None where we cannot make groups: no cgroup2, or not ours to write.

    Args:
        mountinfo: the text of /proc/self/mountinfo; read where None.
        own: the text of /proc/self/cgroup; read where None.
    """
    mounts = list(_mounts(Path("/proc/self/mountinfo").read_text() if mountinfo is None else mountinfo))
    groups = _own_groups(Path("/proc/self/cgroup").read_text() if own is None else own)
    unified = next((mount for kind, _options, mount in mounts if kind == "cgroup2"), None)
    base = unified and _writable(unified, groups.get("", "/"))
    if base is None:
        return None
    controllers: dict[str, Path] = {}
    for kind, options, mount in mounts:
        for name in options if kind == "cgroup" else ():
            folder = _writable(mount, groups.get(name, "/"))
            if folder is not None and name in ("memory", "cpu"):
                controllers[name] = folder
    return Hierarchy(unified=base, controllers=controllers)


def ensure(hierarchy: Hierarchy, lab: str, node: str | None = None) -> Path:
    """The group of a lab, or of a node in it, made where needed.

    Raises:
        KernelError: it cannot be made.
    """
    folder = _below(hierarchy.unified, lab, node)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain(f"make control group {folder}", error) from error
    return folder


def processes(folder: Path) -> list[int]:
    """The pids in a group and in the groups below it; none where it is gone."""
    found: list[int] = []
    for group in (folder, *_descendants(folder)):
        with contextlib.suppress(FileNotFoundError, OSError):
            found += map(int, (group / "cgroup.procs").read_text().split())
    return found


def kill(folder: Path, *, timeout: float = KILL_DEADLINE) -> None:
    """Kill all processes of a group and of those below, and wait until they are gone.

    Raises:
        KernelError: we may not.
        TimedOutError: some do not die.
    """
    if not folder.exists():
        return
    deadline = time.monotonic() + timeout
    try:
        if not _write(folder / "cgroup.kill", "1"):  # Linux 5.14
            _kill_each(folder, deadline)
        _wait_empty(folder, deadline)
    except FileNotFoundError:
        return  # removed meanwhile: it was empty
    except OSError as error:
        raise explain(f"kill control group {folder}", error) from error


def remove(hierarchy: Hierarchy, lab: str, node: str | None = None, *, timeout: float = KILL_DEADLINE) -> None:
    """Kill what is left in a group, and remove it, the groups below and their v1 twins; and `labctl` itself once it is empty.

    Raises:
        KernelError: we may not.
        TimedOutError: some processes do not die.
    """
    deadline = time.monotonic() + timeout
    kill(_below(hierarchy.unified, lab, node), timeout=timeout)
    for base in (hierarchy.unified, *hierarchy.controllers.values()):
        folder = _below(base, lab, node)
        for group in (*_descendants(folder), folder):
            _remove_one(group, deadline)
        for parent in (base / FOLDER / lab, base / FOLDER) if node else (base / FOLDER,):
            with contextlib.suppress(OSError):  # others are in it
                parent.rmdir()


def limit(hierarchy: Hierarchy, lab: str, node: str, *, memory: int | None = None, cpus: float | None = None) -> Limits:
    """Limit a node's group.

    Args:
        hierarchy: from `find`.
        lab: the lab.
        node: the node.
        memory: bytes, or None.
        cpus: processors' worth of time, e.g. 1.5, or None.

    Raises:
        KernelError: the kernel refused a value.
    """
    unified = ensure(hierarchy, lab, node)
    folders = [unified]
    missing: list[str] = []
    for controller, wanted in (("memory", memory), ("cpu", cpus)):
        if wanted is None:
            continue
        try:
            if _delegated(hierarchy.unified, unified, controller):
                _set_unified(unified, controller, wanted)
            elif controller in hierarchy.controllers:
                folder = _below(hierarchy.controllers[controller], lab, node)
                folder.mkdir(parents=True, exist_ok=True)
                _set_v1(folder, controller, wanted)
                folders.append(folder)
            else:
                missing.append(f"no {controller} limit for {node}: this machine gives us no {controller} controller")
        except OSError as error:
            raise explain(f"limit the {controller} of {node}", error) from error
    return Limits(folders=tuple(dict.fromkeys(folders)), missing=tuple(missing))


def _mounts(text: str) -> Iterator[tuple[str, list[str], Path]]:
    """(type, super options, mount point) of each line of mountinfo (proc(5))."""
    for line in text.splitlines():
        left, separator, right = line.partition(" - ")
        if separator:
            mount = left.split()[4].encode().decode("unicode_escape")  # spaces are written \040
            kind, _source, options = [*right.split(), "", ""][:3]
            yield kind, options.split(","), Path(mount)


def _own_groups(text: str) -> dict[str, str]:
    """Our own group by v1 controller; cgroup2's under the empty name."""
    groups: dict[str, str] = {}
    for line in text.splitlines():
        _number, names, path = line.split(":", 2)
        groups.update(dict.fromkeys(names.split(","), path))
    return groups


def _writable(mount: Path, own: str) -> Path | None:
    """The root of a hierarchy where we may write to it, else our own group where that is delegated to us."""
    for folder in (mount, mount / own.lstrip("/")):
        if os.access(folder, os.W_OK) and os.access(folder / "cgroup.procs", os.W_OK):
            return folder
    return None


def _below(base: Path, lab: str, node: str | None) -> Path:
    for name in (lab, node):
        if name is not None and (not name or "/" in name or name.startswith((".", "cgroup."))):
            raise LabError(f"{name!r} cannot be the name of a control group", hint="use letters, digits and dashes")
    folder = base / FOLDER / lab
    return folder if node is None else folder / node


def _descendants(folder: Path) -> list[Path]:
    """All groups below, deepest first."""
    found = [Path(path) for path, _folders, _files in os.walk(folder, topdown=False)]
    return found[:-1]


def _kill_each(folder: Path, deadline: float) -> None:
    """For kernels without cgroup.kill: until nobody new appears."""
    while (pids := processes(folder)) and time.monotonic() < deadline:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        os.sched_yield()


def _wait_empty(folder: Path, deadline: float) -> None:
    """Wait for `populated 0` in cgroup.events, which the kernel announces by POLLPRI."""
    with (folder / "cgroup.events").open() as events:
        poller = select.poll()
        poller.register(events, select.POLLPRI)
        while True:
            events.seek(0)
            if "populated 0" in events.read():
                return
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise TimedOutError(
                    f"killed, but not gone: processes {processes(folder)} in {folder}",
                    hint="they hang in the kernel, mostly on a dead disk or network file system: see `ps -o stat,wchan`",
                )
            poller.poll(remaining * 1000)


def _remove_one(group: Path, deadline: float) -> None:
    while True:
        try:
            group.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError as error:
            # EBUSY for a moment: the last process is dead but its exit is not over.
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise explain(f"remove control group {group}", error) from error
        with contextlib.suppress(OSError):
            _wait_empty(group, deadline)
        os.sched_yield()


def _delegated(base: Path, folder: Path, controller: str) -> bool:
    """Hand a controller of cgroup2 down to a group; whether it got there."""
    chain = [base, *(base / part for part in _prefixes(folder.relative_to(base)))][:-1]
    for group in chain:
        if controller not in (group / "cgroup.controllers").read_text().split():
            return False
        try:
            (group / "cgroup.subtree_control").write_text(f"+{controller}")
        except OSError as error:
            if error.errno in (errno.EBUSY, errno.EACCES, errno.EPERM, errno.ENOENT):  # has processes, or not ours
                return False
            raise
    return True


def _prefixes(path: Path) -> list[Path]:
    return [*reversed([parent for parent in path.parents if parent != Path()]), path]


def _set_unified(folder: Path, controller: str, wanted: float) -> None:
    if controller == "memory":
        (folder / "memory.max").write_text(str(int(wanted)))
    else:
        (folder / "cpu.max").write_text(f"{int(wanted * _CPU_PERIOD)} {_CPU_PERIOD}")


def _set_v1(folder: Path, controller: str, wanted: float) -> None:
    if controller == "memory":
        (folder / "memory.limit_in_bytes").write_text(str(int(wanted)))
    else:
        (folder / "cpu.cfs_period_us").write_text(str(_CPU_PERIOD))
        (folder / "cpu.cfs_quota_us").write_text(str(int(wanted * _CPU_PERIOD)))


def _write(path: Path, value: str) -> bool:
    if not path.exists():
        return False
    path.write_text(value)
    return True
