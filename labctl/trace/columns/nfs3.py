"""The lane of NFSv3's READ, WRITE, COMMIT, GETATTR and ACCESS (RFC 1813 3.3, RFC 5531 9)."""

from __future__ import annotations

import struct
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from labctl.trace.columns.direction import Direction
from labctl.trace.columns.pairing import Pairs, merged, need
from labctl.trace.columns.plain import Kind, Plain
from labctl.trace.columns.walk import Carried, Messages, Shape, joined, walk
from labctl.trace.command import Owner, Protocol
from labctl.trace.files.batch import Integers
from labctl.trace.limits import MAX_KEPT_BYTES, MAX_RECORD_BYTES
from labctl.trace.naming import Names
from labctl.trace.protocols.exchange import Exchange
from labctl.trace.protocols.rpc.connection import Call, RpcConnection
from labctl.trace.protocols.rpc.nfs3 import PROCEDURES, STABLE
from labctl.trace.protocols.rpc.paths import Place
from labctl.trace.protocols.rpc.records import LAST, RecordFramer

CALLS: Final = Shape(smallest=4, place=0, mask=LAST - 1, unit=1, head=256)
REPLIES: Final = Shape(smallest=4, place=0, mask=LAST - 1, unit=1, head=160)
GETATTR, ACCESS, READ, WRITE, COMMIT = (
    PROCEDURES.index(name) for name in ("GETATTR", "ACCESS", "READ", "WRITE", "COMMIT")
)
_NFS3: Final = (100003, 3)
_ARGUMENTS: Final = np.zeros(len(PROCEDURES), dtype=np.int64)
"""Bytes behind the filehandle that are looked at, of the procedures that are taken; 0 of others but GETATTR."""
_ARGUMENTS[[ACCESS, READ, WRITE, COMMIT]] = 4, 12, 20, 12
_RESULTS: Final = np.zeros(len(PROCEDURES), dtype=np.int64)
"""Bytes behind the status and the attributes, likewise."""
_RESULTS[[READ, WRITE]] = 8, 8
_CREDENTIAL: Final = 28
"""Where a call's credential begins, behind mark, XID, type, versions, program and procedure."""
_ATTRIBUTES, _BEFORE = 84, 24


def _word(heads: NDArray[np.uint8], place: int | Integers) -> Integers:
    """The 32-bit number at a place of each head, which may be another for each."""
    need(place + 4 <= heads.shape[1])
    if isinstance(place, int):
        return heads[:, place : place + 4].copy().view(">u4")[:, 0].astype(np.int64)
    rows = np.arange(len(heads))
    found = np.zeros(len(heads), dtype=np.int64)
    for byte in range(4):
        found = found << 8 | heads[rows, place + byte]
    return found


def _same(places: Integers) -> int | Integers:
    """One place where it is the same for all."""
    return int(places[0]) if len(places) and bool((places == places[0]).all()) else places


class _Side:
    """One direction, cut; `count` records are whole."""

    def __init__(self, direction: Direction, framer: RecordFramer, shape: Shape) -> None:
        self.direction, self.framer = direction, framer
        need(framer.plain)
        carried = None
        if framer.seen and direction.total:
            carried = Carried(seen=framer.seen, head=framer.first(shape.head), frame=framer.frame, time=framer.time)
        self.messages: Messages = walk(direction, shape, carried)
        self.open = len(self.messages) > 0 and bool(self.messages.last[-1] == len(direction.stop))
        self.count = len(self.messages) - self.open
        need(self.messages.size <= MAX_RECORD_BYTES)
        need(self.messages.heads[:, 0] & 0x80 != 0)
        need(
            not self.open
            or bool(self.messages.begin[-1] >= 0 and direction.total - self.messages.begin[-1] <= MAX_KEPT_BYTES)
        )
        self.row = direction.row[self.messages.last[: self.count]]
        self.heads = self.messages.heads[: self.count]

    def settle(self) -> None:
        """Leave the framer as it is behind the last segment."""
        direction, messages, framer = self.direction, self.messages, self.framer
        if not direction.total:
            return
        if messages.partial:
            begin = direction.total - messages.partial
            known = framer.first(4) if begin < 0 else b""
            segment = int(np.searchsorted(direction.stop, max(begin, 0), side="right"))
            here = int(direction.frame[segment]), int(direction.time[segment])
            framer.resume(joined(direction, begin, 4, known), *((framer.frame, framer.time) if begin < 0 else here))
        elif self.open:
            begin = int(messages.begin[-1])
            framer.resume(
                joined(direction, begin, direction.total - begin), int(messages.frame[-1]), int(messages.time[-1])
            )
        else:
            framer.resume(b"", 0, 0)


