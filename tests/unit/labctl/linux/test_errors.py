from __future__ import annotations

import errno

import pytest

from labctl.errors import ExitCode, LabError
from labctl.linux.errors import KernelError, explain


@pytest.mark.parametrize(
    ("number", "code", "hint"),
    [
        (errno.EPERM, ExitCode.MISSING_RIGHT, "rootless"),
        (errno.EEXIST, ExitCode.CONFLICT, "already"),
        (errno.EOPNOTSUPP, ExitCode.FAILED, "kernel lacks"),
        (errno.ENOSPC, ExitCode.FAILED, "max_net_namespaces"),
    ],
)
def test_a_refusal_says_what_failed_and_what_to_do(number: int, code: ExitCode, hint: str) -> None:
    error = KernelError("create link eth0", number, "peer is busy")
    assert isinstance(error, LabError)
    assert error.message.startswith("cannot create link eth0: ")
    assert error.message.endswith("(peer is busy)")
    assert error.exit_code == code
    assert hint in (error.hint or "")


def test_an_oserror_keeps_its_number() -> None:
    assert explain("do it", OSError(errno.EBUSY, "busy")).errno == errno.EBUSY
    assert explain("do it", TimeoutError("timed out")).errno == errno.EIO
