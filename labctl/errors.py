"""The one root of the errors that a user can meet.

Rule: whatever a user can cause raises a LabError with a hint that says what to do. Anything else that escapes is a bug of ours
and is shown as such. Only the command line turns an error into an exit code and a rendering; nothing below it exits.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """The documented exit codes of `labctl`."""

    OK = 0
    FAILED = 1
    USAGE = 2
    INVALID_TOPOLOGY = 3
    MISSING_TOOL = 4
    MISSING_RIGHT = 5
    NOT_RUNNING = 6
    CONFLICT = 7
    TIMED_OUT = 8
    BUG = 70


class LabError(Exception):
    """Something went wrong that the user can understand and mend.

    Args:
        message: what happened, in one sentence, with names.
        hint: what to do about it, or None where the message says it all.
    """

    exit_code: ExitCode = ExitCode.FAILED

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(LabError):
    """A command was given arguments that make no sense together."""

    exit_code = ExitCode.USAGE


class MissingToolError(LabError):
    """A program that the machine lacks is needed."""

    exit_code = ExitCode.MISSING_TOOL


class MissingRightError(LabError):
    """The user or the kernel does not allow what is needed."""

    exit_code = ExitCode.MISSING_RIGHT


class NotRunningError(LabError):
    """The lab, host or VM that the command is about does not run."""

    exit_code = ExitCode.NOT_RUNNING


class ConflictError(LabError):
    """The request contradicts what exists."""

    exit_code = ExitCode.CONFLICT


class TimedOutError(LabError):
    """Something awaited did not happen by its deadline."""

    exit_code = ExitCode.TIMED_OUT
