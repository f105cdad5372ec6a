"""Network namespaces as files: each is kept by a bind mount of its nsfs inode at a path that the caller chooses.

Rules: a namespace appears at its path only when its settings are made, so whatever `exists` is whole. As root the paths lie in /run/netns,
where `ip netns` sees them; rootless they lie in the lab's folder within its private mount namespace. No process is forked: a thread of
our own unshares, mounts and ends, because a thread's network namespace is its own (unshare(2), network_namespaces(7)).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from labctl.errors import LabError
from labctl.linux import syscalls
from labctl.linux.errors import explain

T = TypeVar("T")

NAMED_FOLDER = Path("/run/netns")
"""Where iproute2 keeps the namespaces that have names (ip-netns(8))."""

DEFAULT_SYSCTLS: Mapping[str, str] = MappingProxyType(
    {
        "net/ipv6/conf/all/disable_ipv6": "1",  # no DAD, no router solicitations: silence where nobody asked for IPv6
        "net/ipv4/tcp_congestion_control": "reno",  # a namespace inherits the machine's; BBR paces a veth down to a quarter
        "net/ipv4/ip_forward": "0",  # inherited too; the networks stay separate
    }
)
"""What a new namespace is set to. A setting that the kernel lacks or forbids is left as it is."""

WORKERS = 2
"""Threads that create namespaces: more gain nothing, since the kernel serialises half of the work (rtnl_lock)."""

_SIOCSIFFLAGS = 0x8914
_IFF_UP = 0x1


def create_many(
    paths: Iterable[Path], *, sysctls: Mapping[str, str] = DEFAULT_SYSCTLS, workers: int = WORKERS
) -> dict[Path, LabError]:
    """Create namespaces with lo up; those that exist are left alone.

    Args:
        paths: where to keep them; missing folders are made, orphan files are reused.
        sysctls: settings, path below /proc/sys → value.
        workers: threads.

    Returns:
        The failures, by path; empty when all is well.
    """
    wanted = [path for path in dict.fromkeys(paths) if not exists(path)]
    failures: dict[Path, LabError] = {}
    unusable = _prepare_folders({path.parent for path in wanted})
    failures.update({path: unusable[path.parent] for path in wanted if path.parent in unusable})
    usable = [path for path in wanted if path not in failures]

    def work(share: Sequence[Path]) -> None:
        for path in share:
            try:
                _create(path, sysctls)
            except OSError as error:
                failures[path] = explain(f"create network namespace {path}", error)

    count = max(1, min(workers, len(usable)))
    threads = [threading.Thread(target=work, args=(usable[index::count],)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures


def delete_many(paths: Iterable[Path]) -> dict[Path, LabError]:
    """Let go of namespaces and remove their files; those that are gone are fine.

    The kernel takes a namespace apart, with all its links, once nothing else holds it: no process, no socket, no open file. It does so
    in the background, all of a call together, which is much quicker than link by link.

    Returns:
        The failures, by path.
    """
    failures: dict[Path, LabError] = {}
    for path in dict.fromkeys(paths):
        try:
            # More than one mount can lie there (two creators that raced); an orphan file has none: EINVAL.
            while True:
                syscalls.umount(str(path), syscalls.MNT_DETACH)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOENT):
                failures[path] = explain(f"unmount network namespace {path}", error)
                continue
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            failures[path] = explain(f"remove {path}", error)
    return failures


def exists(path: Path) -> bool:
    """Whether a namespace is really mounted there (an orphan file is none)."""
    try:
        # st_dev is nsfs's own device, the same as that of every namespace.
        return path.stat().st_dev == os.stat("/proc/self/ns/net").st_dev  # noqa: PTH116 - twin of the line's other half
    except OSError:
        return False


def run_in(path: Path, function: Callable[[], T]) -> T:
    """Run a function inside a namespace, in a thread that ends with it, and hand on what it returns or raises.

    Sockets that it makes stay in that namespace, wherever they are used after; processes that it starts live there.

    Raises:
        KernelError: the namespace cannot be entered.
    """

    def work() -> T:
        enter(path)
        return function()

    return in_own_thread(work)


def in_own_thread(function: Callable[[], T]) -> T:
    """Run a function that may change its thread's namespaces; whatever it changes dies with the thread."""
    results: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(function())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def enter(path: Path) -> None:
    """Move the calling thread into a namespace. Only for threads of our own that end soon, and for a process's first one at its start.

    Raises:
        KernelError: it is gone, or the right is missing.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            syscalls.setns(fd, syscalls.CLONE_NEWNET)
        finally:
            os.close(fd)
    except OSError as error:
        raise explain(f"enter network namespace {path}", error) from error


def write_sysctls(sysctls: Mapping[str, str]) -> None:
    """Set what the calling thread's namespace lets us set; leave the rest.

    Args:
        sysctls: path below /proc/sys → value.
    """
    for name, value in sysctls.items():
        with contextlib.suppress(OSError):
            fd = os.open(f"/proc/sys/{name}", os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(fd, value.encode())
            finally:
                os.close(fd)


def loopback_up() -> None:
    """Bring lo up in the calling thread's namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as handle:
        # struct ifreq (netdevice(7)): name, flags, padding
        fcntl.ioctl(handle, _SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", _IFF_UP))


def _create(path: Path, sysctls: Mapping[str, str]) -> None:
    syscalls.unshare(syscalls.CLONE_NEWNET)
    write_sysctls(sysctls)
    loopback_up()
    os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o444))
    syscalls.mount("/proc/thread-self/ns/net", str(path), syscalls.MS_BIND)


def _prepare_folders(folders: Iterable[Path]) -> dict[Path, LabError]:
    """Make the folders that namespaces are kept in; returns the failures."""
    failures: dict[Path, LabError] = {}
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if folder == NAMED_FOLDER:
                _share(NAMED_FOLDER)
        except OSError as error:
            failures[folder] = explain(f"prepare {folder} for network namespaces", error)
    return failures


def _share(folder: Path) -> None:
    """Make a folder a shared mount, as iproute2 does, so that each mount namespace sees what is added and removed."""
    try:
        syscalls.mount("", str(folder), syscalls.MS_SHARED | syscalls.MS_REC)
    except OSError as error:
        if error.errno != errno.EINVAL:  # EINVAL: it is no mount yet
            raise
        syscalls.mount(str(folder), str(folder), syscalls.MS_BIND | syscalls.MS_REC)
        syscalls.mount("", str(folder), syscalls.MS_SHARED | syscalls.MS_REC)
