"""A sender that keeps what it sent until the initiator acknowledges it: error recovery level 1 (RFC 7143 7.1.4.2, 11.16).

Status is acknowledged by ExpStatSN; data-in and R2Ts by their command's status, or earlier by a DataACK SNACK, which the A bit asks for at
the end of each burst. What is kept is bounded; of what had to go, a SNACK is rejected, and the initiator falls back on the next
class of recovery.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Final

from labemu_iscsi.errors import InvalidDataAck, ProtocolError, SnackRejected
from labemu_iscsi.limits import RETAINED_DATA, RETAINED_PDUS
from labemu_iscsi.pdu import NO_TAG, Buffer, Opcode, SnackRequest
from labemu_iscsi.sender import Sender
from labemu_iscsi.session import MASK, Session
from labemu_iscsi.task import Task
from labemu_scsi.command import Response

_WORD: Final = struct.Struct(">I")
_ACKNOWLEDGE: Final = 0x40  # RFC 7143 11.7.2
_STATUS: Final = 0x01
_FINAL: Final = 0x80
_HALF: Final = 1 << 31


@dataclass
class _Sequence:
    """Data-In and R2Ts of one task, by DataSN and R2TSN, which count together (RFC 7143 4.2.2.3)."""

    pdus: dict[int, tuple[bytes, Buffer]] = field(default_factory=dict)
    status: int | None = None  # the StatSN that ends it
    lost: bool = False  # some had to go


class RetainingSender(Sender):
    """See the module; takes the place of a plain sender at the end of the login.

    Args:
        sender: the one whose place it takes.
    """

    def __init__(self, sender: Sender) -> None:
        super().__init__()
        self.__dict__.update(sender.__dict__)
        self._statuses: dict[int, tuple[bytes, Buffer]] = {}
        self._sequences: dict[int, _Sequence] = {}
        self._acknowledgements: dict[int, tuple[int, int]] = {}  # by TTT: task tag, DataSN behind the last
        self._kept = 0
        self._next_ttt = 1
        self._lun = bytes(8)

    @property
    def retained(self) -> tuple[int, int]:
        """How many statuses and how many bytes of data are kept."""
        return len(self._statuses), self._kept

    def respond(self, session: Session, task: Task, response: Response) -> None:
        """Data-in and status of a command."""
        self._lun = task.lun
        super().respond(session, task, response)

    def put(self, header: bytes, data: Buffer = b"") -> None:
        """Queue a PDU, and keep it."""
        opcode = header[0]
        if opcode == Opcode.DATA_IN:
            header = self._keep_data(header, data)
        elif opcode == Opcode.R2T:
            self._sequence(header, b"")
        elif opcode != Opcode.NOP_IN or header[16:20] != b"\xff\xff\xff\xff":
            self._keep_status(header, data)  # RFC 7143 11.19: a ping of ours has no StatSN of its own
        super().put(header, data)

    def _keep_status(self, header: bytes, data: Buffer) -> None:
        (stat_sn,) = _WORD.unpack_from(header, 24)
        self._statuses[stat_sn] = (header, data)
        if header[0] == Opcode.SCSI_RESPONSE:
            sequence = self._sequences.get(_WORD.unpack_from(header, 16)[0])
            if sequence is not None:
                sequence.status = stat_sn
        while len(self._statuses) > RETAINED_PDUS:
            self._forget(next(iter(self._statuses)))

    def _keep_data(self, header: bytes, data: Buffer) -> bytes:
        if header[1] & _STATUS:
            self._sequence(header, data)
            self._keep_status(header, data)
            (itt,) = _WORD.unpack_from(header, 16)
            self._sequences[itt].status = _WORD.unpack_from(header, 24)[0]
            return header
        if header[1] & _FINAL:
            ttt = self._next_ttt
            self._next_ttt = ttt % 0xFFFFFFFE + 1
            (itt,), (data_sn,) = _WORD.unpack_from(header, 16), _WORD.unpack_from(header, 36)
            self._acknowledgements[ttt] = (itt, data_sn + 1)
            while len(self._acknowledgements) > RETAINED_PDUS:
                del self._acknowledgements[next(iter(self._acknowledgements))]
            flags = bytes((header[0], header[1] | _ACKNOWLEDGE))
            header = flags + header[2:8] + self._lun + header[16:20] + _WORD.pack(ttt) + header[24:]
        self._sequence(header, data)
        return header

    def _sequence(self, header: bytes, data: Buffer) -> None:
        (itt,) = _WORD.unpack_from(header, 16)
        (number,) = _WORD.unpack_from(header, 36)
        sequence = self._sequences.get(itt)
        if sequence is None or sequence.status is not None:  # a tag that is used again is another task
            self.abandon(itt)
            sequence = self._sequences[itt] = _Sequence()
        sequence.pdus[number] = (header, data)
        self._kept += len(header) + len(data)
        while self._kept > RETAINED_DATA:
            victim = next((each for each in self._sequences.values() if each.pdus), None)
            if victim is None:
                return
            self._drop_data(victim, MASK)
            victim.lost = True

    def _drop_data(self, sequence: _Sequence, below: int) -> None:
        for number in [number for number in sequence.pdus if number < below]:
            header, data = sequence.pdus.pop(number)
            self._kept -= len(header) + len(data)

    def _forget(self, stat_sn: int) -> None:
        header, _ = self._statuses.pop(stat_sn)
        (itt,) = _WORD.unpack_from(header, 16)
        sequence = self._sequences.get(itt)
        if sequence is not None and sequence.status == stat_sn:
            self._drop_data(sequence, MASK)
            del self._sequences[itt]

    def abandon(self, itt: int) -> None:
        """A task was aborted: its data is not asked for again."""
        sequence = self._sequences.pop(itt, None)
        if sequence is not None:
            self._drop_data(sequence, MASK)

    def acknowledge(self, exp_stat_sn: int) -> None:
        """The initiator has all status before this number (RFC 7143 4.2.2.2)."""
        if (self.stat_sn - exp_stat_sn) & MASK >= _HALF:  # more than was ever sent
            return
        for stat_sn in [each for each in self._statuses if 0 < (exp_stat_sn - each) & MASK < _HALF]:
            self._forget(stat_sn)

    def snack(self, session: Session, request: SnackRequest) -> None:
        """RFC 7143 11.16.

        Raises:
            SnackRejected: what is asked for is gone, or never was.
            InvalidDataAck: an acknowledgement that was not asked for.
            ProtocolError: a kind of SNACK that is not in the standard.
        """
        kind = request.flags & 0x0F
        if kind == 0:
            self._resend_data(session, request)
        elif kind == 1:
            self._resend_status(session, request)
        elif kind == 2:
            self._data_ack(request)
        elif kind == 3:  # R-Data: data cut anew; the status falls back on the next class of recovery
            raise SnackRejected("R-Data SNACK")
        else:
            raise ProtocolError(f"SNACK of type {kind}")

    def _resend_data(self, session: Session, request: SnackRequest) -> None:
        sequence = self._sequences.get(request.itt)
        if sequence is None or sequence.lost or request.ttt != NO_TAG:
            raise SnackRejected("nothing is kept of that task")
        first, count = request.begin_run, request.run_length
        wanted = [number for number in sequence.pdus if number >= first and (not count or number < first + count)]
        if count and len(wanted) != count:  # RFC 7143 11.16: a run that was acknowledged already, or not sent yet
            raise SnackRejected("a run that is not kept")
        for number in sorted(wanted):
            self._again(session, *sequence.pdus[number])

    def _resend_status(self, session: Session, request: SnackRequest) -> None:
        first, count = request.begin_run, request.run_length
        sent = (self.stat_sn - first) & MASK
        if sent >= _HALF or count > sent:
            raise SnackRejected("status that was never sent")
        numbers = [(first + index) & MASK for index in range(min(count or sent, RETAINED_PDUS + 1))]
        if any(number not in self._statuses for number in numbers):
            raise SnackRejected("status that is not kept")
        for number in numbers:
            self._again(session, *self._statuses[number])

    def _data_ack(self, request: SnackRequest) -> None:
        """RFC 7143 11.16.3: BegRun is the next number that the initiator expects."""
        itt, behind = self._acknowledgements.get(request.ttt, (NO_TAG, 0))
        if request.begin_run > behind or request.run_length or not behind:
            raise InvalidDataAck("a data acknowledgement that was not asked for")
        del self._acknowledgements[request.ttt]
        sequence = self._sequences.get(itt)
        if sequence is not None:
            self._drop_data(sequence, request.begin_run)

    def _again(self, session: Session, header: bytes, data: Buffer) -> None:
        """RFC 7143 7.2.1: the same PDU, but for ExpCmdSN and MaxCmdSN; an R2T tells the StatSN of now."""
        stat_sn = _WORD.pack(self.stat_sn) if header[0] == Opcode.R2T else header[24:28]
        numbers = stat_sn + _WORD.pack(session.exp_cmd_sn) + _WORD.pack(session.max_cmd_sn)
        super().put(header[:24] + numbers + header[36:], data)
