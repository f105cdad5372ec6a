"""The lane of SCSI reads and writes (RFC 7143 4.2, 11)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from labctl.trace.columns.direction import Direction
from labctl.trace.columns.pairing import Pairs, counted, distinct, merged, need, ranks
from labctl.trace.columns.plain import Kind, Plain
from labctl.trace.columns.solicited import Solicited
from labctl.trace.columns.walk import Carried, Messages, Shape, joined, walk
from labctl.trace.command import Protocol
from labctl.trace.files.batch import Integers
from labctl.trace.protocols.exchange import Exchange
from labctl.trace.protocols.iscsi import wire
from labctl.trace.protocols.iscsi.cdb import read_cdb
from labctl.trace.protocols.iscsi.connection import IscsiConnection
from labctl.trace.protocols.iscsi.framing import Pdu, PduFramer
from labctl.trace.protocols.iscsi.session import Task, lun_number

SHAPE: Final = Shape(smallest=wire.BHS, place=4, mask=0xFFFFFF, unit=4, head=wire.BHS)
HEAD: Final = np.dtype(
    [
        ("opcode", "u1"), ("flags", "u1"), ("response", "u1"), ("status", "u1"), ("lengths", ">u4"), ("lun", ">u8"), ("tag", ">u4"),
        ("w20", ">u4"), ("w24", ">u4"), ("w28", ">u4"), ("w32", ">u4"), ("w36", ">u4"), ("w40", ">u4"), ("w44", ">u4"),
    ]
)  # fmt: skip
"""As `wire.HEAD`; the words from byte 20 on are named after their place."""
PLAIN: Final = np.zeros(256, dtype=bool)
"""Operation codes of commands that are taken: reads and writes, and SYNCHRONIZE CACHE and TEST UNIT READY between them."""
PLAIN[[0x00, 0x08, 0x0A, 0x28, 0x2A, 0x88, 0x8A, 0xA8, 0xAA, 0x35, 0x91]] = True
_WRAPS: Final = 0xFFFF0000
"""A sequence number near its end is the decoder's."""


@dataclass(kw_only=True)
class _Side:
    """One direction, cut.

    Args:
        direction: its segments.
        framer: what cuts it otherwise.
        messages: its PDUs.
        head: their headers.
        begun: the first of them is known to the connection from before.
    """

    direction: Direction
    framer: PduFramer
    messages: Messages
    head: NDArray[Any]
    begun: bool

    def settle(self, open_tasks: dict[int, Exchange]) -> None:
        """Leave the framer as it is behind the last segment."""
        direction, messages, framer = self.direction, self.messages, self.framer
        if not direction.total:
            return
        if messages.partial:
            begin = direction.total - messages.partial
            segment = int(np.searchsorted(direction.stop, max(begin, 0), side="right"))
            head = framer.unfinished_head if begin < 0 else b""
            known = (framer.head_frame, framer.head_time)
            here = (int(direction.frame[segment]), int(direction.time[segment]))
            framer.resume_in_head(joined(direction, begin, wire.BHS, head), *(known if begin < 0 else here))
        elif len(messages) and messages.last[-1] == len(direction.stop):
            begin = int(messages.begin[-1])
            fields = wire.HEAD.unpack(messages.heads[-1].tobytes())
            size = int(messages.size[-1])
            have = joined(
                direction,
                begin,
                size if framer.keep(fields, size) else wire.BHS,
                messages.heads[-1].tobytes() if begin < 0 else b"",
            )
            pdu = Pdu(fields, have, 0, int(messages.frame[-1]), int(messages.time[-1]), size, wire.BHS)
            framer.resume_in_data(pdu, begin + size - direction.total, open_tasks.get(fields[6]))
        else:
            framer.resume()


def _side(direction: Direction, framer: PduFramer) -> _Side:
    carried = None
    need(framer.synchronised and not framer.header_digest and not framer.data_digest)
    pdu = framer.unfinished
    if pdu is not None:
        head = bytes(pdu.buffer[pdu.at : pdu.at + wire.BHS])
        carried = Carried(seen=pdu.size - framer.needed, head=head, frame=pdu.frame, time=pdu.time)
        need(not pdu.missing and (framer.needed <= direction.total or not framer.keeps))
    elif framer.unfinished_head:
        head = framer.unfinished_head
        carried = Carried(seen=len(head), head=head, frame=framer.head_frame, time=framer.head_time)
    messages = walk(direction, SHAPE, carried if direction.total else None)
    head_columns = messages.heads.view(HEAD)[:, 0]
    need(head_columns["lengths"] >> 24 == 0)
    begun = pdu is not None and framer.handled and len(messages) > 0
    return _Side(direction=direction, framer=framer, messages=messages, head=head_columns, begun=begun)


