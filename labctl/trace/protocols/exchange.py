"""A request under way, and the book of all of them."""

from __future__ import annotations

from typing import Any

from labctl.trace.command import Command, Endpoint, Message, Protocol
from labctl.trace.limits import MAX_PROBLEMS
from labctl.trace.naming import Names
from labctl.trace.record import Problem


class Exchange:
    """A request, and what has been seen of its response. The fields are those of `Command`, as they become known."""

    __slots__ = (
        "client", "depth", "details", "end", "first", "good", "id", "last", "length", "offset", "operation", "part", "protocol",
        "received", "retransmissions", "round_trips", "scope", "sense", "sent", "server", "session", "start", "state", "status",
        "tag", "target", "unit",
    )  # fmt: skip

    def __init__(
        self,
        number: int,
        protocol: Protocol,
        operation: str,
        scope: Scope,
        tag: int,
        start: int,
        frame: int,
        depth: int,
    ) -> None:
        self.id = number
        self.protocol = protocol
        self.operation = operation
        self.scope = scope
        self.tag = tag
        self.start = start
        self.first = self.last = frame
        self.depth = depth
        self.end: int | None = None
        self.offset: int | None = None
        self.length: int | None = None
        self.unit: Any = None
        """What it works upon, as the protocol keeps it: a LUN, a filehandle."""
        self.part = self.sent = self.received = self.retransmissions = self.round_trips = 0
        self.target = self.status = self.sense = ""
        self.good = False
        self.state: Any = None
        """What the protocol notes about it until it is done."""
        self.details: Any = None


class Scope:
    """Where exchanges belong: a session, or a connection; it knows how to say whose they are.

    Args:
        client: who asks.
        server: who answers.
    """

    client: Endpoint
    server: Endpoint

    def __init__(self, client: Endpoint, server: Endpoint) -> None:
        self.client = client
        self.server = server

    def name(self) -> str:
        """What `Command.session` says."""
        return f"{self.client} {self.server}"

    def command(self, exchange: Exchange, names: Names) -> Command:
        """The finished command."""
        raise NotImplementedError

    def expire(self, before: int) -> None:
        """Give up what began before a time."""
        raise NotImplementedError


class Book:
    """Numbers exchanges, takes those that are done, and notes problems.

    Args:
        wanted: the number of the exchange whose messages are to be kept, or 0.
    """

    def __init__(self, wanted: int = 0) -> None:
        self.count = 0
        self.wanted = wanted
        self.messages: list[Message] = []
        self.done: list[Exchange] = []
        self.problems: list[Problem] = []
        self.more_problems = 0
        """Problems beyond those that are kept."""

    def next(self) -> int:
        """The next request's number."""
        self.count += 1
        return self.count

    def problem(self, message: str, *, frame: int | None = None, command: int | None = None, rule: str = "") -> None:
        """Note something that breaks the rules."""
        if len(self.problems) >= MAX_PROBLEMS:
            self.more_problems += 1
            return
        self.problems.append(Problem(message=message, frame=frame, command=command, rule=rule))
