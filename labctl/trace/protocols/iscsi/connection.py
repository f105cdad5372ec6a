"""An iSCSI connection: its PDUs, taken for what they are, and held to the rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from labctl.trace.command import Endpoint, Message, Protocol
from labctl.trace.limits import MAX_OPEN
from labctl.trace.protocols.exchange import Book, Exchange
from labctl.trace.protocols.iscsi import wire, words
from labctl.trace.protocols.iscsi.framing import Pdu, PduFramer
from labctl.trace.protocols.iscsi.login import Login, read_keys
from labctl.trace.protocols.iscsi.sense import GOOD, STATUS, read_sense
from labctl.trace.protocols.iscsi.session import PARAMETERS, IscsiSession, Task

HALF: Final = 1 << 31
MASK: Final = (1 << 32) - 1
Sessions = dict[tuple[str, str, int], IscsiSession]
"""By initiator, target, and ISID with TSIH."""


def after(one: int, other: int) -> bool:
    """Whether a serial number is behind another (RFC 1982)."""
    return one != other and (one - other & MASK) < HALF


class IscsiConnection:
    """A connection.

    Args:
        client: the initiator's end.
        server: the target's end.
        book: takes commands that are done, and problems.
        sessions: those that further connections can join.
    """

    def __init__(self, client: Endpoint, server: Endpoint, book: Book, sessions: Sessions) -> None:
        self._book = book
        self._sessions = sessions
        self.session = IscsiSession(client, server, book)
        completed = self._completed if book.wanted else None
        self.requests = PduFramer(self._request, towards_server=True, lost=self._lost, completed=completed)
        self.responses = PduFramer(self._response, towards_server=False, lost=self._lost, completed=completed)
        self._login: Login | None = None
        self._whole = False  # from its login on, nothing was missed
        self.stat_sn = -1
        self.ahead = False
        self._pings: dict[int, Exchange] = {}
        self.last: list[Exchange | None] = [None, None]
        """The exchange of each direction's last PDU: requests, responses."""
        self._requests: dict[int, Callable[[Pdu], Exchange | None]] = {
            wire.COMMAND: self._command,
            wire.DATA_OUT: self._data_out,
            wire.NOP_OUT: self._nop_out,
            wire.TASK_REQUEST: self._task_request,
            wire.LOGIN_REQUEST: self._login_request,
            wire.TEXT_REQUEST: self._text_request,
            wire.LOGOUT_REQUEST: self._logout_request,
            wire.SNACK: self._snack,
        }
        self._responses: dict[int, Callable[[Pdu], Exchange | None]] = {
            wire.DATA_IN: self._data_in,
            wire.RESPONSE: self._scsi_response,
            wire.R2T: self._r2t,
            wire.NOP_IN: self._nop_in,
            wire.TASK_RESPONSE: self._task_response,
            wire.LOGIN_RESPONSE: self._login_response,
            wire.TEXT_RESPONSE: self._text_response,
            wire.LOGOUT_RESPONSE: self._logout_response,
            wire.ASYNC: self._async,
            wire.REJECT: self._reject,
        }

    @property
    def settled(self) -> bool:
        """Whether nothing but commands is under way, on this connection alone, and no messages are to be kept."""
        return self.session.connections == 1 and self._login is None and not self._pings and not self._book.wanted

    # --- from the framers -----------------------------------------------------------------------------------------------------------

    def _request(self, pdu: Pdu) -> Exchange | None:
        take = self._requests.get(pdu.fields[0] & 0x3F)
        if take is None:
            self._unknown(pdu, self.requests)
            return None
        exchange = self.last[0] = take(pdu)
        return exchange

    def _response(self, pdu: Pdu) -> Exchange | None:
        take = self._responses.get(pdu.fields[0] & 0x3F)
        if take is None:
            self._unknown(pdu, self.responses)
            return None
        exchange = self.last[1] = take(pdu)
        return exchange

    def _unknown(self, pdu: Pdu, framer: PduFramer) -> None:
        self._book.problem(
            f"a PDU with opcode {pdu.fields[0] & 0x3F:#04x}, which this direction does not have",
            frame=pdu.frame,
            rule="RFC 7143 11.2.1.2",
        )
        framer.lose(pdu.frame)

    def _lost(self, frame: int) -> None:
        """Bytes are missing: what depends on having seen everything is not known any more."""
        self._whole = False
        self.stat_sn = self.session.cmd_sn = -1
        for exchange in self.session.open.values():
            if isinstance(exchange, Task):
                exchange.data_sn = exchange.r2t_sn = -1
                exchange.asked = None

    def _completed(self, pdu: Pdu, exchange: Exchange | None) -> None:
        if exchange is None or exchange.id != self._book.wanted:
            return
        opcode = pdu.fields[0] & 0x3F
        self._book.messages.append(
            Message(
                time=pdu.time,
                last=pdu.last_time,
                frames=(pdu.frame, pdu.last),
                towards_server=opcode < wire.NOP_IN,
                kind=wire.KINDS[opcode],
                data=bytes(pdu.buffer[pdu.at : pdu.at + pdu.size]),
                missing=pdu.missing if pdu.whole else pdu.size - len(pdu.buffer),
            )
        )

    # --- sequence numbers -----------------------------------------------------------------------------------------------------------

    def _check_request(self, pdu: Pdu, *, sequenced: bool = True) -> None:
        """CmdSN and ExpStatSN (RFC 7143 4.2.2)."""
        fields = pdu.fields
        if sequenced:
            number, session = fields[8], self.session
            if session.connections == 1 and session.cmd_sn >= 0 and number != session.cmd_sn:
                self._rule(pdu, f"CmdSN {number} instead of {session.cmd_sn}", "RFC 7143 4.2.2.1")
            if session.max_cmd_sn >= 0 and not fields[0] & 0x40 and after(number, session.max_cmd_sn):
                self._rule(pdu, f"CmdSN {number} is beyond MaxCmdSN {session.max_cmd_sn}", "RFC 7143 4.2.2.1")
            session.cmd_sn = number if fields[0] & 0x40 else number + 1 & MASK
        self._check_acknowledged(pdu, None)

    def _check_acknowledged(self, pdu: Pdu, command: int | None) -> None:
        """Said once: libiscsi counts an R2T's StatSN, which is not used up, and does so with each."""
        number = pdu.fields[9]
        if self.stat_sn >= 0 and after(number, self.stat_sn) and not self.ahead:
            self.ahead = True
            said = f"ExpStatSN {number}, but StatSN {self.stat_sn} was not sent yet (said once)"
            self._rule(pdu, said, "RFC 7143 4.2.2.2", command)

    def _check_status(self, pdu: Pdu, *, used: bool = True) -> None:
        """StatSN, ExpCmdSN and MaxCmdSN of a response; `used`: it has a StatSN of its own."""
        fields = pdu.fields
        number = fields[8]
        if self.stat_sn >= 0 and number != self.stat_sn:
            self._rule(pdu, f"StatSN {number} instead of {self.stat_sn}", "RFC 7143 4.2.2.2")
            self.stat_sn = number
        if used:
            self.stat_sn = number + 1 & MASK
        highest = fields[10]
        # 4.2.2.1: a MaxCmdSN below ExpCmdSN - 1 is to be ignored, and so is one that goes back.
        if not after(fields[9] - 1 & MASK, highest) and (
            self.session.max_cmd_sn < 0 or after(highest, self.session.max_cmd_sn)
        ):
            self.session.max_cmd_sn = highest

    def _rule(self, pdu: Pdu, message: str, rule: str, command: int | None = None) -> None:
        self._book.problem(message, frame=pdu.frame, command=command, rule=rule)

    # --- SCSI -----------------------------------------------------------------------------------------------------------------------

    def _command(self, pdu: Pdu) -> Exchange:
        fields, session = pdu.fields, self.session
        task = Task(self._book.next(), session, fields[6], pdu.time, pdu.frame, len(session.open))
        at = pdu.at
        task.cdb = bytes(pdu.buffer[at + 32 : at + 48])
        task.flags, task.unit, task.expected = fields[1], fields[5], fields[7]
        task.sent = fields[4] & 0xFFFFFF
        if fields[4] >> 24:
            task.cdb += _extended_cdb(bytes(pdu.buffer[at + 48 : at + 48 + (fields[4] >> 22 & 0x3FC)]))
        if not self._whole and session.cmd_sn < 0:
            task.data_sn = 0
        self._check_request(pdu)
        if task.sent > task.expected:
            self._rule(
                pdu, f"{task.sent} bytes of immediate data, {task.expected} announced", "RFC 7143 11.3.4", task.id
            )
        if task.sent and task.cdb[0] in PARAMETERS and pdu.whole:
            task.parameters = pdu.data()
        session.add(task, fields[6], pdu.frame)
        return task

    def _data_out(self, pdu: Pdu) -> Exchange | None:
        fields = pdu.fields
        task = self.session.open.get(fields[6])
        length = fields[4] & 0xFFFFFF
        if not isinstance(task, Task):
            if self._whole:
                self._rule(pdu, f"Data-Out for task {fields[6]:#x}, which is not under way", "RFC 7143 11.7")
            return None
        task.sent += length
        if task.cdb[0] in PARAMETERS and pdu.whole:
            task.parameters += pdu.data()
        if fields[7] != wire.NO_TAG and task.asked is not None:
            self._answer(pdu, task, length)
        self._check_acknowledged(pdu, task.id)
        return task

    def _answer(self, pdu: Pdu, task: Task, length: int) -> None:
        """Data-Out that an R2T asked for: its place and its number (RFC 7143 11.7.2, 11.7.5)."""
        fields = pdu.fields
        asked = task.asked.get(fields[7]) if task.asked is not None else None
        if asked is None:
            self._rule(
                pdu, f"Data-Out with target transfer tag {fields[7]:#x}, which no R2T has", "RFC 7143 11.7.1", task.id
            )
            return
        if fields[11] != asked[2]:
            self._rule(pdu, f"DataSN {fields[11]} instead of {asked[2]}", "RFC 7143 11.7.5", task.id)
        if fields[12] < asked[0] or fields[12] + length > asked[0] + asked[1]:
            span = f"{fields[12]}+{length}"
            self._rule(pdu, f"Data-Out {span} is outside of its R2T {asked[0]}+{asked[1]}", "RFC 7143 11.7.1", task.id)
        asked[2] = fields[11] + 1
        if fields[1] & wire.FINAL and task.asked is not None:
            del task.asked[fields[7]]

    def _r2t(self, pdu: Pdu) -> Exchange | None:
        fields = pdu.fields
        task = self.session.open.get(fields[6])
        self._check_status(pdu, used=False)
        if not isinstance(task, Task):
            if self._whole:
                self._rule(pdu, f"R2T for task {fields[6]:#x}, which is not under way", "RFC 7143 11.8")
            return None
        task.round_trips += 1
        if task.r2t_sn >= 0 and fields[11] != task.r2t_sn:
            self._rule(pdu, f"R2TSN {fields[11]} instead of {task.r2t_sn}", "RFC 7143 11.8.2", task.id)
        if task.r2t_sn >= 0:
            task.r2t_sn = fields[11] + 1
            if task.asked is None:
                task.asked = {}
            if len(task.asked) < MAX_OPEN:
                task.asked[fields[7]] = [fields[12], fields[13], 0, fields[12]]
        if fields[12] + fields[13] > task.expected:
            span = f"{fields[12]}+{fields[13]}"
            self._rule(pdu, f"R2T for {span}, but the command has {task.expected} bytes", "RFC 7143 11.8.4", task.id)
        return task

    def _data_in(self, pdu: Pdu) -> Exchange | None:
        fields = pdu.fields
        tag = fields[6]
        task = self.session.open.get(tag)
        status = fields[1] & 1
        if status:
            self._check_status(pdu)
        if not isinstance(task, Task):
            if self._whole:
                self._rule(pdu, f"Data-In for task {tag:#x}, which is not under way", "RFC 7143 11.7")
            return None
        length = fields[4] & 0xFFFFFF
        task.received += length
        if task.data_sn >= 0:
            if fields[11] != task.data_sn:
                self._rule(pdu, f"DataSN {fields[11]} instead of {task.data_sn}", "RFC 7143 11.7.5", task.id)
            task.data_sn = fields[11] + 1
        if fields[12] + length > task.expected:
            span = f"{fields[12]}+{length}"
            self._rule(pdu, f"Data-In {span}, but the command has {task.expected} bytes", "RFC 7143 11.7.5", task.id)
        if task.cdb[0] in PARAMETERS and pdu.whole:
            task.parameters += pdu.data()
        if status:
            self._end_task(pdu, task, fields[3])
        return task

    def _scsi_response(self, pdu: Pdu) -> Exchange | None:
        fields = pdu.fields
        task = self.session.open.get(fields[6])
        self._check_status(pdu)
        if not isinstance(task, Task):
            if self._whole:
                self._rule(pdu, f"response for task {fields[6]:#x}, which is not under way", "RFC 7143 11.4")
            return None
        if fields[2]:
            task.details = {"response": words.RESPONSES.get(fields[2], f"response {fields[2]:#04x}")}
        if fields[4] & 0xFFFFFF:
            data = pdu.data()
            size = int.from_bytes(data[:2], "big")  # 11.4.7.1
            task.sense = read_sense(data[2 : 2 + size])
        self._end_task(pdu, task, fields[3] if not fields[2] else -1)
        return task

    def _end_task(self, pdu: Pdu, task: Task, status: int) -> None:
        fields = pdu.fields
        if fields[1] & 6:  # 11.4.5: overflow, underflow
            task.residual = fields[13] if fields[1] & 2 else -fields[13]
        task.status = STATUS.get(status, f"status {status:#04x}") if status >= 0 else "Target failure"
        task.good = status in GOOD
        if task.parameters:
            self.session.learn_capacity(task)
        self._end(pdu, task)

    def _end(self, pdu: Pdu, exchange: Exchange) -> None:
        exchange.end, exchange.last = pdu.last_time, pdu.last
        self.session.open.pop(exchange.tag, None)
        self._book.done.append(exchange)

    # --- the rest -------------------------------------------------------------------------------------------------------------------

    def _begin(self, pdu: Pdu, operation: str, *, sequenced: bool = True, **details: object) -> Exchange:
        session = self.session
        exchange = Exchange(
            self._book.next(), Protocol.ISCSI, operation, session, pdu.fields[6], pdu.time, pdu.frame, len(session.open)
        )
        exchange.sent = pdu.fields[4] & 0xFFFFFF
        exchange.details = details
        exchange.last = pdu.last
        self._check_request(pdu, sequenced=sequenced)
        session.add(exchange, pdu.fields[6], pdu.frame)
        return exchange

    def _answered(self, pdu: Pdu, what: str, status: str, good: bool, **details: object) -> Exchange | None:
        self._check_status(pdu)
        exchange = self.session.open.get(pdu.fields[6])
        if exchange is None or isinstance(exchange, Task):
            if self._whole:
                self._rule(pdu, f"{what} for task {pdu.fields[6]:#x}, which is not under way", "RFC 7143 4.2.2.2")
            return None
        exchange.received += pdu.fields[4] & 0xFFFFFF
        exchange.status, exchange.good = status, good
        exchange.details = {**(exchange.details or {}), **details}
        self._end(pdu, exchange)
        return exchange

    def _nop_out(self, pdu: Pdu) -> Exchange | None:
        if pdu.fields[6] != wire.NO_TAG:
            return self._begin(pdu, "NOP-OUT")
        self._check_request(pdu)
        ping = self._pings.pop(pdu.fields[7], None)  # 11.18.2: the answer to a ping of the target's
        if ping is not None:
            ping.end, ping.last, ping.status, ping.good = pdu.last_time, pdu.last, "Success", True
            self._book.done.append(ping)
        return ping

    def _nop_in(self, pdu: Pdu) -> Exchange | None:
        if pdu.fields[6] != wire.NO_TAG:
            return self._answered(pdu, "NOP-In", "Success", True)
        self._check_status(pdu, used=False)
        if pdu.fields[7] == wire.NO_TAG or len(self._pings) >= MAX_OPEN:
            return None
        ping = Exchange(
            self._book.next(), Protocol.ISCSI, "NOP-IN", self.session, pdu.fields[7], pdu.time, pdu.frame, 0
        )
        ping.details = {"from": "target"}
        self._pings[pdu.fields[7]] = ping
        return ping

    def _task_request(self, pdu: Pdu) -> Exchange:
        fields = pdu.fields
        function = words.TASK_FUNCTIONS.get(fields[1] & 0x7F, f"task management function {fields[1] & 0x7F}")
        exchange = self._begin(pdu, function)
        if fields[7] != wire.NO_TAG:
            exchange.details = {"referenced_tag": fields[7]}
        exchange.unit = fields[5]
        return exchange

    def _task_response(self, pdu: Pdu) -> Exchange | None:
        code = pdu.fields[2]
        return self._answered(
            pdu, "task management response", words.TASK_RESPONSES.get(code, f"response {code}"), code in (0, 7)
        )

    def _login_request(self, pdu: Pdu) -> Exchange:
        if self._login is None:
            self._login = Login()
            self._whole = self.requests.synchronised
            self.stat_sn = -1
        exchange = self._begin(pdu, "LOGIN", sequenced=False)
        exchange.details = self._login.request(pdu.fields, pdu.data())
        self._name(self._login)
        self.session.cmd_sn = pdu.fields[8]
        return exchange

    def _name(self, login: Login) -> None:
        self.session.initiator = login.keys.get("InitiatorName", self.session.initiator)
        kind = "discovery" if login.keys.get("SessionType") == "Discovery" else ""
        self.session.target = login.keys.get("TargetName", self.session.target or kind)

    def _login_response(self, pdu: Pdu) -> Exchange | None:
        fields = pdu.fields
        login = self._login or Login()
        details = login.response(fields, pdu.data())
        status = fields[11] >> 16
        if fields[11] >> 24 == 0:
            self.stat_sn = fields[8]
        text = words.LOGIN_STATUS.get(status, f"status {status:#06x}")
        exchange = self._answered(pdu, "login response", text, status == 0, **details)
        if login.complete:
            self.requests.header_digest = self.responses.header_digest = 4 if login.digest("HeaderDigest") else 0
            self.requests.data_digest = self.responses.data_digest = 4 if login.digest("DataDigest") else 0
            self._join(login)
        return exchange

    def _join(self, login: Login) -> None:
        """The login is over: this is a connection of a session that there is, or of a new one (RFC 7143 6.3.1)."""
        key = (self.session.initiator, self.session.target, login.isid << 16 | login.tsih)
        known = self._sessions.get(key)
        if known is not None and login.joins:
            self.session = known
            known.connections += 1
        else:
            if len(self._sessions) >= MAX_OPEN:
                del self._sessions[next(iter(self._sessions))]
            self._sessions[key] = self.session
        self._login = None

    def _text_request(self, pdu: Pdu) -> Exchange:
        return self._begin(pdu, "TEXT", request=read_keys(pdu.data()))

    def _text_response(self, pdu: Pdu) -> Exchange | None:
        return self._answered(pdu, "text response", "Success", True, response=read_keys(pdu.data()))

    def _logout_request(self, pdu: Pdu) -> Exchange:
        reason = pdu.fields[1] & 0x7F
        return self._begin(pdu, "LOGOUT", reason=words.LOGOUT_REASONS.get(reason, f"reason {reason}"))

    def _logout_response(self, pdu: Pdu) -> Exchange | None:
        code = pdu.fields[2]
        return self._answered(pdu, "logout response", words.LOGOUT_RESPONSES.get(code, f"response {code}"), code == 0)

    def _snack(self, pdu: Pdu) -> Exchange | None:
        fields = pdu.fields
        task = self.session.open.get(fields[6])
        if not isinstance(task, Task):
            return None
        kind = words.SNACKS[fields[1] & 3]
        task.details = {**(task.details or {}), "snack": f"{kind} {fields[12]}+{fields[13]}"}
        task.data_sn = task.r2t_sn = -1  # what is sent again has numbers that were used
        return task

    def _async(self, pdu: Pdu) -> Exchange:
        fields = pdu.fields
        self._check_status(pdu)
        event = fields[11] >> 24
        exchange = Exchange(
            self._book.next(), Protocol.ISCSI, "ASYNC MESSAGE", self.session, fields[6], pdu.time, pdu.frame, 0
        )
        exchange.status, exchange.good = words.ASYNC_EVENTS.get(event, f"event {event}"), True
        exchange.end, exchange.last = pdu.last_time, pdu.last
        exchange.details = {"from": "target", "event": event}
        self._book.done.append(exchange)
        return exchange

    def _reject(self, pdu: Pdu) -> Exchange | None:
        fields = pdu.fields
        self._check_status(pdu)
        reason = words.REJECTS.get(fields[2], f"reason {fields[2]:#04x}")
        header = pdu.data()[: wire.BHS]
        exchange: Any = None
        if len(header) == wire.BHS:
            rejected = wire.HEAD.unpack(header)
            exchange = self.session.open.get(rejected[6])
            # 7.3: a command that is rejected ends with the reject, unless a response follows; data that is rejected does not end it.
            if exchange is not None and rejected[0] & 0x3F not in (wire.DATA_OUT, wire.SNACK):
                exchange.status = f"Reject: {reason}"
                self._end(pdu, exchange)
        self._rule(pdu, f"the target rejects a PDU: {reason}", "RFC 7143 11.17.1", exchange.id if exchange else None)
        return exchange  # type: ignore[no-any-return]

    def repeated(self, count: int, *, towards_server: bool) -> None:
        """So many segments were seen again: those of the direction's last PDU."""
        last = self.last[0 if towards_server else 1]
        if last is not None:
            last.retransmissions += count

    def expire(self, before: int) -> None:
        """Give up what began before a time."""
        self.session.expire(before)
        for tag in [tag for tag, ping in self._pings.items() if ping.start < before]:
            self._book.done.append(self._pings.pop(tag))


def _extended_cdb(segments: bytes) -> bytes:
    """The rest of a CDB of more than 16 bytes (RFC 7143 11.2.2.3)."""
    at = 0
    while at + 4 <= len(segments):
        size = int.from_bytes(segments[at : at + 2], "big")
        if segments[at + 2] & 0x3F == 1:
            return segments[at + 4 : at + 3 + size]
        at += 3 + size + 3 & ~3
    return b""