class _Requests:
    """The requests that are handled in this batch: commands, and Data-Out."""

    def __init__(self, side: _Side) -> None:
        head, messages = side.head, side.messages
        opcode, data = head["opcode"], head["lengths"].astype(np.int64)
        command = opcode == wire.COMMAND
        need(command | (opcode == wire.DATA_OUT))
        early = command & ((messages.size > wire.SMALL) | (data == 0))
        at = np.where(early, messages.headed, messages.last)
        here = at < len(side.direction.stop)
        if side.begun:
            here[0] = False
        chosen = np.flatnonzero(here)
        head, command = head[chosen], command[chosen]
        self.command = np.flatnonzero(command)
        self.data_out = np.flatnonzero(~command)
        self.row = side.direction.row[at[chosen]]
        self.last_tag = int(head["tag"][-1]) if len(head) else None
        self.acknowledged = head["w28"].astype(np.int64)
        picked = chosen[self.command]
        self.heads = messages.heads[picked]
        self.head = head[self.command]
        self.out = head[self.data_out]
        self.start, self.frame = messages.time[picked], messages.frame[picked]
        self.tag = self.head["tag"].astype(np.int64)
        self.expected = self.head["w20"].astype(np.int64)
        self.cmd_sn = self.head["w24"].astype(np.int64)
        self.sent = data[picked]
        self.opcode = self.heads[:, 32]
        need(PLAIN[self.opcode])
        need(self.sent <= self.expected)


class _Responses:
    """The responses that are whole in this batch: Data-In, R2T and SCSI Response."""

    def __init__(self, side: _Side) -> None:
        messages = side.messages
        count = len(messages) - bool(len(messages) and messages.last[-1] == len(side.direction.stop))
        need(np.isin(side.head["opcode"], (wire.DATA_IN, wire.R2T, wire.RESPONSE)))  # also of one that is not whole yet
        head = side.head[:count]
        opcode, flags = head["opcode"], head["flags"]
        self.row = side.direction.row[messages.last[:count]]
        self.data_in = opcode == wire.DATA_IN
        self.r2t = opcode == wire.R2T
        response = opcode == wire.RESPONSE
        self.ends = response | (self.data_in & (flags & 1 != 0))
        self.numbered = self.ends | self.r2t
        self.length = head["lengths"].astype(np.int64)
        ended = head[self.ends]
        need((ended["status"] == 0) & (ended["flags"] & 6 == 0))
        need((head["response"][response] == 0) & (self.length[response] == 0))
        self.tag = head["tag"].astype(np.int64)
        self.head = head
        self.number, self.offset = head["w36"].astype(np.int64), head["w40"].astype(np.int64)
        last = messages.last[:count][self.ends]
        self.end, self.frame = side.direction.time[last], side.direction.frame[last]


