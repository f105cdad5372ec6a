"""The engine of one connection, on the target's side: bytes in, events out, buffers out. No socket, no clock.

How to drive it:
- put bytes into `receive_buffer()`, call `received(count, now)`, and handle the events in their order (or `receive_data` for both);
- answer each `Task` with `respond` and each `TaskManagement` with `respond_task_management`, now or later;
- send what `data_to_send()` gives, after every call; when `closed` is set, send the rest and close.
- with `fast`, send all of it before `receive_buffer()`; while `more` is set, send all of it and call `proceed()`.
A task's data may be a view of the receive buffer: it holds until the next `receive_buffer()`.

Whatever the peer does, `received` raises nothing: the connection answers as RFC 7143 says, and closes if it must. `error` tells why.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from labemu_iscsi import additional, gather, multiple, patchwork, ping
from labemu_iscsi.entry import login_request
from labemu_iscsi.errors import (
    DataDigestError,
    HeaderDigestError,
    InvalidField,
    LocalError,
    NotSupported,
    PeerError,
    RejectPdu,
    SnackRejected,
    TooManyImmediate,
)
from labemu_iscsi.events import Event, TaskManagement
from labemu_iscsi.fastlane import FastLane
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
        fast: do plain reads and writes at once, without an event. The driver then sends all output before it receives again,
            and while `more` is set it sends all output and calls `proceed`.
    """

    def __init__(
        self,
        node: Node,
        *,
        peer: str = "",
        portal: str = "",
        now: float = 0.0,
        wake: Callable[[], None] = lambda: None,
        fast: bool = False,
    ) -> None:
        super().__init__(node, peer=peer, portal=portal, wake=wake)
        self.more = False
        self._fast = fast
        self._lane: FastLane | None = None
        self.login_deadline = now + LOGIN_TIMEOUT
        self.heard = now

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
        """Take bytes from wherever they are; for tests and drivers without a buffer of their own, and without `fast`.

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
        self.framer.received(count)
        self.heard = now
        return self.proceed()

    def proceed(self) -> list[Event]:
        """Go on with what was received, when `more` is set and all output is sent."""
        framer, lane = self.framer, self._lane
        if lane is not None:
            lane.rewind()
        elif self._fast and self.phase is Phase.FULL_FEATURE and self.recovery is None:
            lane = self._lane = FastLane(framer, self.sender)
        self.more = False
        while self.phase is not Phase.CLOSED:
            if lane is not None and not self.events and self.session is not None and lane.run(self.session):
                self.more = True
                break
            start = framer.position
            try:
                found = framer.next()
                if found is None:
                    break
                self._pdu(framer.buffer, *found)
            except RejectPdu as error:
                self._reject(error, framer.buffer, start)
            except HeaderDigestError as error:
                if self.recovery is None or not self.recovery.forgive_header():
                    self.close(str(error))
            except PeerError as error:
                self.close(str(error))
        events, self.events = self.events, []
        return events

    def take_events(self) -> list[Event]:
        """Events that came of another connection of the session; look for them when woken. Tasks that waited for room go on."""
        if self.session is not None and self.session.waiting:
            gather.resume(self.session, self.sender, self)
        events, self.events = self.events, []
        return events

    def check_deadline(self, now: float) -> None:
        """End a login that takes too long, ping an initiator that is silent, and end it if it stays so; call it now and then.

        With error recovery it also asks again for data that does not come.
        """
        if self.phase is Phase.LOGIN and now >= self.login_deadline:
            self.close("the login took too long")
        elif self.phase is Phase.FULL_FEATURE:
            if self.recovery is not None:
                self._check_data(now)
            ping.check(self, now)

    def _check_data(self, now: float) -> None:
        assert self.recovery is not None
        mine = [task for task in self.full.tasks.values() if task.carrier in (None, self)]
        for task in self.recovery.check(mine, now):
            self._fail(task, DataPhaseError())

    def connection_lost(self, reason: str = "connection lost") -> None:
        """The transport is gone, and with it the connection's tasks; at error recovery level 0 the session ends."""
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
        if self.recovery is not None:
            self.recovery.acknowledge(buffer, start)
        if opcode == Opcode.DATA_OUT:
            self._data_out(self.session, buffer, start, data)
            return
        if opcode == Opcode.SNACK_REQUEST:
            if self.recovery is None:
                raise SnackRejected("SNACK at error recovery level 0")
            self.recovery.snack(buffer, start)
            return
        if opcode != Opcode.SCSI_COMMAND and opcode not in HANDLERS:
            raise NotSupported(f"opcode {opcode:#04x}")
        if buffer[start] & IMMEDIATE or self._in_sequence(buffer, start, data):
            self._dispatch(opcode, buffer, start, data)
            if self.session.held:
                self.release_held()

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
            header_end = start + BHS_LENGTH + buffer[start + 4] * 4
            session.held.setdefault(cmd_sn, (self, bytes(buffer[start:header_end]) + bytes(data)))
            return False
        session.exp_cmd_sn = (cmd_sn + 1) & MASK
        return True

    def release_held(self) -> None:
        """Commands that came early and now have their turn, each on the connection that it came on."""
        session = self.session
        while session is not None and self.phase is Phase.FULL_FEATURE:
            holder, pdu = session.held.pop(session.exp_cmd_sn, (None, None))
            if pdu is None:
                return
            session.exp_cmd_sn = (session.exp_cmd_sn + 1) & MASK
            if holder is not None:
                holder.take_held(pdu)
                if holder is not self:
                    holder.wake()

    def take_held(self, pdu: bytes) -> None:
        """A command that came early on this connection has its turn."""
        header_end = BHS_LENGTH + pdu[4] * 4
        header = bytearray(pdu[:header_end])
        try:
            self._dispatch(pdu[0] & 0x3F, header, 0, memoryview(pdu)[header_end:])
        except RejectPdu as error:
            self._reject(error, header, 0)

    def _reject(self, error: RejectPdu, buffer: bytearray, start: int) -> None:
        reject(self, error, buffer, start)
        if self.recovery is not None and isinstance(error, DataDigestError):
            self._data_out(self.full, buffer, start, None)

    def _dispatch(self, opcode: int, buffer: bytearray, start: int, data: memoryview) -> None:
        if opcode == Opcode.SCSI_COMMAND:
            self._scsi_command(buffer, start, data)
        else:
            HANDLERS[opcode](self, buffer, start, data)

    def _scsi_command(self, buffer: bytearray, start: int, data: memoryview) -> None:
        session = self.session
        assert session is not None
        first, flags, lengths, lun, itt, expected, _, _, cdb = _COMMAND(buffer, start)
        if session.nexus is None:
            raise NotSupported("a SCSI command in a discovery session")  # RFC 7143 4.3
        if itt in session.tasks:
            raise InvalidField("the initiator task tag is in use")
        task = Task(session.nexus, lun, itt, cdb, flags, expected)
        if lengths > 0xFFFFFF:
            additional.apply(task, buffer, start, (lengths >> 24) * 4)
        if not session.plain:
            task.carrier = self
        if first & IMMEDIATE:
            if session.immediate_tasks >= MAX_IMMEDIATE_TASKS:
                raise TooManyImmediate("too many immediate commands")
            task.immediate = True
            session.immediate_tasks += 1
        session.tasks[itt] = task
        session.commands += 1
        if not flags & WRITE or gather.begin(session, self.sender, task, data):
            self.events.append(task)

    def _data_out(self, session: Session, buffer: bytearray, start: int, data: memoryview | None) -> None:
        """Data of a command; None is data that was damaged on the way."""
        if not session.plain:
            multiple.check_allegiance(session, self, DataOut.unpack(buffer, start).itt)
        try:
            if data is None:
                task = None if self.recovery is None else self.recovery.damaged(buffer, start)
            elif session.in_order:
                task = gather.data_out(session, self.sender, buffer, start, data)
            else:
                task = patchwork.data_out(session, self.sender, buffer, start, data)
        except DataPhaseError as error:
            self._fail(session.tasks[DataOut.unpack(buffer, start).itt], error)
        else:
            if task is not None:
                self.events.append(task)
        if session.waiting:
            gather.resume(session, self.sender, self)

    def _fail(self, task: Task, error: DataPhaseError) -> None:
        self.respond(task, Response(Status.CHECK_CONDITION, b"", error.sense()))
        task.aborted = True

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
        if session.waiting:
            gather.resume(session, self.sender, self)

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
