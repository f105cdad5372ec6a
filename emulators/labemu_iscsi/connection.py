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
from enum import Enum
from typing import Final

from labemu_iscsi import gather
from labemu_iscsi.errors import (
    InvalidField,
    LocalError,
    LoginFailed,
    NotSupported,
    PeerError,
    ProtocolError,
    RejectPdu,
    SnackRejected,
    TooManyImmediate,
)
from labemu_iscsi.events import Event, LoggedIn, TaskManagement
from labemu_iscsi.framing import Framer
from labemu_iscsi.limits import (
    BHS_LENGTH,
    COMMAND_WINDOW,
    FULL_BUFFER,
    LOGIN_TIMEOUT,
    MAX_IMMEDIATE_TASKS,
    MAX_RECEIVE_DATA,
)
from labemu_iscsi.login import Login
from labemu_iscsi.node import Node
from labemu_iscsi.pdu import (
    IMMEDIATE,
    NO_TAG,
    Buffer,
    DataOut,
    LoginRequest,
    LoginResponse,
    LogoutRequest,
    LogoutResponse,
    NopIn,
    NopOut,
    Opcode,
    Reject,
    ScsiCommand,
    TaskManagementRequest,
    TaskManagementResponse,
    TextRequest,
    TextResponse,
)
from labemu_iscsi.sender import Sender
from labemu_iscsi.session import MASK, Parameters, Session
from labemu_iscsi.task import WRITE, Task
from labemu_iscsi.text import TextExchange
from labemu_scsi.command import Response, Status
from labemu_scsi.sense import DataPhaseError

_COMMAND = ScsiCommand.layout.unpack_from
_CMD_SN = struct.Struct(">I").unpack_from
_SN_AT: Final = 24  # where CmdSN stands in every request that carries one
_HALF: Final = 1 << 31


class Phase(Enum):
    """RFC 7143 8.1, as far as a target's engine sees it."""

    LOGIN = "login"
    FULL_FEATURE = "full feature"
    CLOSED = "closed"


