"""What can go wrong with a capture as such. Faults of the traffic are no errors but `Problem`s: reading goes on behind them."""

from __future__ import annotations

from labctl.errors import ExitCode, LabError


class CaptureError(LabError):
    """A capture cannot be read or written.

    Args:
        message: what is wrong, in words.
        offset: where in the file, in bytes, or None where that is not the point.
        hint: what to do about it.
    """

    def __init__(self, message: str, *, offset: int | None = None, hint: str | None = None) -> None:
        super().__init__(message if offset is None else f"{message} (at byte {offset:,})", hint=hint)
        self.offset = offset


class UsageOfTraceError(CaptureError):
    """A capture was asked for what it does not have, or for what is not installed."""

    exit_code = ExitCode.USAGE
