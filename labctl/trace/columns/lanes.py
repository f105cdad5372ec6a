"""Which connections of a batch go by the column, and how their commands are numbered among the others'."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from labctl.trace.columns.direction import take
from labctl.trace.columns.iscsi import IscsiLane
from labctl.trace.columns.nfs3 import Nfs3Lane
from labctl.trace.columns.pairing import NotPlainError
from labctl.trace.columns.plain import Plain
from labctl.trace.files.batch import Batch, Integers
from labctl.trace.flows.headers import Segments
from labctl.trace.flows.stream import MASK, Stream
from labctl.trace.protocols.iscsi.connection import IscsiConnection
from labctl.trace.protocols.rpc.connection import RpcConnection

FEWEST: Final = 16
"""Segments of a connection below which decoding them one by one is quicker."""
LONGEST: Final = 64
"""Batches for which a connection that had something unusual is left to its decoder, at most; twice as long each time."""


class Side(Protocol):
    """A direction of a connection, as the decoder keeps it."""

    stream: Stream
    connection: IscsiConnection | RpcConnection | None
    towards_server: bool


class Lane(Protocol):
    """A connection's share of a batch."""

    @property
    def rows(self) -> Integers:
        """Where its new commands are among the batch's segments, in their order."""

    def commit(self) -> None:
        """Take the connection to the state behind the batch."""

    def plain(self, ids: Integers) -> Plain:
        """Its commands that ended, with the numbers of the new ones."""


class Lanes:
    """Takes what can be taken of each batch.

    Attributes:
        taken: which of the batch's segments were, as a mask; None for none.
    """

    def __init__(self) -> None:
        self.taken: NDArray[np.bool_] | None = None
        self._lanes: list[Lane] = []
        self._waits: dict[int, tuple[int, int]] = {}
        """By connection: batches to wait, and how many it was the last time."""

    def take(
        self, batch: Batch, found: Segments, sides: Sequence[Side | None], opposite: Sequence[Side | None]
    ) -> None:
        """Decode the connections that are plain, and take them to the state behind the batch.

        Args:
            batch: the packets.
            found: their segments.
            sides: what the decoder knows of each flow of `found`; None for datagrams.
            opposite: likewise, of the other direction of each; None where it was never seen.
        """
        self.taken, self._lanes = None, []
        pairs = list(_pairs(sides))
        if not pairs or len(found.flow) < FEWEST:
            return
        order = np.argsort(found.flow, kind="stable")
        bounds = np.searchsorted(found.flow[order], np.arange(len(sides) + 1)).tolist()
        taken = np.zeros(len(found.flow), dtype=bool)
        for connection, numbers in pairs:
            rows = [order[bounds[number] : bounds[number + 1]] if number >= 0 else order[:0] for number in numbers]
            if len(rows[0]) + len(rows[1]) < FEWEST or self._wait(connection):
                continue
            there, back = numbers
            streams = [
                _stream(sides, opposite, there, back),
                _stream(sides, opposite, back, there),
            ]
            if self._try(connection, batch, found, rows, streams):
                for each in rows:
                    taken[each] = True
        if self._lanes:
            self.taken = taken

    def _wait(self, connection: IscsiConnection | RpcConnection) -> bool:
        left, longest = self._waits.get(id(connection), (0, 0))
        if left:
            self._waits[id(connection)] = left - 1, longest
        return left > 0

    def _try(
        self,
        connection: IscsiConnection | RpcConnection,
        batch: Batch,
        found: Segments,
        rows: list[Integers],
        streams: list[Stream | None],
    ) -> bool:
        sides = [take(batch, found, each, stream) for each, stream in zip(rows, streams, strict=True)]
        try:
            if sides[0] is None or sides[1] is None:
                raise NotPlainError
            lane: Lane
            if isinstance(connection, IscsiConnection):
                lane = IscsiLane(connection, sides[0], sides[1])
            else:
                lane = Nfs3Lane(connection, sides[0], sides[1])
        except NotPlainError:
            longest = min(2 * self._waits.get(id(connection), (0, 0))[1] or 1, LONGEST)
            if len(self._waits) >= LONGEST * LONGEST:
                self._waits.clear()
            self._waits[id(connection)] = longest, longest
            return False
        self._waits.pop(id(connection), None)
        lane.commit()
        for side, stream in zip(sides, streams, strict=True):
            if stream is not None and side is not None and side.total:
                stream.next = stream.next + side.total & MASK
                stream.position += side.total
        self._lanes.append(lane)
        return True

    @property
    def rows(self) -> Integers:
        """Where the commands that were taken are among the batch's segments."""
        return np.sort(np.concatenate([lane.rows for lane in self._lanes])) if self._lanes else _NONE

    def finish(self, base: int, others: Integers, created: Integers) -> list[Plain]:
        """Number the commands in the order of the capture, among those that the decoder made.

        Args:
            base: the last number before the batch.
            others: the segments that the decoder had.
            created: how many commands it had made when it was through with each of them.

        Returns:
            those that ended.
        """
        rows = self.rows
        return [
            lane.plain(
                base
                + 1
                + np.searchsorted(rows, lane.rows)
                + ranks_within(lane.rows)
                + np.concatenate(([0], created))[np.searchsorted(others, lane.rows)]
            )
            for lane in self._lanes
        ]


_NONE: Final = np.zeros(0, dtype=np.int64)


def ranks_within(rows: Integers) -> Integers:
    """For each of ascending numbers, how many of the same were before it."""
    return np.arange(len(rows)) - np.searchsorted(rows, rows)


def _pairs(sides: Sequence[Side | None]) -> Iterator[tuple[IscsiConnection | RpcConnection, tuple[int, int]]]:
    """The connections, with the numbers of the flows to the server and back; -1 for none."""
    found: dict[int, list[int]] = {}
    connections: dict[int, IscsiConnection | RpcConnection] = {}
    for number, side in enumerate(sides):
        if side is not None and side.connection is not None:
            connections[id(side.connection)] = side.connection
            found.setdefault(id(side.connection), [-1, -1])[0 if side.towards_server else 1] = number
    for key, (there, back) in found.items():
        yield connections[key], (there, back)


def _stream(sides: Sequence[Side | None], opposite: Sequence[Side | None], number: int, other: int) -> Stream | None:
    side = sides[number] if number >= 0 else opposite[other]
    return None if side is None else side.stream