class _Calls:
    """The calls that are whole in this batch."""

    def __init__(self, side: _Side) -> None:
        heads, count = side.heads, side.count
        messages = side.messages
        self.heads, self.row = heads, side.row
        size = messages.size[:count]
        need(size >= _CREDENTIAL + 16)
        need(
            (_word(heads, 8) == 0)
            & (_word(heads, 12) == 2)
            & (_word(heads, 16) == _NFS3[0])
            & (_word(heads, 20) == _NFS3[1])
        )
        self.tag, self.procedure = _word(heads, 4), _word(heads, 24)
        need(
            (self.procedure < len(PROCEDURES))
            & ((self.procedure == GETATTR) | (_ARGUMENTS[self.procedure % len(PROCEDURES)] > 0))
        )
        verifier = _CREDENTIAL + 8 + (_word(heads, _CREDENTIAL + 4) + 3 & ~3)
        self.handle = verifier + 8 + (_word(heads, _same(verifier + 4)) + 3 & ~3)
        length = _word(heads, _same(self.handle))
        need(length <= 128)
        self.arguments = self.handle + 4 + (length + 3 & ~3)
        end = self.arguments + _ARGUMENTS[self.procedure]
        need((end <= size) & (end <= heads.shape[1]))
        last = messages.last[:count]
        self.start, self.first = messages.time[:count], messages.frame[:count]
        self.last = side.direction.frame[last]
        self.sent = np.zeros(count, dtype=np.int64)
        writes = np.flatnonzero(self.procedure == WRITE)
        if len(writes):
            self.sent[writes] = _word(heads[writes], _same(self.arguments[writes] + 16))
        self.of, self.who = self._who()

    def _who(self) -> tuple[Integers, list[int]]:
        """Which calls have the same credential, filehandle and procedure; and one of each."""
        texts: dict[bytes, int] = {}
        heads, count = self.heads, len(self.heads)
        end = int(self.arguments[0]) if count else 0
        if count and (self.arguments == end).all() and (heads[:, 24:end] == heads[0, 24:end]).all():
            return np.zeros(count, dtype=np.int64), [0]
        of, ends = np.empty(count, dtype=np.int64), self.arguments.tolist()
        first: list[int] = []
        for number in range(count):
            text = heads[number, 24 : ends[number]].tobytes()
            known = texts.setdefault(text, len(texts))
            if known == len(first):
                first.append(number)
            of[number] = known
        return of, first


class _Replies:
    """The replies that are whole in this batch."""

    def __init__(self, side: _Side) -> None:
        heads, count = side.heads, side.count
        self.heads, self.row = heads, side.row
        self.size = side.messages.size[:count]
        need(self.size >= 32)
        # 12: accepted; 20: no verifier; 24: success; 28: NFS3_OK
        need((_word(heads, 8) == 1) & (heads[:, 12:16] == 0).all(axis=1) & (heads[:, 20:32] == 0).all(axis=1))
        self.tag = _word(heads, 4)
        last = side.messages.last[:count]
        self.end, self.last = side.direction.time[last], side.direction.frame[last]

    def results(self, procedure: Integers) -> tuple[Integers, Integers]:
        """Of READ and WRITE, the numbers behind the attributes: a count, and whether it is the end, or how it was committed."""
        count, more = np.zeros(len(procedure), dtype=np.int64), np.zeros(len(procedure), dtype=np.int64)
        for number, wcc in ((READ, False), (WRITE, True)):
            chosen = np.flatnonzero(procedure == number)
            if not len(chosen):
                continue
            heads = self.heads[chosen]
            place = np.full(len(chosen), 32)
            for size in (_BEFORE, _ATTRIBUTES) if wcc else (_ATTRIBUTES,):
                there = _word(heads, _same(place))
                need(there <= 1)
                place = place + 4 + there * size
            need((place + 8 <= self.size[chosen]) & (place + 8 <= heads.shape[1]))
            count[chosen], more[chosen] = _word(heads, _same(place)), _word(heads, _same(place + 4))
        return count, more


