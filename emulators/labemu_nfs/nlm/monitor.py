"""Whose restarts matter, and whom ours matter to (C702 chapter 11): the hosts that hold locks, kept across restarts.

The state number is odd while a host is up and grows with each restart; others compare it and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Kept:
    """What stable storage holds.

    Args:
        state: the number of that life of the server; odd, and -1 where there was none.
        hosts: addresses of those that hold locks, with their names for themselves.
    """

    state: int = -1
    hosts: dict[str, bytes] = field(default_factory=dict)


class StableHosts(Protocol):
    """Stable storage for it."""

    def load(self) -> Kept:
        """What was kept; `Kept()` where nothing was. Raises OSError."""

    def save(self, kept: Kept) -> None:
        """Keep it, durably and whole. Raises OSError."""


class Monitor:
    """The hosts that hold locks.

    Args:
        stable: where they are kept. The server of the life before may have held locks: `before` lists whom to tell.
    """

    def __init__(self, stable: StableHosts) -> None:
        kept = stable.load()
        self._stable = stable
        self.before = dict(kept.hosts)
        self.state = kept.state + 2
        self._hosts: dict[str, bytes] = dict(kept.hosts)
        stable.save(Kept(self.state, dict(self._hosts)))

    def knows(self, address: str) -> bool:
        """Whether a host is kept already."""
        return address in self._hosts

    def add(self, address: str, name: bytes) -> Callable[[], None]:
        """A host takes its first lock: what to call, in any thread, before that is answered. Raises OSError when called."""
        self._hosts[address] = name
        kept = Kept(self.state, dict(self._hosts))
        return lambda: self._stable.save(kept)

    def retain(self, addresses: set[str]) -> Callable[[], None]:
        """Grace is over: of the hosts of the life before only these hold locks still. Returns as `add`."""
        self._hosts = {address: name for address, name in self._hosts.items() if address in addresses}
        kept = Kept(self.state, dict(self._hosts))
        return lambda: self._stable.save(kept)

    def named(self, name: bytes, address: str) -> list[str]:
        """Addresses of the hosts that a notification by `name` from `address` is about: one may speak only for itself."""
        return [each for each, known in self._hosts.items() if each == address and name in (known, address.encode())]
