"""The kernel's refusals, in words that a user can act on."""

from __future__ import annotations

import errno
import os

from labctl.errors import ExitCode, LabError

_HINTS = {
    errno.EPERM: "run as root, or rootless in a user namespace; `labctl doctor` shows what is allowed here",
    errno.EACCES: "run as root, or rootless in a user namespace; `labctl doctor` shows what is allowed here",
    errno.EEXIST: "something of that name is there already; `labctl status` shows whose it is",
    errno.ENODEV: "the interface is gone; `labctl up` makes it again",
    errno.ENOENT: "it is gone; `labctl up` makes it again",
    errno.EOPNOTSUPP: "this kernel lacks that kind of interface; `labctl doctor` shows what is missing and its module",
    errno.ENOSPC: "a limit of the kernel is reached; see user.max_net_namespaces and user.max_mnt_namespaces in sysctl",
    errno.EMFILE: "too many open files: raise the limit with `ulimit -n`",
    errno.ENFILE: "the machine has too many open files: raise fs.file-max",
    errno.EBUSY: "something still uses it",
    errno.ENOMEM: "the machine is out of memory",
    errno.ERANGE: "interface names have at most 15 characters",
}

_EXIT_CODES = {
    errno.EPERM: ExitCode.MISSING_RIGHT,
    errno.EACCES: ExitCode.MISSING_RIGHT,
    errno.EEXIST: ExitCode.CONFLICT,
}


class KernelError(LabError):
    """The kernel refused an operation.

    Args:
        what: what was tried, e.g. `create link eth0 in /run/netns/lab-esx1`.
        number: the errno.
        detail: the kernel's own explanation (extended acknowledgement), or "".
    """

    def __init__(self, what: str, number: int, detail: str = "") -> None:
        reason = os.strerror(number)
        super().__init__(
            f"cannot {what}: {reason}" + (f" ({detail})" if detail else ""),
            hint=_HINTS.get(number),
        )
        self.errno = number
        self.exit_code = _EXIT_CODES.get(number, ExitCode.FAILED)


def explain(what: str, error: OSError) -> KernelError:
    """An OSError as an error for users.

    Args:
        what: what was tried, as in KernelError.
        error: what the kernel said.
    """
    return KernelError(what, error.errno or errno.EIO, "")
