"""The fast lane: runs of plain READs and WRITEs, from the receive buffer to the store and into one buffer of replies.

Plain is what nothing special applies to: the next command in sequence, not immediate; READ or WRITE (10) or (16) without FUA and
protection; all of a write's data in its own PDU; no residual; of a unit with nothing in the way (`LogicalUnit.plain`). What is not
plain is left where it is, for the general engine to do and to answer, and so is what fails. Both answer with the same bytes: a test
drives the same streams through both. A read of more than one Data-In is a stretch by itself, since its data is most of its cost.

Why it is fast: one look at the unit for a stretch of commands; one `unpack` and one `pack_into` a command, and no object for it;
neighbouring transfers reach the store in one vectored call; headers and data of all replies lie one after the other in one buffer,
small enough to stay in the CPU's cache, and leave in one send.

That buffer is used again: what `Sender.take` gave must be sent, or copied, before `rewind`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from labemu_iscsi.errors import PeerError
from labemu_iscsi.framing import DIGEST_LENGTH, digest
from labemu_iscsi.limits import BHS_LENGTH, COMMAND_WINDOW, LANE_BUFFER, LANE_RUN
from labemu_iscsi.pdu import NO_TAG
from labemu_iscsi.session import MASK

if TYPE_CHECKING:
    from labemu_iscsi.framing import Framer
    from labemu_iscsi.sender import Sender
    from labemu_iscsi.session import Session
    from labemu_scsi.unit import LogicalUnit

# RFC 7143 11.3: bytes 0 and 1, lengths, LUN, ITT, expected length, CmdSN; then the CDB as READ(10) has it: opcode and flags, LBA,
# and in one number group number, length and control
_COMMAND = struct.Struct(">HxxIQIII4xHII6x").unpack_from
_CDB16 = struct.Struct(">QIBB").unpack_from  # of READ(16): LBA, length, group number, control
_LUN = struct.Struct(">8xQ").unpack_from
_CDB_AT: Final = 32
_CDB16_AT: Final = _CDB_AT + 2
# RFC 7143 11.4, 11.7: Data-In with status and SCSI Response have the same layout, as far as it is not zero here
_REPLY = struct.Struct(">II8xIIIII12x").pack_into
_REPLY_IN_PARTS = struct.Struct(">II8xIIIIIIII").pack_into  # the same, with DataSN or ExpDataSN, offset and residual
_DATA_IN_PART: Final = 0x25000000  # without status
_DATA_IN_FINAL: Final = 0x25800000  # without status, the last of a burst
_DATA_IN: Final = 0x25810000  # final, with status GOOD
_RESPONSE: Final = 0x21800000  # command completed at target, GOOD
_READ: Final = 0x01C1  # SCSI command, not immediate; F and R; simple
_WRITE: Final = 0x01A1  # the same; F and W
_SIMPLE: Final = 0x0001  # added to what came: untagged counts as simple
_READ10, _WRITE10, _READ16, _WRITE16 = 0x28, 0x2A, 0x88, 0x8A
_READ10_PLAIN, _WRITE10_PLAIN, _READ16_PLAIN, _WRITE16_PLAIN = 0x2800, 0x2A00, 0x8800, 0x8A00  # no flag is set
_LENGTH_AT: Final = 8  # bits: behind the length stands the control byte
_FAR: Final = MASK - (1 << 16)  # beyond it a stretch could reach the end of a counter, where it begins again


class FastLane:
    """The fast lane of a connection in full feature phase.

    Args:
        framer: whose buffer it reads from.
        sender: which numbers replies, and takes them.
    """

    def __init__(self, framer: Framer, sender: Sender) -> None:
        self._framer = framer
        self._sender = sender
        self._out = bytearray(LANE_BUFFER)
        self._view = memoryview(self._out)
        self._used = 0
        self._full = False

    def rewind(self) -> None:
        """All that was given out is sent: use the buffer from its start again."""
        self._used = 0

    def run(self, session: Session) -> bool:
        """Do what is plain, from the framer's position on, and queue the replies.

        Returns:
            whether it stopped because its buffer is full: send what waits, `rewind`, and call again.
        """
        framer = self._framer
        self._full = False
        if session.held or len(session.tasks) >= COMMAND_WINDOW:
            return False
        start = self._used
        buffer, end = framer.buffer, framer.end
        while end - framer.position >= BHS_LENGTH:
            stretch = _STRETCHES.get(buffer[framer.position + _CDB_AT])
            if stretch is None or not stretch(self, session):
                break
        if self._used > start:
            self._sender.put_whole(self._view[start : self._used])
        return self._full

    # The two loops below are the path of every transfer. They are alike and yet two, and long: a call for each command would cost
    # a third of what the command does. They work on copies of the state, and put it back when the store has done its part: until
    # then nothing has happened, and what was written once will be written again with the same bytes.

    def _reads(self, session: Session) -> bool:  # noqa: C901
        """A stretch of reads of one unit; whether there was one."""
        framer, sender, tasks = self._framer, self._sender, session.tasks
        out, view, pos, buffer, at, end = self._out, self._view, self._used, framer.buffer, framer.position, framer.end
        (lun,) = _LUN(buffer, at)
        unit = _plain_unit(session, lun)
        if unit is None:
            return False
        readv, shift, low, capacity = unit.vectored.readv, unit.shift, unit.block_size - 1, unit.blocks << unit.shift
        first = exp = session.exp_cmd_sn
        stat_sn = sender.stat_sn
        if exp > _FAR or stat_sn > _FAR:
            return False
        last = COMMAND_WINDOW - len(tasks) + session.immediate_tasks - 1
        lift = shift - _LENGTH_AT
        head_digest, data_digest = sender.header_digest, sender.data_digest
        head = BHS_LENGTH + head_digest * DIGEST_LENGTH
        limit = LANE_BUFFER - head - data_digest * DIGEST_LENGTH
        room = min(sender.max_data, limit, unit.max_transfer << shift)
        datas: list[memoryview] = []
        places: list[int] = []
        begin = stop = 0
        try:
            while end - at >= head:
                kind, lengths, to, itt, size, cmd_sn, opcode, lba, count = _COMMAND(buffer, at)
                if opcode != _READ10_PLAIN:
                    if opcode != _READ16_PLAIN:
                        break
                    lba, count = _wide(buffer, at)
                offset = lba << shift
                if (
                    kind | _SIMPLE != _READ
                    or lengths  # no AHS, no data
                    or to != lun
                    or cmd_sn != exp
                    or count << lift != size  # which is not, in the end, if there is a group number or a control byte
                    or size & low
                    or not 0 < size <= room
                    or offset + size > capacity
                    or (tasks and itt in tasks)
                ):
                    break
                if pos + size > limit:
                    self._full = True
                    break
                if offset != stop or len(datas) >= LANE_RUN:
                    if datas:
                        readv(datas, begin, stop - begin)
                        datas = []
                    begin = stop = offset
                exp += 1
                _REPLY(out, pos, _DATA_IN, size, itt, NO_TAG, stat_sn, exp, exp + last)
                stat_sn += 1
                if head_digest:
                    framer.check(at, 0)
                    out[pos + BHS_LENGTH : pos + head] = digest(view[pos : pos + BHS_LENGTH])
                pos += head
                at += head
                datas.append(view[pos : pos + size])
                stop += size
                pos += size
                if data_digest:
                    places.append(pos)
                    places.append(size)
                    pos += DIGEST_LENGTH
            if datas:
                readv(datas, begin, stop - begin)
        except (OSError, PeerError):
            return False
        for place, size in zip(places[::2], places[1::2], strict=True):
            out[place : place + DIGEST_LENGTH] = digest(view[place - size : place])
        framer.position = at
        self._used = pos
        sender.stat_sn = stat_sn
        session.exp_cmd_sn = exp
        session.commands += exp - first
        return exp != first or (not self._full and self._read_in_parts(session, unit))

    def _read_in_parts(self, session: Session, unit: LogicalUnit) -> bool:
        """The read that is next, if it is plain but for more data than one Data-In takes; whether it was."""
        framer, sender, at = self._framer, self._sender, self._framer.position
        head = BHS_LENGTH + sender.header_digest * DIGEST_LENGTH
        found = _plain_read(framer, at, head, session, unit)
        if found is None:
            return False
        itt, offset, size = found
        most, burst = sender.max_data, session.parameters.max_burst
        if size <= most or (most | burst) & 3:  # parts that need padding are left to the general engine
            return False
        parts = _parts(size, most, burst)
        total = size + len(parts) * (head + sender.data_digest * DIGEST_LENGTH) + head
        if total > LANE_BUFFER:
            return False
        if self._used + total > LANE_BUFFER:
            self._full = True
            return False
        places = []
        pos = self._used + head
        for _, length, _ in parts:
            places.append(self._view[pos : pos + length])
            pos += length + sender.data_digest * DIGEST_LENGTH + head
        try:
            if sender.header_digest:
                framer.check(at, 0)
            unit.vectored.readv(places, offset, size)
        except (OSError, PeerError):
            return False
        session.exp_cmd_sn += 1
        session.commands += 1
        self._put_parts(session, itt, parts)
        framer.position = at + head
        return True

    def _put_parts(self, session: Session, itt: int, parts: list[tuple[int, int, bool]]) -> None:
        """Headers and digests around the data of a read, which is in its place, and the response (RFC 7143 11.7.3, 11.4)."""
        sender, out, view, pos = self._sender, self._out, self._view, self._used
        exp, top = session.exp_cmd_sn, session.max_cmd_sn
        for number, (offset, length, last) in enumerate(parts):
            kind = _DATA_IN_FINAL if last else _DATA_IN_PART
            _REPLY_IN_PARTS(out, pos, kind, length, itt, NO_TAG, 0, exp, top, number, offset, 0)
            pos = self._end_header(pos) + length
            if sender.data_digest:
                out[pos : pos + DIGEST_LENGTH] = digest(view[pos - length : pos])
                pos += DIGEST_LENGTH
        _REPLY_IN_PARTS(out, pos, _RESPONSE, 0, itt, 0, sender.next_stat_sn(), exp, top, len(parts), 0, 0)
        self._used = self._end_header(pos)

    def _end_header(self, pos: int) -> int:
        """Add the digest to the header at `pos`, where there are digests; where it ends."""
        end = pos + BHS_LENGTH
        if not self._sender.header_digest:
            return end
        self._out[end : end + DIGEST_LENGTH] = digest(self._view[pos:end])
        return end + DIGEST_LENGTH

    def _writes(self, session: Session) -> bool:  # noqa: C901
        """A stretch of writes of one unit; whether there was one."""
        framer, sender, tasks = self._framer, self._sender, session.tasks
        out, view, pos, buffer, at, end = self._out, self._view, self._used, framer.buffer, framer.position, framer.end
        (lun,) = _LUN(buffer, at)
        unit = _plain_unit(session, lun)
        if unit is None or not session.parameters.immediate_data or not _writes_plainly(unit):
            return False
        writev, shift, low, capacity = unit.vectored.writev, unit.shift, unit.block_size - 1, unit.blocks << unit.shift
        first = exp = session.exp_cmd_sn
        stat_sn = sender.stat_sn
        if exp > _FAR or stat_sn > _FAR:
            return False
        last = COMMAND_WINDOW - len(tasks) + session.immediate_tasks - 1
        lift = shift - _LENGTH_AT
        head_digest, data_digest = sender.header_digest, sender.data_digest
        digests = head_digest or data_digest
        head = BHS_LENGTH + head_digest * DIGEST_LENGTH
        around = head + data_digest * DIGEST_LENGTH
        limit = LANE_BUFFER - head
        room = min(framer.max_data, session.parameters.first_burst, unit.max_transfer << shift)
        incoming = framer.view
        datas: list[memoryview] = []
        begin = stop = 0
        try:
            while end - at >= around:
                kind, lengths, to, itt, size, cmd_sn, opcode, lba, count = _COMMAND(buffer, at)
                if opcode != _WRITE10_PLAIN:
                    if opcode != _WRITE16_PLAIN:
                        break
                    lba, count = _wide(buffer, at)
                offset = lba << shift
                if (
                    kind | _SIMPLE != _WRITE
                    or lengths != size  # no AHS, all of the data
                    or to != lun
                    or cmd_sn != exp
                    or count << lift != size  # which is not, in the end, if there is a group number or a control byte
                    or size & low
                    or not 0 < size <= room
                    or offset + size > capacity
                    or end - at < around + size
                    or (tasks and itt in tasks)
                ):
                    break
                if pos > limit:
                    self._full = True
                    break
                if offset != stop or len(datas) >= LANE_RUN:
                    if datas:
                        writev(datas, begin, stop - begin)
                        datas = []
                    begin = stop = offset
                exp += 1
                _REPLY(out, pos, _RESPONSE, 0, itt, 0, stat_sn, exp, exp + last)
                stat_sn += 1
                if digests:
                    framer.check(at, size)
                    if head_digest:
                        out[pos + BHS_LENGTH : pos + head] = digest(view[pos : pos + BHS_LENGTH])
                pos += head
                datas.append(incoming[at + head : at + head + size])
                stop += size
                at += around + size
            if datas:
                writev(datas, begin, stop - begin)
        except (OSError, PeerError):
            return False
        framer.position = at
        self._used = pos
        sender.stat_sn = stat_sn
        session.exp_cmd_sn = exp
        session.commands += exp - first
        return exp != first


def _wide(buffer: bytearray, at: int) -> tuple[int, int]:
    """LBA and length of a READ(16) or WRITE(16), as the shorter CDBs have them: one number with group number and control."""
    lba, count, group, control = _CDB16(buffer, at + _CDB16_AT)
    return lba, count << _LENGTH_AT | control | group << 31


def _plain_read(framer: Framer, at: int, head: int, session: Session, unit: LogicalUnit) -> tuple[int, int, int] | None:
    """Tag, offset and bytes of the read at `at`, if it is plain but for its size."""
    if framer.end - at < head or session.exp_cmd_sn > _FAR:
        return None
    kind, lengths, _, itt, size, cmd_sn, opcode, lba, count = _COMMAND(framer.buffer, at)
    if opcode == _READ16_PLAIN:
        lba, count = _wide(framer.buffer, at)
    elif opcode != _READ10_PLAIN:
        return None
    offset = lba << unit.shift
    if (
        kind | _SIMPLE != _READ
        or lengths
        or cmd_sn != session.exp_cmd_sn
        or count << unit.shift != size << _LENGTH_AT  # as above: also not, if there is a group number or a control byte
        or size & unit.block_size - 1
        or not 0 < size <= unit.max_transfer << unit.shift
        or offset + size > unit.blocks << unit.shift
        or itt in session.tasks
    ):
        return None
    return itt, offset, size


def _parts(size: int, most: int, burst: int) -> list[tuple[int, int, bool]]:
    """Offset and length of each Data-In, and whether it ends a burst (RFC 7143 13.13)."""
    parts = []
    offset, left = 0, burst
    while offset < size:
        length = min(most, left, size - offset)
        left -= length
        last = not left or offset + length == size
        parts.append((offset, length, last))
        left = left or burst
        offset += length
    return parts


def _plain_unit(session: Session, lun: int) -> LogicalUnit | None:
    """The unit, if nothing but the command itself can keep this initiator from its blocks."""
    target = session.target
    if target is None:
        return None
    unit = target.device.unit_at(lun.to_bytes(8, "big"))
    if unit is None or not unit.plain or session.nexus not in unit.attentions.quiet:
        return None
    return unit


def _writes_plainly(unit: LogicalUnit) -> bool:
    """Whether a write may be done, and is over when the store took it."""
    return not unit.read_only and not unit.mode.software_write_protect and unit.mode.write_cache


_Stretch = Callable[[FastLane, "Session"], bool]
_STRETCHES: Final[dict[int, _Stretch]] = {
    _READ10: FastLane._reads,
    _READ16: FastLane._reads,
    _WRITE10: FastLane._writes,
    _WRITE16: FastLane._writes,
}
