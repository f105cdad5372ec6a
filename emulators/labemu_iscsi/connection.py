"""The engine of one connection, on the target's side: bytes in, events out, buffers out. No socket, no clock.

How to drive it:
- put bytes into `receive_buffer()`, call `received(count, now)`, and handle the events in their order (or `receive_data` for both);
- answer each `Task` with `respond` and each `TaskManagement` with `respond_task_management`, now or later;
- send what `data_to_send()` gives, after every call; when `closed` is set, send the rest and close.
A task's data may be a view of the receive buffer: it holds until the next `receive_buffer()`.

Whatever the peer does, `received` raises nothing: the connection answers as RFC 7143 says, and closes if it must. `error` tells why.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from labemu_iscsi import gather
from labemu_iscsi.entry import login_request
from labemu_iscsi.errors import (
    InvalidField,
    LocalError,
    NotSupported,
    PeerError,
    RejectPdu,
    SnackRejected,
    TooManyImmediate,
)
from labemu_iscsi.events import Event, TaskManagement
from labemu_iscsi.limits import (
    BHS_LENGTH,
    COMMAND_WINDOW,
    LOGIN_TIMEOUT,
    MAX_IMMEDIATE_TASKS,
)
from labemu_iscsi.link import Link, Phase
from labemu_iscsi.node import Node
from labemu_iscsi.pdu import (
    IMMEDIATE,
    Buffer,
    DataOut,
    LoginRequest,
    Opcode,
    ScsiCommand,
    TaskManagementResponse,
)
from labemu_iscsi.requests import HANDLERS, reject
from labemu_iscsi.session import MASK, Session
from labemu_iscsi.task import WRITE, Task
from labemu_scsi.command import Response, Status
from labemu_scsi.sense import DataPhaseError

_COMMAND = ScsiCommand.layout.unpack_from
_CMD_SN = struct.Struct(">I").unpack_from
_SN_AT: Final = 24  # where CmdSN stands in every request that carries one
_HALF: Final = 1 << 31


class TargetConnection(Link):
    """A connection.

    Args:
        node: the node that it belongs to.
        peer: the initiator's address, for messages.
        portal: the address that it came in at.
        now: seconds on the driver's clock.
        wake: called when there is output, or an end, that did not come of a call to this connection.
    """

    def __init__(
        self, node: Node, *, peer: str = "", portal: str = "", now: float = 0.0, wake: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__(node, peer=peer, portal=portal, wake=wake)
        self.login_deadline = now + LOGIN_TIMEOUT

    @property
    def pending(self) -> int:
        """Bytes of output that wait."""
        return self.sender.pending

    @property
    def digests(self) -> tuple[bool, bool]:
        """Whether PDUs that go out have a header digest, and a data digest."""
        return self.sender.header_digest, self.sender.data_digest

    def receive_buffer(self) -> memoryview:
        """Where the next bytes go."""
        return self.framer.receive_buffer()

    def receive_data(self, data: Buffer, now: float = 0.0) -> list[Event]:
        """Take bytes from wherever they are; for tests and drivers without a buffer of their own.

        The events' data is copied, so it outlives further calls.
        """
        events: list[Event] = []
        view = memoryview(data)
        while view and not self.closed:
            room = self.receive_buffer()
            count = min(len(room), len(view))
            room[:count] = view[:count]
            for event in self.received(count, now):
                if isinstance(event, Task) and isinstance(event.data, memoryview):
                    event.data = bytes(event.data)
                events.append(event)
            view = view[count:]
        return events

    def received(self, count: int, now: float) -> list[Event]:
        """So many bytes are in the receive buffer; what they mean."""
        framer = self.framer
        framer.received(count)
        start = 0
        while self.phase is not Phase.CLOSED:
            start = framer.position
            try:
                found = framer.next()
                if found is None:
                    break
                self._pdu(framer.buffer, *found)
            except RejectPdu as error:
                reject(self, error, framer.buffer, start)
            except PeerError as error:
                self.close(str(error))
        events, self.events = self.events, []
        return events

    def check_deadline(self, now: float) -> None:
        """End a login that takes too long."""
        if self.phase is Phase.LOGIN and now >= self.login_deadline:
            self.close("the login took too long")

    def connection_lost(self, reason: str = "connection lost") -> None:
        """The transport is gone: the session ends (error recovery level 0)."""
        self.close(reason)

    def data_to_send(self) -> list[Buffer]:
        """Buffers in their order, for one sendmsg; the caller sends all of them."""
        return self.sender.take()

    # Receiving

    def _pdu(self, buffer: bytearray, start: int, data: memoryview) -> None:
        opcode = buffer[start] & 0x3F
        if self.session is None:
            if opcode != Opcode.LOGIN_REQUEST:  # RFC 7143 6.3: nothing else before full feature phase
                raise PeerError(f"opcode {opcode:#04x} during login")
            login_request(self, LoginRequest.unpack(buffer, start), bytes(data))
            return
        if opcode == Opcode.DATA_OUT:
            self._data_out(self.session, buffer, start, data)
            return
        if opcode == Opcode.SNACK_REQUEST:
            raise SnackRejected("SNACK at error recovery level 0")
        if opcode != Opcode.SCSI_COMMAND and opcode not in HANDLERS:
            raise NotSupported(f"opcode {opcode:#04x}")
        if buffer[start] & IMMEDIATE or self._in_sequence(buffer, start, data):
            self._dispatch(opcode, buffer, start, data)
            if self.session.held:
                self._release_held()

    def _in_sequence(self, buffer: bytearray, start: int, data: memoryview) -> bool:
        """RFC 7143 4.2.2.1: commands are taken in the order of CmdSN; early ones are held, others ignored."""
        session = self.session
        assert session is not None
        (cmd_sn,) = _CMD_SN(buffer, start + _SN_AT)
        if cmd_sn == session.exp_cmd_sn and len(session.tasks) < COMMAND_WINDOW:
            session.exp_cmd_sn = (cmd_sn + 1) & MASK
            return True
        ahead = (cmd_sn - session.exp_cmd_sn) & MASK
        room = (session.max_cmd_sn - session.exp_cmd_sn) & MASK
        if ahead > room or room >= _HALF:  # outside of the window
            return False
        if ahead:
            session.held.setdefault(cmd_sn, bytes(buffer[start : start + BHS_LENGTH]) + bytes(data))
            return False
        session.exp_cmd_sn = (cmd_sn + 1) & MASK
        return True

    def _release_held(self) -> None:
        session = self.session
        while session is not None and self.phase is Phase.FULL_FEATURE:
            pdu = session.held.pop(session.exp_cmd_sn, None)
            if pdu is None:
                return
            session.exp_cmd_sn = (session.exp_cmd_sn + 1) & MASK
            self._dispatch(pdu[0] & 0x3F, bytearray(pdu[:BHS_LENGTH]), 0, memoryview(pdu)[BHS_LENGTH:])

    def _dispatch(self, opcode: int, buffer: bytearray, start: int, data: memoryview) -> None:
        if opcode == Opcode.SCSI_COMMAND:
            self._scsi_command(buffer, start, data)
        else:
            HANDLERS[opcode](self, buffer, start, data)

    def _scsi_command(self, buffer: bytearray, start: int, data: memoryview) -> None:
        session = self.session
        assert session is not None
        first, flags, _, lun, itt, expected, _, _, cdb = _COMMAND(buffer, start)
        if session.nexus is None:
            raise NotSupported("a SCSI command in a discovery session")  # RFC 7143 4.3
        if itt in session.tasks:
            raise InvalidField("the initiator task tag is in use")
        task = Task(session.nexus, lun, itt, cdb, flags, expected)
        if first & IMMEDIATE:
            if session.immediate_tasks >= MAX_IMMEDIATE_TASKS:
                raise TooManyImmediate("too many immediate commands")
            task.immediate = True
            session.immediate_tasks += 1
        session.tasks[itt] = task
        session.commands += 1
        if not flags & WRITE or gather.begin(session, self.sender, task, data):
            self.events.append(task)

    def _data_out(self, session: Session, buffer: bytearray, start: int, data: memoryview) -> None:
        try:
            task = gather.data_out(session, self.sender, buffer, start, data)
        except DataPhaseError as error:
            failed = session.tasks[DataOut.unpack(buffer, start).itt]
            self.respond(failed, Response(Status.CHECK_CONDITION, b"", error.sense()))
            failed.aborted = True
        else:
            if task is not None:
                self.events.append(task)
        if session.waiting:
            gather.resume(session, self.sender)

    # Answering

    def respond(self, task: Task, response: Response) -> None:
        """Answer a command; one that was aborted meanwhile is not answered (RFC 7143 11.5.1)."""
        session = self.session
        if session is None:
            raise LocalError("there is no session")
        if task.aborted or self.phase is Phase.CLOSED:
            return
        session.finish(task)
        self.sender.respond(session, task, response)

    def respond_task_management(self, request: TaskManagement, response: int) -> None:
        """Answer a task management function."""
        session = self.full
        if self.phase is Phase.CLOSED:
            return
        reply = TaskManagementResponse(
            response=response,
            itt=request.itt,
            stat_sn=self.sender.next_stat_sn(),
            exp_cmd_sn=session.exp_cmd_sn,
            max_cmd_sn=session.max_cmd_sn,
        )
        self.sender.put(reply.pack())
