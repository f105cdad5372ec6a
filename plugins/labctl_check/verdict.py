"""Whether a check is kept, as far as the traffic until now tells. Pure: the time is an argument."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from labctl.trace.capture.watcher import LAG
from labctl.trace.command import Command
from labctl.trace.reports import words
from labctl.trace.reports.filters import Filter
from labctl_check.words import seconds

SECOND: Final = 1_000_000_000
"""Nanoseconds."""

KINDS: Final = 5
"""Kinds of commands that are named where the expected one was not among them."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What came of a check.

    Args:
        name: the check's.
        ok: whether it is kept.
        message: why, in words.
        commands: the commands that it means and that were seen in its time.
    """

    name: str
    ok: bool
    message: str
    commands: Sequence[Command] = ()


@dataclass(frozen=True, kw_only=True)
class Check:
    """A check that is being watched.

    Args:
        name: its name.
        table: its table, as its spec dumps it.
        began: when its time began, in nanoseconds since 1970.
    """

    name: str
    table: Mapping[str, Any]
    began: int

    @property
    def end(self) -> int:
        """When its time is over, in nanoseconds since 1970."""
        return self.began + int(self.table["within"] * SECOND)

    def judge(self, commands: Sequence[Command], now: int, lost: str) -> Verdict | None:
        """The verdict, or None as long as there is none.

        What crossed a link before the check's end may be decoded after it, by the watcher's lag at most: beyond that it leaves packets
        out and says so. Until then nothing is taken for absent.

        Args:
            commands: those that ended since the watching began.
            now: nanoseconds since 1970.
            lost: what was left out since `began`, in words, or "".
        """
        during = [each for each in commands if self.began <= _at(each) <= self.end]
        meant = self._filter().test()
        found = [each for each in during if meant(each)]
        over = now > self.end + LAG
        if self.table["never"]:
            return self._never(found, lost) if found or over else None
        if len(found) >= self.table["count"]:
            first = found[self.table["count"] - 1]
            return self._verdict(True, f"seen {self._after(first)}: {_shown(first)}", found)
        if not over:
            return None
        message = (
            f"{len(found)} of {self.table['count']} within {seconds(self.table['within'])}; seen: {_kinds(during)}"
        )
        return self._verdict(False, message + (f"; not looked at: {lost}" if lost else ""), found)

    def _never(self, found: list[Command], lost: str) -> Verdict:
        if found:
            return self._verdict(False, f"seen {self._after(found[0])}: {_shown(found[0])}", found)
        if lost:
            return self._verdict(False, f"nobody can tell: {lost} were not looked at", found)
        return self._verdict(True, f"none in {seconds(self.table['within'])}", found)

    def _filter(self) -> Filter:
        table = self.table
        return Filter(
            hosts=_listed(table["host"]),
            vms=_listed(table["vm"]),
            datastores=_listed(table["datastore"]),
            operations=_listed(table["op"]),
            slower=int((table["slower"] or 0) * SECOND),
            failed=table["failed"],
        )

    def _after(self, command: Command) -> str:
        return f"after {max(0, _at(command) - self.began) / SECOND:.2f} s"

    def _verdict(self, ok: bool, message: str, found: list[Command]) -> Verdict:
        return Verdict(name=self.name, ok=ok, message=message, commands=found)


def _at(command: Command) -> int:
    """When a command was over, or was asked where it had no answer."""
    return command.start if command.end is None else command.end


def _listed(value: str | None) -> list[str]:
    return [value] if value else []


def _shown(command: Command) -> str:
    whose = command.owner.vm or command.owner.host or command.client.address
    what = " ".join(part for part in (whose, command.operation, words.thing(command)) if part)
    return f"{what}, {words.duration(command.latency)}, {words.outcome(command)}"


def _kinds(commands: Sequence[Command]) -> str:
    kinds = Counter(f"{each.owner.vm or each.owner.host or each.client.address} {each.operation}" for each in commands)
    named = ", ".join(f"{count} x {kind}" for kind, count in kinds.most_common(KINDS))
    return named + (" …" if len(kinds) > KINDS else "") or "nothing"
