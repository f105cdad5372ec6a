"""Figures in words, for people."""

from __future__ import annotations

from datetime import UTC, datetime

from labctl.trace.command import Command

_UNITS = ((1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us"))


def duration(nanoseconds: int | None) -> str:
    """`1.25 ms`, with three figures that count; `-` for None."""
    if nanoseconds is None:
        return "-"
    for factor, unit in _UNITS:
        if nanoseconds >= factor:
            value = nanoseconds / factor
            return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}"
    return f"{nanoseconds} ns"


def clock(nanoseconds: int) -> str:
    """`09:12:44.123456`, in UTC, as captures are compared between machines."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%H:%M:%S}.{rest // 1000:06d}"


def thing(command: Command) -> str:
    """What a command works upon: a disk by its name and LUN, a file by its path."""
    owner = command.owner
    place = "/".join(part for part in (owner.datastore, owner.disk) if part)
    if command.target.startswith("LUN") and place:
        return f"{place} ({command.target})"
    if command.target.startswith("handle") and place:
        return place
    return command.target or place


def size(count: int | None) -> str:
    """Bytes as `4096`, `128K`, `1M`; `-` for None."""
    if count is None:
        return "-"
    for factor, unit in ((1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K")):
        if count >= factor and count % factor == 0:
            return f"{count // factor}{unit}"
    return str(count)


def outcome(command: Command) -> str:
    """The status, and the sense where there is one."""
    if command.end is None:
        return "no response"
    return f"{command.status}: {command.sense}" if command.sense else command.status