class IscsiLane:
    """A connection's share of a batch. Making one raises NotPlainError where the decoder must do it, and changes nothing.

    Args:
        connection: as it is before.
        requests: what its client sent.
        responses: what its server sent.
    """

    def __init__(self, connection: IscsiConnection, requests: Direction, responses: Direction) -> None:
        need(connection.settled)
        self._connection = connection
        self._session = connection.session
        carried = list(self._session.open.values())
        need(
            all(
                isinstance(each, Task) and PLAIN[each.cdb[0]] and not each.parameters and not each.details
                for each in carried
            )
        )
        self._carried: list[Task] = carried  # type: ignore[assignment]
        self._sides = _side(requests, connection.requests), _side(responses, connection.responses)
        self._asking, self._answering = _Requests(self._sides[0]), _Responses(self._sides[1])
        asking, answering = self._asking, self._answering
        position, self._responded = merged(asking.row, answering.row)
        self._sequence(position)
        tags = [task.tag for task in self._carried]
        self._pairs = Pairs(tags, asking.tag, position[asking.command], answering.tag, self._responded, answering.ends)
        self._of, self._ended, self._count = self._pairs.of, self._pairs.ended, self._pairs.count
        self._depth = self._all("depth", self._pairs.depth)
        self._expected = self._all("expected", asking.expected)
        self._data()
        self._out(position[asking.data_out])

    @property
    def rows(self) -> Integers:
        """Where its new commands are among the batch's segments, in their order."""
        return self._asking.row[self._asking.command]

    def _sequence(self, position: Integers) -> None:
        """CmdSN, StatSN, ExpStatSN and MaxCmdSN (RFC 7143 4.2.2)."""
        asking, answering, session = self._asking, self._answering, self._session
        numbered = answering.numbered
        head = answering.head[numbered]
        status, expected, highest = (head[name].astype(np.int64) for name in ("w24", "w28", "w32"))
        for column in (asking.cmd_sn, asking.acknowledged, status, expected, highest):
            need(not len(column) or (int(column.max()) < _WRAPS and int(column.max()) - int(column.min()) < 1 << 30))
        used = np.cumsum(answering.ends[numbered])
        self._stat_sn = base = self._connection.stat_sn
        if len(status):
            need(base >= 0 or bool(answering.ends[numbered][0]))
            base = base if base >= 0 else int(status[0])
            need(status == base + used - answering.ends[numbered])
            self._stat_sn = base + int(used[-1])
        need(expected - 1 <= highest)
        highest = np.maximum.accumulate(np.concatenate(([session.max_cmd_sn], highest)))
        known = np.concatenate(([self._connection.stat_sn], base + used))
        before = np.searchsorted(self._responded[numbered], position)
        if not self._connection.ahead:
            stat_sn = known[before]
            need((stat_sn < 0) | (asking.acknowledged <= stat_sn))
        limit = highest[before[asking.command]]
        need((limit < 0) | (asking.cmd_sn <= limit))
        self._max_cmd_sn, self._cmd_sn = int(highest[-1]), session.cmd_sn
        if len(asking.cmd_sn):
            first = session.cmd_sn if session.cmd_sn >= 0 else int(asking.cmd_sn[0])
            need(asking.cmd_sn == first + np.arange(len(asking.cmd_sn)))
            self._cmd_sn = first + len(asking.cmd_sn)

    def _all(self, name: str, new: Integers) -> Integers:
        """A column of all commands: those from before, and these."""
        return np.concatenate((np.array([getattr(each, name) for each in self._carried], dtype=np.int64), new))

    def _data(self) -> None:
        """Data-In: its numbers and its place."""
        answering = self._answering
        of, length = self._of[answering.data_in], answering.length[answering.data_in]
        self._data_sn = self._all("data_sn", np.zeros(len(self._asking.tag), dtype=np.int64))
        need(self._data_sn[of] >= 0)
        need(answering.number[answering.data_in] == self._data_sn[of] + ranks(of))
        need(answering.offset[answering.data_in] + length <= self._expected[of])
        self._data_sn += counted(of, self._count)
        new = np.zeros(len(self._asking.tag), dtype=np.int64)
        self._received = self._all("received", new) + counted(of, self._count, length)

    def _out(self, position: Integers) -> None:
        """R2T and Data-Out."""
        asking, answering = self._asking, self._answering
        new = np.zeros(len(asking.tag), dtype=np.int64)
        self._sent, self._trips = self._all("sent", asking.sent), self._all("round_trips", new)
        self._r2t_sn = self._all("r2t_sn", new)
        self._solicited: Solicited | None = None
        if not (answering.r2t.any() or len(asking.out)):
            return
        self._solicited = solicited = Solicited(
            self._pairs,
            self._carried,
            self._expected,
            self._r2t_sn,
            r2t=answering.head[answering.r2t],
            of=self._of[answering.r2t],
            came=self._responded[answering.r2t],
            out=asking.out,
            went=position,
        )
        self._sent, self._trips, self._r2t_sn = (
            self._sent + solicited.sent,
            self._trips + solicited.trips,
            self._r2t_sn + solicited.trips,
        )

    # --- from before to after -------------------------------------------------------------------------------------------------------

    def commit(self) -> None:
        """Take the connection to the state behind the batch."""
        session, asking = self._session, self._asking
        over = self._pairs.over
        for index, task in enumerate(self._carried):
            if not over[index]:
                self._update(task, index)
        known = len(self._carried)
        self._open = {index: self._task(index) for index in np.flatnonzero(~over[known:]).tolist()}
        tasks = [task for index, task in enumerate(self._carried) if not over[index]]
        session.open = {task.tag: task for task in (*tasks, *self._open.values())}
        session.cmd_sn, session.max_cmd_sn, self._connection.stat_sn = self._cmd_sn, self._max_cmd_sn, self._stat_sn
        sides = (asking.last_tag, int(self._answering.tag[-1]) if len(self._answering.tag) else None)
        for number, tag in enumerate(sides):
            if tag is not None:
                self._connection.last[number] = session.open.get(tag)
        for side in self._sides:
            side.settle(session.open)

    def _update(self, task: Task, index: int) -> None:
        task.received, task.sent = int(self._received[index]), int(self._sent[index])
        task.data_sn, task.r2t_sn = int(self._data_sn[index]), int(self._r2t_sn[index])
        task.round_trips = int(self._trips[index])
        if self._solicited is not None and (task.asked is not None or self._solicited.trips[index]):
            task.asked = self._solicited.left(index)

    def _task(self, new: int) -> Task:
        """A command of this batch, as far as it has come."""
        asking, index = self._asking, new + len(self._carried)
        head = asking.head[new]
        task = Task(
            0,
            self._session,
            int(asking.tag[new]),
            int(asking.start[new]),
            int(asking.frame[new]),
            int(self._depth[index]),
        )
        task.cdb, task.flags, task.unit = asking.heads[new, 32:48].tobytes(), int(head["flags"]), int(head["lun"])
        task.expected = int(asking.expected[new])
        self._update(task, index)
        return task

    def plain(self, ids: Integers) -> Plain:
        """Its commands that ended.

        Args:
            ids: the numbers of its new commands.
        """
        for index, task in self._open.items():
            task.id = int(ids[index])
        asking, ended, known = self._asking, self._ended, len(self._carried)
        every = self._all("id", ids)[ended]
        unit = np.concatenate(
            (np.array([each.unit for each in self._carried], dtype=np.uint64), asking.head["lun"].astype(np.uint64))
        )
        opcode = np.concatenate((np.array([each.cdb[0] for each in self._carried], dtype=np.uint8), asking.opcode))
        kinds, kind = self._kinds(unit[ended], opcode[ended])

        def exchange(place: int) -> Task:
            index = int(ended[place])
            if index < known:
                task = self._carried[index]
                self._update(task, index)
            else:
                task = self._task(index - known)
                task.id = int(every[place])
            task.end, task.last = int(self._answering.end[place]), int(self._answering.frame[place])
            task.status, task.good = "GOOD", True
            return task

        for number in range(len(kinds)):
            self._session.request(exchange(int(np.flatnonzero(kind == number)[-1])))
        zero = np.zeros(len(asking.tag), dtype=np.int64)
        return Plain(
            protocol=Protocol.ISCSI,
            scope=self._session,
            kinds=kinds,
            kind=kind,
            id=every,
            start=self._all("start", asking.start)[ended],
            end=self._answering.end,
            sent=self._sent[ended],
            received=self._received[ended],
            depth=self._depth[ended],
            retransmissions=self._all("retransmissions", zero)[ended],
            exchange=exchange,
        )

    def _kinds(self, unit: NDArray[np.uint64], opcode: NDArray[np.uint8]) -> tuple[list[Kind], Integers]:
        """The kinds of some commands, and which each is of: by unit and operation code."""
        units, of_unit = (
            np.unique(unit, return_inverse=True) if len(unit) and (unit != unit[0]).any() else (unit[:1], 0)
        )
        pairs, kind = distinct(of_unit * 256 + opcode.astype(np.int64))
        kinds = []
        for pair in pairs.tolist():
            owner = partial(self._session.owner, lun_number(int(units[pair >> 8])))
            kinds.append(Kind(operation=read_cdb(bytes((pair & 0xFF, *bytes(15)))).name, owner=owner))
        return kinds, kind
