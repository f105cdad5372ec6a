"""Assertions on a lab's storage traffic: `traffic("my-lab").expect(op="COMPARE AND WRITE", vm="web1").within("1s")`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from labctl.cli.target import lab_client
from labctl.cli.trace.watching import Seen, watch
from labctl.model.quantity import parse_seconds
from labctl.trace.command import Command
from labctl.trace.reports import words
from labctl.trace.reports.filters import Filter

_LOOK: Final = 0.05
"""Seconds between two looks."""


class Traffic(Seen):
    """The storage commands of a lab since the watching began, each as soon as it ends."""

    def expect(
        self,
        *,
        op: str = "",
        vm: str = "",
        host: str = "",
        datastore: str = "",
        slower: str = "",
        failed: bool = False,
        count: int = 1,
    ) -> Expectation:
        """What is to be seen.

        Args:
            op: the operation: WRITE, READ(16), OPEN, `LOCK*`.
            vm: whose.
            host: whose.
            datastore: where.
            slower: that took so long at least, `5ms`.
            failed: that failed.
            count: so many of them.
        """
        wanted = Filter(
            hosts=[host] if host else (),
            vms=[vm] if vm else (),
            datastores=[datastore] if datastore else (),
            operations=[op] if op else (),
            slower=int(parse_seconds(slower) * 1e9) if slower else 0,
            failed=failed,
        )
        asked = {"op": op, "vm": vm, "host": host, "datastore": datastore, "slower": slower, "failed": failed or ""}
        return Expectation(self, wanted, count, ", ".join(f"{key}={value}" for key, value in asked.items() if value))


@dataclass(frozen=True)
class Expectation:
    """What is expected of some traffic."""

    traffic: Traffic
    wanted: Filter
    count: int
    what: str

    def within(self, time_: str) -> list[Command]:
        """Wait until it has been seen, from the beginning of the watching on; returns those commands.

        Args:
            time_: how long: `1s`, `500ms`.

        Raises:
            AssertionError: it was not seen in time; the message says what was.
        """
        deadline = time.monotonic() + parse_seconds(time_)
        while True:
            found = self._found()
            if len(found) >= self.count:
                return found
            if self.traffic.error is not None:
                raise AssertionError("the lab's traffic cannot be watched any more") from self.traffic.error
            if time.monotonic() >= deadline:
                raise AssertionError(
                    f"{len(found)} of {self.count} commands with {self.what} within {time_}; seen: {self._seen()}"
                )
            time.sleep(_LOOK)

    def never(self) -> None:
        """It has not been seen so far.

        Raises:
            AssertionError: it has, or packets were left out, so that nobody can tell.
        """
        found = self._found()
        if found:
            first = found[0]
            raise AssertionError(
                f"{len(found)} commands with {self.what}, which were not to be; the first: {first.operation} "
                f"{words.thing(first)} at {words.clock(first.start)}, {words.outcome(first)}"
            )
        lost = self.traffic.lost_since(0)
        if lost:
            raise AssertionError(
                f"nobody can tell whether there were commands with {self.what}: {lost} were not looked at"
            )

    def _found(self) -> list[Command]:
        meant = self.wanted.test()
        return [command for command in tuple(self.traffic.commands) if meant(command)]

    def _seen(self) -> str:
        kinds = Counter(f"{each.owner.vm or each.owner.host} {each.operation}" for each in tuple(self.traffic.commands))
        return ", ".join(f"{count} x {kind}" for kind, count in kinds.most_common(10)) or "nothing"


@contextmanager
def watching(lab: str, home: Path | None = None, *, network: str = "") -> Iterator[Traffic]:
    """Watch a lab that runs.

    Args:
        lab: its name.
        home: the folder of all labs, or None for the usual one.
        network: which one; those of role storage if not said.

    Raises:
        LabError: there is no such lab or network, or looking into it is not allowed.
    """
    traffic = Traffic()
    with watch(lab_client(lab, home), [network] if network else [], traffic):
        yield traffic
