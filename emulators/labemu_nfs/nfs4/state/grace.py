"""After a restart: clients get back what they held, before anybody else may take it (RFC 7530 9.6.2, RFC 8881 8.4.2).

Theory: stable storage holds the names of the clients that had state. Only they may reclaim, and only in the grace period. A client
whose state was taken is struck out at once, and one that reclaims nothing when the period ends, so that neither can reclaim after
the next restart what others have taken meanwhile (RFC 8881 8.4.2.1.1).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from labemu_nfs.nfs4.state.model import Client
from labemu_nfs.nfs4.status import Nfs4Error, Status

Name = tuple[int, bytes]
"""Of a client: 0 for 4.0 or 1, and its own name."""


class Records(Protocol):
    """Stable storage. Raises OSError."""

    def load(self) -> frozenset[Name]:
        """What was saved last."""

    def save(self, names: Iterable[Name]) -> None:
        """Keep these in place of the former ones: all or nothing, and on the disk on return."""


class NoRecords:
    """Storage of a server that forgets: there is no grace period then."""

    def load(self) -> frozenset[Name]:
        """Nothing."""
        return frozenset()

    def save(self, names: Iterable[Name]) -> None:
        """Nothing."""


def name_of(client: Client) -> Name:
    """What a client is known by across restarts."""
    return min(client.minor, 1), client.name


class Grace:
    """The grace period, and who may reclaim.

    It ends early once every client of the record has said that it has reclaimed all: by RECLAIM_COMPLETE, or in 4.0, which has no word for
    that, by asking for something new (RFC 7530 9.6.2 has clients reclaim first).

    Args:
        records: of the start before.
        now: seconds, at this start.
        period: seconds; what a client needs to find out: its lease, or more.
    """

    def __init__(self, records: Records, now: float, period: float) -> None:
        self._records = records
        self._former = records.load()
        self._done: set[Name] = set()
        self._current: set[Name] = set()
        self._end = now + period if self._former else now

    def active(self, now: float) -> bool:
        """Whether only reclaims are allowed now."""
        if not self._former:
            return False
        if now < self._end and not self._former <= self._done:
            return True
        self._former = frozenset()
        self._records.save(self._current)
        return False

    def expects(self, name: Name) -> bool:
        """Whether a client of that name held state before the restart."""
        return name in self._former

    def may_reclaim(self, client: Client, now: float) -> None:
        """Raise Nfs4Error NO_GRACE, or RECLAIM_BAD for a client that held nothing."""
        if not self.active(now) or client.reclaimed:
            raise Nfs4Error(Status.NO_GRACE)
        if name_of(client) not in self._former:
            raise Nfs4Error(Status.RECLAIM_BAD)
        self.remember(client)

    def require_over(self, client: Client | None, now: float) -> None:
        """Raise Nfs4Error GRACE where new state may not be made: also for a 4.1 client before RECLAIM_COMPLETE (RFC 8881 18.51.3)."""
        if client is not None and not client.minor and self._former and name_of(client) in self._former:
            self._done.add(name_of(client))
        if self.active(now) or (client is not None and client.minor and not client.reclaimed):
            raise Nfs4Error(Status.GRACE)

    def complete(self, client: Client) -> None:
        """RECLAIM_COMPLETE. Raises Nfs4Error COMPLETE_ALREADY (RFC 8881 18.51.4)."""
        if client.reclaimed:
            raise Nfs4Error(Status.COMPLETE_ALREADY)
        client.reclaimed = True
        self._done.add(name_of(client))
        self.remember(client)

    def remember(self, client: Client) -> None:
        """It has state now: keep its name."""
        name = name_of(client)
        if name not in self._current:
            self._records.save(self._current | self._former | {name})
            self._current.add(name)

    def forget(self, client: Client) -> None:
        """Its state was taken or given up."""
        name = name_of(client)
        if name in self._current:
            self._current.discard(name)
            self._records.save(self._current | self._former)

    def settle(self, holders: Iterable[Client]) -> None:
        """The server stops in good order: keep the names of those that hold something, and of those that may still reclaim."""
        self._records.save({name_of(client) for client in holders} | self._former)
