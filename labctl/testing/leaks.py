"""What a test left behind on the machine, found by a token that only this test has.

Other tests, and other people's labs, run on the same machine at the same time, so a plain before-and-after comparison would blame the
wrong test. Instead each test has a token: in its environment as LABCTL_TEST, which every process that it starts inherits, and in
the names that it gives (its lab's name, its LABCTL_HOME). A process, network namespace, link, mount, cgroup or socket that carries the
token and is still there when the test has ended is that test's leak, and nobody else's.

A process that was started with an emptied environment is still found when its command line or its cgroup names the token.
`remove` takes away exactly what was found. `machine_state` is the plain comparison, for a run that has the machine to itself.
"""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from labctl.testing.waiting import wait_for

TOKEN_VARIABLE = "LABCTL_TEST"
GRACE = 3.0  # seconds; a killed QEMU or a namespace's last reference takes some tenths to go
NAMED_NAMESPACES = Path("/run/netns")
LABS_MOUNTS = ("/run/netns/", "/run/labctl", "/tmp/lc-")
SWEEP_ROUNDS = 3  # killing a supervisor may bring up what it supervises once more


@dataclass(frozen=True, order=True)
class Leak:
    """One thing that outlived its test.

    Args:
        what: process, mount, namespace, link, cgroup or socket.
        name: a process's id, a path, or a link's name.
        note: what helps to recognise it, such as a command line.
    """

    what: str
    name: str
    note: str = ""

    def __str__(self) -> str:
        return f"{self.what} {self.name}" + (f" ({self.note})" if self.note else "")


def _read(path: Path) -> bytes:
    """A file of /proc, empty when its process has gone or is not ours to look at."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _own_line() -> set[int]:
    """This process and its ancestors: the test runner itself is not a leak."""
    line, pid = set(), os.getpid()
    while pid > 0:
        line.add(pid)
        status = _read(Path(f"/proc/{pid}/stat")).rpartition(b")")[2].split()
        pid = int(status[1]) if len(status) > 1 else 0
    return line


def processes(token: str) -> Iterator[Leak]:
    """Running processes whose environment, command line or cgroup carries the token."""
    needle, spared = token.encode(), _own_line()
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) in spared:
            continue
        command = _read(folder / "cmdline")
        if not command:  # a kernel thread, or a zombie: nothing runs there
            continue
        if needle in command or needle in _read(folder / "environ") or needle in _read(folder / "cgroup"):
            yield Leak("process", folder.name, command.replace(b"\0", b" ").decode(errors="replace").strip()[:200])


def _mount_points() -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line.split()[4].replace("\\040", " ") for line in lines]


def mounts(token: str) -> Iterator[Leak]:
    """Mounts in this mount namespace whose path carries the token; the last mounted first."""
    for point in reversed(_mount_points()):
        if token in point:
            yield Leak("mount", point)


def namespaces(token: str) -> Iterator[Leak]:
    """Named network namespaces whose name carries the token."""
    if NAMED_NAMESPACES.is_dir():
        yield from (Leak("namespace", path.name) for path in NAMED_NAMESPACES.iterdir() if token in path.name)


def links(token: str) -> Iterator[Leak]:
    """Links of the machine's own network whose name or alias carries the token."""
    for folder in Path("/sys/class/net").iterdir():
        alias = _read(folder / "ifalias").decode(errors="replace").strip()
        if token in folder.name or token in alias:
            yield Leak("link", folder.name, alias)


def _cgroup_roots() -> Iterator[Path]:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        if fields[fields.index("-") + 1] in ("cgroup", "cgroup2"):
            yield Path(fields[4])


def cgroups(token: str) -> Iterator[Leak]:
    """Cgroups, of either version, whose path carries the token; children before parents."""
    for root in _cgroup_roots():
        for folder, _children, _files in os.walk(root, topdown=False):
            if token in folder.removeprefix(str(root)):
                yield Leak("cgroup", folder)


def sockets(folder: Path) -> Iterator[Leak]:
    """Unix sockets and pipes that still lie in a folder, such as a test's LABCTL_HOME."""
    for path in sorted(folder.rglob("*")):
        with contextlib.suppress(FileNotFoundError):
            mode = path.lstat().st_mode
            if stat.S_ISSOCK(mode) or stat.S_ISFIFO(mode):
                yield Leak("socket", str(path))


def find(token: str, folders: Iterable[Path] = ()) -> list[Leak]:
    """Everything that carries the token at this moment.

    Args:
        token: the test's own.
        folders: where no unix socket may be left.
    """
    found = [*processes(token), *mounts(token), *namespaces(token), *links(token), *cgroups(token)]
    for folder in folders:
        found.extend(sockets(folder))
    return found


def after_grace(token: str, folders: Iterable[Path] = (), grace: float = GRACE) -> list[Leak]:
    """As `find`, but what goes away by itself within the grace is forgiven: death and unmounting take their time."""
    watched = list(folders)
    with contextlib.suppress(AssertionError):
        wait_for(lambda: not find(token, watched), grace)
    return find(token, watched)


def remove(leaks: Iterable[Leak]) -> None:
    """Take away what `find` found, and nothing else, so that one test's fault does not become the next one's."""
    for leak in leaks:
        with contextlib.suppress(OSError):
            match leak.what:
                case "process":
                    os.kill(int(leak.name), signal.SIGKILL)
                case "mount":
                    subprocess.run(["umount", "-l", leak.name], check=False, capture_output=True)
                case "namespace":
                    subprocess.run(["ip", "netns", "delete", leak.name], check=False, capture_output=True)
                case "link":
                    subprocess.run(["ip", "link", "delete", leak.name], check=False, capture_output=True)
                case "cgroup":
                    Path(leak.name).rmdir()
                case "socket":
                    Path(leak.name).unlink(missing_ok=True)


def sweep(token: str, folders: Iterable[Path] = ()) -> None:
    """Remove everything that carries the token, in some rounds: a cgroup empties only after its processes are dead."""
    watched = list(folders)
    for _round in range(SWEEP_ROUNDS):
        remove(find(token, watched))
        if not after_grace(token, watched, grace=0.5):
            return


def told(leaks: Iterable[Leak]) -> str:
    """The message that names each thing that was left."""
    return "the test left behind:\n" + "\n".join(f"  {leak}" for leak in sorted(leaks))


def check(token: str, folders: Iterable[Path] = ()) -> None:
    """Fail when something carries the token after the grace; what was left is removed first.

    Raises:
        AssertionError: names each thing that was left.
    """
    watched = list(folders)
    if left := after_grace(token, watched):
        sweep(token, watched)
        raise AssertionError(told(left))


def machine_state() -> frozenset[Leak]:
    """What labs make on a machine, whoever made it: links, named namespaces, mounts and cgroups of labs, and marked processes."""
    return frozenset(
        [
            *links(""),
            *namespaces(""),
            *(Leak("mount", point) for point in _mount_points() if point.startswith(LABS_MOUNTS)),
            *cgroups("/labctl"),
            *processes(f"{TOKEN_VARIABLE}="),
        ]
    )
