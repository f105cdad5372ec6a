"""From packets to commands: flows are put in order, their protocol is found out, and requests are paired with responses.

Nothing grows with the capture: flows, open requests, names of files and problems are bounded (limits.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from labctl.trace.columns.lanes import Lanes
from labctl.trace.columns.plain import Plain
from labctl.trace.command import Command, Endpoint, Message
from labctl.trace.files.batch import Batch, from_packets
from labctl.trace.flows.headers import FlowKey, Segments, backwards, endpoints, parse
from labctl.trace.flows.stream import Buffer, Consumer, Nothing, Stream
from labctl.trace.limits import MAX_AGE_NANOSECONDS, MAX_FLOWS
from labctl.trace.naming import Names
from labctl.trace.protocols.exchange import Book
from labctl.trace.protocols.iscsi.connection import IscsiConnection, Sessions
from labctl.trace.protocols.iscsi.wire import BHS
from labctl.trace.protocols.iscsi.wire import plausible as plausible_pdu
from labctl.trace.protocols.rpc.connection import RpcConnection
from labctl.trace.protocols.rpc.paths import Paths
from labctl.trace.protocols.rpc.programs import PROGRAMS
from labctl.trace.protocols.rpc.records import Record
from labctl.trace.protocols.rpc.records import plausible as plausible_record
from labctl.trace.record import Annotation, Link, Packet, Problem

SYN: Final = 0x02
FIN: Final = 0x01
RST: Final = 0x04
ACK: Final = 0x10
ISCSI_PORT: Final = 3260
RPC_PORTS: Final = frozenset((111, 2049, 20048))
_TRIES: Final = 64
"""Segments of a connection that may be nothing known before it is left alone."""


class _Flow:
    """A direction of a TCP connection."""

    __slots__ = ("connection", "dead", "stream", "towards_server", "tries")

    def __init__(self) -> None:
        self.stream = Stream(Nothing())
        self.connection: IscsiConnection | RpcConnection | None = None
        self.towards_server = True
        self.tries = 0
        self.dead = False


class Decoder:
    """Takes packets in the order of their capture and gives commands as they end.

    Args:
        names: who has which address; annotations of a capture replace them as they come.
        wanted: the number of the command whose messages are to be kept in `messages`, or 0.
        by_column: give commands of the usual kinds by the column (`plain`), many times as fast, and only the others one by one.

    Attributes:
        plain: the commands of the last batch that are not among those that it gave one by one.
    """

    def __init__(self, names: Names | None = None, *, wanted: int = 0, by_column: bool = False) -> None:
        self.names = names or Names()
        self.annotations: list[Annotation] = []
        self.links: Sequence[Link] = ()
        self.packets = 0
        self.plain: list[Plain] = []
        self._lanes = Lanes() if by_column else None
        self._book = Book(wanted)
        self._flows: dict[FlowKey, _Flow] = {}
        self._sessions: Sessions = {}
        self._paths: dict[str, Paths] = {}
        self._datagrams: dict[tuple[FlowKey, FlowKey], RpcConnection] = {}

    @property
    def problems(self) -> list[Problem]:
        """What broke a protocol's rules so far, and faults of the file; the first of them."""
        return self._book.problems

    @property
    def more_problems(self) -> int:
        """How many there were beyond those."""
        return self._book.more_problems

    @property
    def messages(self) -> list[Message]:
        """Of the wanted command."""
        return self._book.messages

    def feed(self, packets: Iterable[Packet | Annotation], links: Sequence[Link]) -> list[Command]:
        """Take packets from elsewhere than a file.

        Args:
            packets: in the order of their capture.
            links: those that they were seen on, by number.
        """
        return self.feed_batch(from_packets(packets, links))

    def feed_batch(self, batch: Batch) -> list[Command]:
        """Take a batch of a file; the commands that ended with it, in the order in which they did."""
        self.links = batch.links
        self.packets += len(batch)
        self.plain = []
        for problem in batch.problems:
            self._book.problems.append(problem)
        for _, annotation in batch.annotations:
            self._note(annotation)
        if len(batch):
            self._segments(batch, parse(batch))
            self._expire(int(batch.time[-1]) - MAX_AGE_NANOSECONDS)
        return self._take()

    def finish(self) -> list[Command]:
        """There is no more: the commands that ended with what was held back, and those that did not end."""
        for flow in self._flows.values():
            flow.stream.finish()
        ended = self._take()
        self._expire(1 << 62)
        return ended + self._take()

    def _note(self, annotation: Annotation) -> None:
        if annotation.kind == "names":
            try:
                self.names = Names.from_json(annotation.data)
            except ValueError as error:
                self._book.problem(f"an annotation of the capture: {error}")
        else:
            self.annotations.append(annotation)

    def _take(self) -> list[Command]:
        done, self._book.done = self._book.done, []
        names = self.names
        return [exchange.scope.command(exchange, names) for exchange in done]

    def _expire(self, before: int) -> None:
        seen: set[int] = set()
        for flow in self._flows.values():
            if flow.connection is not None and id(flow.connection) not in seen:
                seen.add(id(flow.connection))
                flow.connection.expire(before)
        for datagrams in self._datagrams.values():
            datagrams.expire(before)

    # --- segments -------------------------------------------------------------------------------------------------------------------

    def _segments(self, batch: Batch, found: Segments) -> None:
        flows = [self._flow(key) if key[4] < 1 << 32 else None for key in found.keys]
        if self._lanes is not None:
            self._lanes.take(batch, found, flows, [self._flows.get(backwards(key)) for key in found.keys])
            if self._lanes.taken is not None:
                self._others(batch, found, flows, self._lanes)
                return
        self._one_by_one(batch, found, flows)

    def _others(self, batch: Batch, found: Segments, flows: list[_Flow | None], lanes: Lanes) -> None:
        """Work on what went by the column, and on the segments between."""
        assert lanes.taken is not None
        base, book = self._book.count, self._book
        others, rows = np.flatnonzero(~lanes.taken), lanes.rows
        created: list[int] = []
        given = 0
        for row, before in zip(others.tolist(), np.searchsorted(rows, others).tolist(), strict=True):
            book.count += before - given
            given = before
            self._one_by_one(batch, found, flows, slice(row, row + 1))
            created.append(book.count - base - given)
        book.count += len(rows) - given
        self.plain = lanes.finish(base, others, np.array(created, dtype=np.int64))

    def _one_by_one(
        self, batch: Batch, found: Segments, flows: list[_Flow | None], chosen: slice = slice(None)
    ) -> None:
        data = batch.buffer.data
        times = batch.time[found.index[chosen]].tolist()
        frames = batch.frame[found.index[chosen]].tolist()
        opposite = [self._flows.get(backwards(key)) for key in found.keys]
        columns = (
            found.flow, found.sequence, found.acknowledged, found.flags, found.start, found.kept, found.length,
        )  # fmt: skip
        rows = zip(*(column[chosen].tolist() for column in columns), times, frames, strict=True)
        for number, sequence, acknowledged, flags, start, kept, length, time, frame in rows:
            flow = flows[number]
            if flow is None:
                self._datagram(found.keys[number], data, start, kept, length, time, frame)
                continue
            if flags & (SYN | RST):
                self._begin(found.keys[number], flow, sequence, flags)
                opposite[number] = self._flows.get(backwards(found.keys[number]))
            if not length or flow.dead:
                continue
            other = opposite[number]
            if other is None:
                other = opposite[number] = self._flows.get(backwards(found.keys[number]))
            if other is not None and other.stream.early and flags & ACK:
                other.stream.acknowledged(acknowledged)
            if flow.connection is None and not self._recognise(found.keys[number], flow, data, start, kept):
                continue
            self._deliver(flow, data, sequence, start, kept, length, frame, time)

    def _deliver(
        self, flow: _Flow, data: Buffer, sequence: int, start: int, kept: int, length: int, frame: int, time: int
    ) -> None:
        stream = flow.stream
        repeated = stream.repeated
        stream.receive(data, sequence, start, kept, length, frame, time)
        connection = flow.connection
        if stream.repeated != repeated and connection is not None:
            connection.repeated(stream.repeated - repeated, towards_server=flow.towards_server)

    def _flow(self, key: FlowKey) -> _Flow:
        flow = self._flows.get(key)
        if flow is None:
            flow = self._flows[key] = _Flow()
            if len(self._flows) > MAX_FLOWS:
                self._forget(next(iter(self._flows)))
        return flow

    def _forget(self, key: FlowKey) -> None:
        flow = self._flows.pop(key)
        if flow.connection is not None:
            flow.connection.expire(1 << 62)

    def _begin(self, key: FlowKey, flow: _Flow, sequence: int, flags: int) -> None:
        """A connection begins, maybe with the ports of one that ended; or it is reset."""
        if flow.connection is not None:
            flow.stream.finish()
            if not flags & ACK or flags & RST:
                flow.connection.expire(1 << 62)
        if flags & RST:
            return
        flow.stream = Stream(Nothing())
        flow.stream.next = sequence + 1 & 0xFFFFFFFF
        flow.connection, flow.tries, flow.dead = None, 0, False
        if not flags & ACK:
            flow.towards_server = True
            other = self._flows.get(backwards(key))
            if other is not None:
                other.connection, other.tries, other.dead = None, 0, False
                other.stream = Stream(Nothing())

    # --- protocols ------------------------------------------------------------------------------------------------------------------

    def _recognise(self, key: FlowKey, flow: _Flow, data: Buffer, start: int, kept: int) -> bool:
        """Find out what a connection speaks: by its ports, else by its first bytes."""
        source, target = key[4] >> 16 & 0xFFFF, key[4] & 0xFFFF
        iscsi = ISCSI_PORT in (source, target)
        rpc = bool({source, target} & RPC_PORTS)
        if iscsi or rpc:
            towards_server = target in RPC_PORTS or target == ISCSI_PORT
        else:
            guess = _guess(data, start, kept)
            if guess is None:
                flow.tries += 1
                flow.dead = flow.tries >= _TRIES
                return False
            iscsi, towards_server = guess
        self._connect(key if towards_server else backwards(key), iscsi=iscsi)
        return True

    def _connect(self, key: FlowKey, *, iscsi: bool) -> None:
        client, server = endpoints(key)
        connection = IscsiConnection(client, server, self._book, self._sessions) if iscsi else self._rpc(client, server)
        for each, towards_server in ((key, True), (backwards(key), False)):
            flow = self._flow(each)
            consumer: Consumer = connection.requests if towards_server else connection.responses
            flow.connection, flow.towards_server = connection, towards_server
            if flow.stream.next < 0:  # the capture began in the midst of it
                connection_lose(consumer)
            flow.stream.consumer = consumer

    def _rpc(self, client: Endpoint, server: Endpoint) -> RpcConnection:
        paths = self._paths.setdefault(server.address, Paths())
        if len(self._paths) > MAX_FLOWS:
            del self._paths[next(iter(self._paths))]
        return RpcConnection(client, server, self._book, PROGRAMS, paths)

    def _datagram(self, key: FlowKey, data: Buffer, start: int, kept: int, length: int, time: int, frame: int) -> None:
        """An RPC message in a datagram: it has no mark, so one is thought before it."""
        if kept < 16:
            return
        head = (1 << 31 | min(length, 0xFFFF)).to_bytes(4, "big") + bytes(data[start : start + 12])
        is_call = plausible_record(head, 0)
        if is_call is None:
            return
        whole = key if is_call else backwards(key)
        both = whole, backwards(whole)
        connection = self._datagrams.get(both)
        if connection is None:
            if not is_call:
                return
            connection = self._datagrams[both] = self._rpc(*endpoints(whole))
            if len(self._datagrams) > MAX_FLOWS:
                del self._datagrams[next(iter(self._datagrams))]
        record = Record(data, start, start + kept, frame, time)
        record.size = length
        connection.record(record)


def connection_lose(consumer: Consumer) -> None:
    """A direction begins in its midst: look for a header first."""
    lose = getattr(consumer, "lose", None)
    if lose is not None:
        lose(0)


def _guess(data: Buffer, start: int, kept: int) -> tuple[bool, bool] | None:
    """What a segment's first bytes can be: whether iSCSI (else RPC), and whether they go to the server."""
    if kept >= 16:
        is_call = plausible_record(data, start)
        if is_call is not None:
            return False, is_call
    if kept >= BHS and data[start] not in (0, 0x20):  # a NOP is too much like nothing
        for towards_server in (True, False):
            if plausible_pdu(data, start, towards_server=towards_server):
                return True, towards_server
    return None
