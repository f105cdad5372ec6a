"""Everything that goes out on a connection: numbered, digested, padded and queued as buffers, so that one sendmsg takes all of it.

Payloads are queued as they are, never copied.
"""

from __future__ import annotations

from typing import Final

from labemu_iscsi.framing import digest
from labemu_iscsi.limits import LOGIN_RECEIVE_DATA
from labemu_iscsi.pdu import FINAL, NO_LUN, NO_TAG, PADDING, Buffer, DataIn, Opcode, ScsiResponse
from labemu_iscsi.session import MASK, Session
from labemu_iscsi.task import READ, WRITE, Task
from labemu_scsi.command import Response

_BIDIRECTIONAL: Final = READ | WRITE
_OVERFLOW: Final = 0x04
_UNDERFLOW: Final = 0x02
_STATUS: Final = 0x01
_DATA_IN = DataIn.layout.pack
_RESPONSE = ScsiResponse.layout.pack


class Sender:
    """A connection's output.

    `stat_sn` is the next status number; `pending` counts the bytes that wait.
    """

    def __init__(self) -> None:
        self.stat_sn = 0
        self.max_data = LOGIN_RECEIVE_DATA  # the peer's MaxRecvDataSegmentLength
        self.header_digest = False
        self.data_digest = False
        self.pending = 0
        self._buffers: list[Buffer] = []

    def take(self) -> list[Buffer]:
        """All that waits; it is the caller's then."""
        buffers, self._buffers = self._buffers, []
        self.pending = 0
        return buffers

    def put(self, header: bytes, data: Buffer = b"") -> None:
        """Queue a PDU."""
        buffers = self._buffers
        buffers.append(header)
        size = len(data)
        self.pending += len(header) + size
        if self.header_digest:
            buffers.append(digest(header))
        if size:
            buffers.append(data)
            padding = PADDING[size & 3]
            if padding:
                buffers.append(padding)
            if self.data_digest:
                buffers.append(digest(data, padding))

    def put_whole(self, pdus: memoryview) -> None:
        """Queue PDUs that are numbered and digested already."""
        self._buffers.append(pdus)
        self.pending += len(pdus)

    def next_stat_sn(self) -> int:
        """Take a status number."""
        number = self.stat_sn
        self.stat_sn = (number + 1) & MASK
        return number

    def respond(self, session: Session, task: Task, response: Response) -> None:
        """Data-in and status of a command."""
        status, data, sense, wanted = response
        flags, expected = task.flags, task.expected
        if flags & _BIDIRECTIONAL == _BIDIRECTIONAL:
            self._bidirectional(session, task, response)
            return
        size = len(data)
        actual = (expected if wanted is None else wanted) if flags & WRITE else size
        residual = 0
        residual_flag = 0
        if actual != expected:  # RFC 7143 11.4.5
            residual = abs(actual - expected)
            residual_flag = _OVERFLOW if actual > expected else _UNDERFLOW
        if size and flags & READ:
            if size > expected:
                data = memoryview(data)[:expected]
                size = expected
            if status == 0 and size and size <= self.max_data:
                stat_sn = self.stat_sn
                self.stat_sn = (stat_sn + 1) & MASK
                header = _DATA_IN(
                    Opcode.DATA_IN,
                    FINAL | _STATUS | residual_flag,
                    0,
                    size,
                    NO_LUN,
                    task.itt,
                    NO_TAG,
                    stat_sn,
                    session.exp_cmd_sn,
                    session.max_cmd_sn,
                    0,
                    0,
                    residual,
                )
                self.put(header, data)
                return
            task.data_sn = self._data_in(session, task, memoryview(data))
        segment = len(sense).to_bytes(2, "big") + sense if sense else b""
        header = _RESPONSE(
            Opcode.SCSI_RESPONSE,
            FINAL | residual_flag,
            0,
            status,
            len(segment),
            NO_LUN,
            task.itt,
            0,
            self.next_stat_sn(),
            session.exp_cmd_sn,
            session.max_cmd_sn,
            task.data_sn if flags & READ else task.r2t_sn,
            0,
            residual,
        )
        self.put(header, segment)

    def _bidirectional(self, session: Session, task: Task, response: Response) -> None:
        """Both ways: a residual for each (RFC 7143 11.4.5)."""
        status, data, sense, wanted = response
        written, moved = task.expected if wanted is None else wanted, len(data)
        out_flag = _OVERFLOW if written > task.expected else _UNDERFLOW if written < task.expected else 0
        in_flag = _OVERFLOW if moved > task.expected_read else _UNDERFLOW if moved < task.expected_read else 0
        count = self._data_in(session, task, memoryview(data)[: task.expected_read])
        segment = len(sense).to_bytes(2, "big") + sense if sense else b""
        header = _RESPONSE(
            Opcode.SCSI_RESPONSE,
            FINAL | out_flag | in_flag << 2,  # the bidirectional bits stand two places to the left
            0,
            status,
            len(segment),
            NO_LUN,
            task.itt,
            0,
            self.next_stat_sn(),
            session.exp_cmd_sn,
            session.max_cmd_sn,
            count + task.r2t_sn,
            abs(moved - task.expected_read),
            abs(written - task.expected),
        )
        self.put(header, segment)

    def _data_in(self, session: Session, task: Task, data: memoryview) -> int:
        """Data in PDUs that the peer takes, in bursts; how many there were. The status follows in a response of its own."""
        burst_left = session.parameters.max_burst
        offset = data_sn = 0
        size = len(data)
        while offset < size:
            part = data[offset : offset + min(self.max_data, burst_left)]
            burst_left -= len(part)
            end = offset + len(part)
            last = end == size or not burst_left
            header = _DATA_IN(
                Opcode.DATA_IN,
                FINAL if last else 0,
                0,
                len(part),
                NO_LUN,
                task.itt,
                NO_TAG,
                0,
                session.exp_cmd_sn,
                session.max_cmd_sn,
                data_sn,
                offset,
                0,
            )
            self.put(header, part)
            if last:
                burst_left = session.parameters.max_burst
            offset = end
            data_sn += 1
        return data_sn
