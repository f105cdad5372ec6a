"""Commands by the column: what a lane makes of a batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from labctl.trace.command import Command, Owner, Protocol
from labctl.trace.files.batch import Integers
from labctl.trace.naming import Names
from labctl.trace.protocols.exchange import Exchange, Scope


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What some commands of a connection have in common.

    Args:
        operation: the standard's name.
        owner: whose they are, by what is known at the end of the batch.
    """

    operation: str
    owner: Callable[[Names], Owner]


@dataclass(kw_only=True)
class Plain:
    """Commands of a connection that ended well; each column has one item for each.

    Args:
        protocol: what they were spoken in.
        scope: where they belong.
        kinds: what they can be; there may be none of some.
        kind: what each is, by its place there.
        id: its number.
        start: of the request's first byte, in nanoseconds; end: of the response's last byte.
        sent: payload bytes to the server; received: from it.
        depth: how many others were under way when it began.
        retransmissions: TCP segments of it that were seen before.
        exchange: makes one of them as its decoder would have left it.
    """

    protocol: Protocol
    scope: Scope
    kinds: list[Kind]
    kind: Integers
    id: Integers
    start: Integers
    end: Integers
    sent: Integers
    received: Integers
    depth: Integers
    retransmissions: Integers
    exchange: Callable[[int], Exchange]

    def __len__(self) -> int:
        return len(self.id)

    def command(self, index: int, names: Names) -> Command:
        """One of them."""
        return self.scope.command(self.exchange(index), names)

    def only(self, chosen: NDArray[np.bool_]) -> Plain:
        """Those for which this is true."""
        places = np.flatnonzero(chosen)
        columns = ("kind", "id", "start", "end", "sent", "received", "depth", "retransmissions")
        return replace(
            self,
            **{name: getattr(self, name)[places] for name in columns},
            exchange=lambda index: self.exchange(int(places[index])),
        )