class Nfs3Lane:
    """A connection's share of a batch. Making one raises NotPlainError where the decoder must do it, and changes nothing.

    Args:
        connection: as it is before.
        requests: what its client sent.
        responses: what its server sent.
    """

    def __init__(self, connection: RpcConnection, requests: Direction, responses: Direction) -> None:
        need(connection.settled)
        self._connection = connection
        self._carried = list(connection.open.values())
        for call in self._carried:
            need(call.program is not None and call.program.protocol is Protocol.NFS3 and len(call.parts) == 1)
            need(call.procedure == GETATTR or (call.procedure < len(PROCEDURES) and bool(_ARGUMENTS[call.procedure])))
        self._sides = _Side(requests, connection.requests, CALLS), _Side(responses, connection.responses, REPLIES)
        self._calls, self._replies = calls, replies = _Calls(self._sides[0]), _Replies(self._sides[1])
        asked, answered = merged(calls.row, replies.row)
        tags = [call.parts[0].tag for call in self._carried]
        ends = np.ones(len(replies.tag), dtype=bool)
        self._pairs = Pairs(tags, calls.tag, asked, replies.tag, answered, ends)
        self._procedure = np.concatenate(
            (np.array([call.procedure for call in self._carried], dtype=np.int64), calls.procedure)
        )
        self._results = replies.results(self._procedure[self._pairs.of])

    @property
    def rows(self) -> Integers:
        """Where its new commands are among the batch's segments, in their order."""
        return self._calls.row

    def commit(self) -> None:
        """Take the connection to the state behind the batch."""
        connection, known, over = self._connection, len(self._carried), self._pairs.over
        self._units = [self._read(first) for first in self._calls.who]
        self._open = {index: self._call(index - known) for index in (np.flatnonzero(~over[known:]) + known).tolist()}
        left = [call for index, call in enumerate(self._carried) if not over[index]]
        connection.open = {call.parts[0].tag: call for call in (*left, *self._open.values())}
        tags = [side.tag[-1:].tolist() for side in (self._calls, self._replies)]
        for side, tag in enumerate(tags):
            if tag:
                call = connection.open.get(tag[0])
                connection.last[side] = (
                    call.parts[0] if call is not None else Exchange(0, Protocol.NFS3, "", connection, tag[0], 0, 0, 0)
                )
        for each in self._sides:
            each.settle()

    def _read(self, call: int) -> tuple[Place, dict[str, object], int]:
        """Whose calls like this one are: place, credential, procedure."""
        calls = self._calls
        head = calls.heads[call].tobytes()
        flavor, size = struct.unpack_from(">II", head, _CREDENTIAL)
        at = int(calls.handle[call])
        (length,) = struct.unpack_from(">I", head, at)
        place = self._connection.paths.at(head[at + 4 : at + 4 + length])
        return (
            place,
            self._connection.who(flavor, head[_CREDENTIAL + 8 : _CREDENTIAL + 8 + size]),
            int(calls.procedure[call]),
        )

    def _call(self, new: int) -> Call:
        """A call of this batch, as its decoder would have left it."""
        calls, connection = self._calls, self._connection
        place, who, procedure = self._units[int(calls.of[new])]
        exchange = Exchange(
            0,
            Protocol.NFS3,
            PROCEDURES[procedure],
            connection,
            int(calls.tag[new]),
            int(calls.start[new]),
            int(calls.first[new]),
            int(self._pairs.depth[new]),
        )
        exchange.last, exchange.unit, exchange.sent = int(calls.last[new]), place, int(calls.sent[new])
        details = exchange.details = dict(who)
        head, at = calls.heads[new].tobytes(), int(calls.arguments[new])
        if procedure in (READ, WRITE, COMMIT):
            exchange.offset, exchange.length = struct.unpack_from(">QI", head, at)
        if procedure == WRITE:
            (stable,) = struct.unpack_from(">I", head, at + 12)
            details["stable"] = STABLE[stable] if stable < len(STABLE) else stable
        elif procedure == ACCESS:
            details["access"] = struct.unpack_from(">I", head, at)[0]
        return Call(connection.programs[_NFS3], _NFS3[1], procedure, [exchange])

    def plain(self, ids: Integers) -> Plain:
        """Its commands that ended.

        Args:
            ids: the numbers of its new commands.
        """
        known, of, calls, replies = len(self._carried), self._pairs.of, self._calls, self._replies
        for index, call in self._open.items():
            call.parts[0].id = int(ids[index - known])
        every = self._all("id", ids)[of]
        count, more = self._results

        def exchange(place: int) -> Exchange:
            index = int(of[place])
            call = self._carried[index] if index < known else self._call(index - known)
            found = call.parts[0]
            found.id, found.end, found.last = int(every[place]), int(replies.end[place]), int(replies.last[place])
            found.status, found.good = "NFS3_OK", True
            if call.procedure == READ:
                found.received = int(count[place])
                if more[place]:
                    found.details["eof"] = True
            elif call.procedure == WRITE:
                found.length = int(count[place])
                committed = int(more[place])
                found.details["committed"] = STABLE[committed] if committed < len(STABLE) else committed
            return found

        kinds, kind = self._kinds()
        read = self._procedure[of] == READ
        return Plain(
            protocol=Protocol.NFS3,
            scope=self._connection,
            kinds=kinds,
            kind=kind[of],
            id=every,
            start=self._all("start", calls.start)[of],
            end=replies.end,
            sent=self._all("sent", calls.sent)[of],
            received=np.where(read, count, 0),
            depth=self._all("depth", self._pairs.depth)[of],
            retransmissions=self._all("retransmissions", np.zeros(len(calls.tag), dtype=np.int64))[of],
            exchange=exchange,
        )

    def _kinds(self) -> tuple[list[Kind], Integers]:
        """The kinds of its calls, and which each is of: by procedure and place."""
        carried = [(call.parts[0].unit, call.procedure) for call in self._carried]
        kinds: dict[tuple[Place, int], int] = {}
        numbers = [
            kinds.setdefault(each, len(kinds))
            for each in (*carried, *((place, number) for place, _, number in self._units))
        ]
        of = np.array(numbers, dtype=np.int64)
        kind = np.concatenate((of[: len(carried)], of[len(carried) :][self._calls.of]))
        return [Kind(operation=PROCEDURES[number], owner=partial(self._owner, place)) for place, number in kinds], kind

    def _owner(self, place: Place, names: Names) -> Owner:
        return self._connection.owner(place.path(), names)

    def _all(self, name: str, new: Integers) -> Integers:
        """A column of all calls: those from before, and these."""
        return np.concatenate((np.array([getattr(each.parts[0], name) for each in self._carried], dtype=np.int64), new))