class TargetConnection:
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
        self.peer = peer
        self.portal = portal
        self.phase = Phase.LOGIN
        self.error: str = ""
        self.session: Session | None = None
        self.login_deadline = now + LOGIN_TIMEOUT
        self._node = node
        self._wake = wake
        self._framer = Framer()
        self._sender = Sender()
        self._login: Login | None = Login(node)
        self._cid = 0
        self._text = TextExchange(node)
        self._events: list[Event] = []

    @property
    def closed(self) -> bool:
        """Whether it ends once the output is sent."""
        return self.phase is Phase.CLOSED

    @property
    def pending(self) -> int:
        """Bytes of output that wait."""
        return self._sender.pending

    def receive_buffer(self) -> memoryview:
        """Where the next bytes go."""
        return self._framer.receive_buffer()

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
        framer = self._framer
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
                self._reject(error, framer.buffer, start)
            except PeerError as error:
                self._close(str(error))
        events, self._events = self._events, []
        return events

    def check_deadline(self, now: float) -> None:
        """End a login that takes too long."""
        if self.phase is Phase.LOGIN and now >= self.login_deadline:
            self._close("the login took too long")

    def connection_lost(self, reason: str = "connection lost") -> None:
        """The transport is gone: the session ends (error recovery level 0)."""
        self._close(reason)

    def abort(self, reason: str) -> None:
        """End it from outside."""
        self._close(reason)
        self._wake()

    def data_to_send(self) -> list[Buffer]:
        """Buffers in their order, for one sendmsg; the caller sends all of them."""
        return self._sender.take()

    def _close(self, reason: str) -> None:
        if self.phase is Phase.CLOSED:
            return
        self.phase = Phase.CLOSED
        self.error = reason
        session = self.session
        if session is not None:
            session.connections.remove(self)
            if not session.connections:
                self._node.close_session(session)

    # Receiving

    def _pdu(self, buffer: bytearray, start: int, data: memoryview) -> None:
        opcode = buffer[start] & 0x3F
        if self.session is None:
            if opcode != Opcode.LOGIN_REQUEST:  # RFC 7143 6.3: nothing else before full feature phase
                raise PeerError(f"opcode {opcode:#04x} during login")
            self._login_request(LoginRequest.unpack(buffer, start), bytes(data))
            return
        if opcode == Opcode.DATA_OUT:
            self._data_out(self.session, buffer, start, data)
            return
        if opcode == Opcode.SNACK_REQUEST:
            raise SnackRejected("SNACK at error recovery level 0")
        if opcode not in _HANDLERS:
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
            _HANDLERS[opcode](self, buffer, start, data)

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
        if not flags & WRITE or gather.begin(session, self._sender, task, data):
            self._events.append(task)

    def _data_out(self, session: Session, buffer: bytearray, start: int, data: memoryview) -> None:
        try:
            task = gather.data_out(session, self._sender, buffer, start, data)
        except DataPhaseError as error:
            failed = session.tasks[DataOut.unpack(buffer, start).itt]
            self.respond(failed, Response(Status.CHECK_CONDITION, b"", error.sense()))
            failed.aborted = True
        else:
            if task is not None:
                self._events.append(task)
        if session.waiting:
            gather.resume(session, self._sender)

    def _login_request(self, request: LoginRequest, data: bytes) -> None:
        login = self._login
        assert login is not None
        if not login.begun:
            self._cid = request.cid
            self._sender.stat_sn = request.exp_stat_sn
        try:
            reply = login.handle(request, data)
            result = login.result
            if result is not None:
                self.session = self._node.open_session(
                    self,
                    initiator=result.initiator,
                    isid=result.isid,
                    target=result.target,
                    parameters=Parameters.of(result.negotiator),
                    cmd_sn=result.cmd_sn,
                )
        except LoginFailed as error:
            self._login_response(request, flags=request.flags & 0x0C, status=error.status)
            raise
        self._login_response(request, flags=reply.flags, text=reply.text)
        if result is not None:
            negotiator = result.negotiator
            self._framer.grow(max_data=MAX_RECEIVE_DATA, capacity=FULL_BUFFER)
            for end in (self._framer, self._sender):
                end.header_digest = negotiator.results["HeaderDigest"] == "CRC32C"
                end.data_digest = negotiator.results["DataDigest"] == "CRC32C"
            self._sender.max_data = negotiator.number("MaxRecvDataSegmentLength")
            self._text.negotiator = negotiator
            self._login = None
            self.phase = Phase.FULL_FEATURE
            assert self.session is not None
            self._events.append(LoggedIn(session=self.session))

    def _login_response(
        self, request: LoginRequest, *, flags: int, text: bytes = b"", status: tuple[int, int] = (0, 0)
    ) -> None:
        session = self.session
        exp_cmd_sn = request.cmd_sn if session is None else session.exp_cmd_sn
        response = LoginResponse(
            flags=flags,
            lun=request.isid + (request.tsih if session is None else session.tsih).to_bytes(2, "big"),
            itt=request.itt,
            stat_sn=self._sender.next_stat_sn(),
            exp_cmd_sn=exp_cmd_sn,
            max_cmd_sn=exp_cmd_sn if session is None else session.max_cmd_sn,
            status_class=status[0],
            status_detail=status[1],
        )
        self._sender.put(response.pack(len(text)), text)

    def _nop_out(self, buffer: bytearray, start: int, data: memoryview) -> None:
        """RFC 7143 11.18: a ping is echoed; one without a tag only tells ExpStatSN."""
        request = NopOut.unpack(buffer, start)
        if request.itt == NO_TAG:
            return
        session = self._full()
        pong = bytes(data[: self._sender.max_data])
        reply = NopIn(
            lun=request.lun,
            itt=request.itt,
            stat_sn=self._sender.next_stat_sn(),
            exp_cmd_sn=session.exp_cmd_sn,
            max_cmd_sn=session.max_cmd_sn,
        )
        self._sender.put(reply.pack(len(pong)), pong)

    def _text_request(self, buffer: bytearray, start: int, data: memoryview) -> None:
        request = TextRequest.unpack(buffer, start)
        session = self._full()
        reply = self._text.handle(request, bytes(data), session, self._sender.max_data)
        self._sender.max_data = self._text.peer_max_data(self._sender.max_data)
        response = TextResponse(
            flags=reply.flags,
            lun=request.lun,
            itt=request.itt,
            ttt=reply.ttt,
            stat_sn=self._sender.next_stat_sn(),
            exp_cmd_sn=session.exp_cmd_sn,
            max_cmd_sn=session.max_cmd_sn,
        )
        self._sender.put(response.pack(len(reply.text)), reply.text)

    def _task_management(self, buffer: bytearray, start: int, data: memoryview) -> None:
        request = TaskManagementRequest.unpack(buffer, start)
        if self._full().nexus is None:
            raise NotSupported("task management in a discovery session")
        self._events.append(
            TaskManagement(
                function=request.flags & 0x7F,
                lun=request.lun,
                itt=request.itt,
                referenced_tag=request.referenced_tag,
            )
        )

    def _logout(self, buffer: bytearray, start: int, data: memoryview) -> None:
        """RFC 7143 11.14: close the session or the connection; recovery needs a higher error recovery level."""
        request = LogoutRequest.unpack(buffer, start)
        session = self._full()
        reason = request.flags & 0x7F
        if reason > 2:
            raise InvalidField(f"logout reason {reason}")
        ours = reason == 0 or request.cid == self._cid
        code = 2 if reason == 2 else 0 if ours else 1  # 11.15.1: no recovery; closed; CID not found
        reply = LogoutResponse(
            response=code,
            itt=request.itt,
            stat_sn=self._sender.next_stat_sn(),
            exp_cmd_sn=session.exp_cmd_sn,
            max_cmd_sn=session.max_cmd_sn,
        )
        self._sender.put(reply.pack())
        if code == 0:
            self._close("logout")

    def _login_again(self, buffer: bytearray, start: int, data: memoryview) -> None:
        raise ProtocolError("a login request in full feature phase")

    def _full(self) -> Session:
        if self.session is None:
            raise LocalError("there is no session")
        return self.session

    def _reject(self, error: RejectPdu, buffer: bytearray, start: int) -> None:
        """RFC 7143 11.17: the header of what is rejected goes back."""
        session = self.session
        if session is None:
            self._close(str(error))
            return
        header = bytes(buffer[start : start + BHS_LENGTH])
        reject = Reject(
            reason=error.reason,
            stat_sn=self._sender.next_stat_sn(),
            exp_cmd_sn=session.exp_cmd_sn,
            max_cmd_sn=session.max_cmd_sn,
        )
        self._sender.put(reject.pack(BHS_LENGTH), header)
        if error.fatal:
            self._close(str(error))

    # Answering

    def respond(self, task: Task, response: Response) -> None:
        """Answer a command; one that was aborted meanwhile is not answered (RFC 7143 11.5.1)."""
        session = self.session
        if session is None:
            raise LocalError("there is no session")
        if task.aborted or self.phase is Phase.CLOSED:
            return
        session.finish(task)
        self._sender.respond(session, task, response)

    def respond_task_management(self, request: TaskManagement, response: int) -> None:
        """Answer a task management function."""
        session = self._full()
        if self.phase is Phase.CLOSED:
            return
        reply = TaskManagementResponse(
            response=response,
            itt=request.itt,
            stat_sn=self._sender.next_stat_sn(),
            exp_cmd_sn=session.exp_cmd_sn,
            max_cmd_sn=session.max_cmd_sn,
        )
        self._sender.put(reply.pack())


_Handler = Callable[[TargetConnection, bytearray, int, memoryview], None]
_HANDLERS: Final[dict[int, _Handler]] = {
    Opcode.SCSI_COMMAND: TargetConnection._scsi_command,
    Opcode.NOP_OUT: TargetConnection._nop_out,
    Opcode.TASK_MANAGEMENT_REQUEST: TargetConnection._task_management,
    Opcode.TEXT_REQUEST: TargetConnection._text_request,
    Opcode.LOGOUT_REQUEST: TargetConnection._logout,
    Opcode.LOGIN_REQUEST: TargetConnection._login_again,
}
"""What a target takes in full feature phase, besides Data-Out and SNACK, which carry no CmdSN."""
