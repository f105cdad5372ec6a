"""The RPC engine: calls are found in the table of programs and answered; a connection frames them.

Rules: nothing here knows a socket or a clock. Whoever owns a connection receives into `space()`, says so with `received()`, runs
the Jobs that come back (in threads or at once), gives their outcome to `complete()`, and sends what `data_to_send()` returns. No input
raises anything but ProtocolError, upon which the connection must be closed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from struct import Struct

from labemu_nfs.errors import ProtocolError
from labemu_nfs.limits import MAX_JOBS, MAX_UNSENT, REPLIES_TOGETHER
from labemu_nfs.rpc import message
from labemu_nfs.rpc.auth import AuthError, Credential, Credentials
from labemu_nfs.rpc.link import Link
from labemu_nfs.rpc.message import Body, Buffer, Call, RpcVersionError
from labemu_nfs.rpc.program import Caller, Hold, Job, Procedure, Program
from labemu_nfs.rpc.records import LAST, RecordReader
from labemu_nfs.rpc.replies import Entry, ReplyCache
from labemu_nfs.rpc.watch import Noted, Watch
from labemu_nfs.xdr import Decoder, XdrError

_HEAD_SIZE = message.ACCEPTED.size
_MARKED = Struct(">7I")
_MARK = Struct(">I")
_REPLY = message.REPLY.to_bytes(4, "big")
_XID_SIZE = 4
_SMALL = 512
"""Bytes up to which a body's first buffer is put behind the head rather than sent as a buffer of its own."""


class Pending:
    """A call whose Job was begun; the connection that it came on wants its outcome."""

    __slots__ = ("entry", "job", "noted", "xid")

    def __init__(self, xid: int, job: Job, entry: Entry | None) -> None:
        self.xid = xid
        self.job = job
        self.entry = entry
        self.noted: Noted | None = None

    @property
    def work(self) -> Callable[[], object]:
        """What its Job does in a thread."""
        return self.job.run if self.noted is None else self.noted.run(self.job.run)


class RpcServer:
    """What all connections share: programs, credentials, kept replies, counts.

    Args:
        programs: what is served.
        replies: the kept replies, shared with other servers of the same programs where there are any.
    """

    def __init__(self, programs: Iterable[Program], replies: ReplyCache | None = None) -> None:
        self.programs = {program.number: program for program in programs}
        self.replies = ReplyCache() if replies is None else replies
        self.credentials = Credentials()
        self.calls: dict[Procedure, int] = {}
        self.generation = 0
        """Another number after each change of what is served."""

    def replace(self, program: Program) -> None:
        """Serve a program through other procedures of the same names; their counts go on."""
        before = {(version, p.name): p for version, p in _procedures(self.programs[program.number])}
        self.programs[program.number] = program
        self.generation += 1
        for version, procedure in _procedures(program):
            count = self.calls.pop(before[version, procedure.name], 0)
            if count:
                self.calls[procedure] = self.calls.get(procedure, 0) + count

    def find(self, call: Call, transport: str) -> Procedure | bytes:
        """The procedure that is called, or the reply that says why there is none (RFC 5531 9)."""
        program = self.programs.get(call.program)
        if program is None or transport not in program.transports:
            return message.accepted(call.xid, message.PROG_UNAVAIL)
        table = program.versions.get(call.version)
        if table is None:
            return message.program_mismatch(call.xid, min(program.versions), max(program.versions))
        procedure: Procedure | None = table[call.procedure] if call.procedure < len(table) else None
        if procedure is None:
            return message.accepted(call.xid, message.PROC_UNAVAIL)
        return procedure

    def credential(self, call: Call, procedure: Procedure) -> Credential | bytes:
        """Who calls, or the reply that refuses the credential."""
        try:
            return self.credentials.get(call.credential)
        except AuthError as error:
            return message.auth_error(call.xid, message.AUTH_TOOWEAK if error.too_weak else message.AUTH_BADCRED)

    def run(self, call: Call, procedure: Procedure, caller: Caller) -> Body | Job | bytes:
        """The results of a call, a Job, or a whole reply that refuses it."""
        credential = self.credential(call, procedure)
        if isinstance(credential, bytes):
            return credential
        return self.perform(call.xid, procedure, caller, credential, Decoder(call.view, call.at))

    def perform(
        self, xid: int, procedure: Procedure, caller: Caller, credential: Credential, arguments: Decoder
    ) -> Body | Job | bytes:
        """As `run`, once it is known who calls."""
        self.calls[procedure] = self.calls.get(procedure, 0) + 1
        try:
            return procedure.handler(caller, credential, arguments)
        except XdrError:
            return message.accepted(xid, message.GARBAGE_ARGS)

    def datagram(self, data: bytes, caller: Caller) -> bytes | None:
        """Answer one message that came as a datagram; None where it deserves no answer."""
        try:
            call = Call(memoryview(data))
        except (ProtocolError, XdrError):
            return None
        except RpcVersionError as error:
            return message.rpc_mismatch(error.xid)
        procedure = self.find(call, caller.transport)
        outcome = procedure if isinstance(procedure, bytes) else self.run(call, procedure, caller)
        if isinstance(outcome, bytes):
            return outcome
        if isinstance(outcome, Job):  # no program that is served over UDP has one
            return message.accepted(call.xid, message.SYSTEM_ERR)
        return b"".join((message.accepted(call.xid), *outcome))


def _procedures(program: Program) -> list[tuple[int, Procedure]]:
    return [(version, p) for version, table in program.versions.items() for p in table if p is not None]


class _Head:
    """The head of a call that was good, but for its xid: the next call on the connection most often has the same."""

    __slots__ = ("at", "credential", "generation", "procedure", "text")

    def __init__(self, call: Call, procedure: Procedure, credential: Credential, generation: int) -> None:
        self.at = call.at
        self.text = bytes(call.view[_XID_SIZE : call.at])
        self.procedure = procedure
        self.credential = credential
        self.generation = generation


def _asleep() -> None:
    """Who owns the connection looks for output after each receive anyway."""


class RpcConnection:
    """One stream connection.

    Args:
        server: what is served.
        caller: the peer.

    Attributes:
        calls: messages that have come.
        link: to call the peer.
        wake: called when there is something to send that no receive has brought about; the owner may put something there.
        watch: notes the stages of calls; None most of the time.
    """

    __slots__ = (
        "_head",
        "_jobs",
        "_output",
        "_reader",
        "_replies",
        "_unsent",
        "caller",
        "calls",
        "link",
        "server",
        "wake",
        "watch",
    )

    def __init__(self, server: RpcServer, caller: Caller) -> None:
        self.server = server
        self.link = Link(self._call)
        self.caller = replace(caller, link=self.link)
        self.wake: Callable[[], None] = _asleep
        self.watch: Watch | None = None
        self._reader = RecordReader()
        self._head: _Head | None = None
        self._output: list[Buffer] = []
        self.calls = 0
        self._unsent = 0
        self._replies = 0
        self._jobs = 0

    @property
    def busy(self) -> bool:
        """Whether nothing should be received now: replies must be taken or Jobs completed first."""
        return self._replies >= REPLIES_TOGETHER or self._unsent >= MAX_UNSENT or self._jobs >= MAX_JOBS

    @property
    def idle(self) -> bool:
        """Whether all that came is answered."""
        return not self._jobs and not self._reader

    def space(self) -> memoryview:
        """Where to receive next, while not busy."""
        return self._reader.space()

    def received(self, size: int, now: float) -> list[Pending]:
        """`size` bytes were put into `space()`: work on what is whole.

        Returns:
            the Jobs to run.

        Raises:
            ProtocolError: the connection must be closed.
        """
        self._reader.received(size)
        return self.proceed(now)

    def receive_data(self, data: Buffer, now: float) -> list[Pending]:
        """Bytes have come, in whatever portions; as `space` and `received`, with a copy.

        What is beyond the limits waits unread: call it only while not busy, and `proceed` after replies were taken.
        """
        pending: list[Pending] = []
        view = memoryview(data)
        while view:
            space = self._reader.space()
            if not space:
                raise ProtocolError("more was received than was asked for")
            size = min(len(space), len(view))
            space[:size] = view[:size]
            pending += self.received(size, now)
            view = view[size:]
        return pending

    def proceed(self, now: float) -> list[Pending]:
        """Work on records that have come, until there are none or the connection is busy; returns and raises as `received`."""
        pending: list[Pending] = []
        watch = self.watch
        queued = 0 if watch is None else watch.now
        while not self.busy:
            record = self._reader.next()
            if record is None:
                break
            self.calls += 1
            job = self._answer(record, now) if watch is None else self._answer_noted(watch, record, queued, now)
            if job is not None:
                self._jobs += 1
                pending.append(job)
        return pending

    def _call(self, call: bytes) -> None:
        """Send a call of our own (Link)."""
        self._put([call])
        self.wake()

    def _answer(self, record: memoryview, now: float) -> Pending | None:
        head = self._head
        if head is None or record[_XID_SIZE : head.at] != head.text or head.generation != self.server.generation:
            return self._answer_new(record, now)
        procedure, at = head.procedure, head.at
        once = procedure.once
        xid: int = _MARK.unpack_from(record)[0]
        perform, arguments = self.server.perform, Decoder(record, at)
        if once and (once is True or once(record, at)):
            work = partial(perform, xid, procedure, self.caller, head.credential, arguments)
            return self._answer_once(xid, record, now, work)
        outcome = perform(xid, procedure, self.caller, head.credential, arguments)
        if isinstance(outcome, list):
            self._put_body(xid, outcome)
            return None
        return self._finish(xid, outcome, None)

    def _answer_noted(self, watch: Watch, record: memoryview, queued: int, now: float) -> Pending | None:
        """As `_answer`, and note when."""
        if record[4:8] == _REPLY:
            return self._answer(record, now)
        noted, replies = watch.call(_MARK.unpack_from(record)[0], queued), self._replies
        noted.began()
        pending = self._answer(record, now)
        if pending is not None:
            pending.noted = noted
        elif self._replies > replies:  # else its twin is under way, and both are answered then
            noted.done()
            noted.responded()
        return pending

    def _answer_new(self, record: memoryview, now: float) -> Pending | None:
        """Answer a message whose head is not that of the last call."""
        if record[4:8] == _REPLY:
            if not self.link.replied(record):
                raise ProtocolError("a reply to no call")
            return None
        try:
            call = Call(record)
        except RpcVersionError as error:
            self._put([message.rpc_mismatch(error.xid)])
            return None
        except XdrError as error:
            raise ProtocolError(str(error)) from None
        procedure = self.server.find(call, self.caller.transport)
        if isinstance(procedure, bytes):
            self._put([procedure])
            return None
        credential = self.server.credential(call, procedure)
        if not isinstance(credential, bytes):
            self._head = _Head(call, procedure, credential, self.server.generation)
        once = procedure.once
        if once and (once is True or once(call.view, call.at)):
            return self._answer_once(call.xid, record, now, partial(self.server.run, call, procedure, self.caller))
        return self._finish(call.xid, self.server.run(call, procedure, self.caller), None)

    def _answer_once(
        self, xid: int, record: memoryview, now: float, work: Callable[[], Body | Job | bytes]
    ) -> Pending | None:
        """Do what must not be done twice, unless this very call was there before: then its reply is sent again."""
        key = (self.caller.address, bytes(record))
        entry = self.server.replies.find(key)
        if entry is None:
            entry = self.server.replies.begin(key, now)
            try:
                return self._finish(xid, work(), entry)
            except ProtocolError:  # dropped before it was done: the client may ask again
                self.server.replies.forget(entry)
                raise
        if entry.reply is not None:
            self._put([entry.reply])
        elif self not in entry.waiting:
            entry.waiting.append(self)
        return None

    def _finish(self, xid: int, outcome: Body | Job | bytes, entry: Entry | None) -> Pending | None:
        if isinstance(outcome, Job):
            return Pending(xid, outcome, entry)
        if entry is None and not isinstance(outcome, bytes):
            self._put_body(xid, outcome)
            return None
        whole = outcome if isinstance(outcome, bytes) else b"".join((message.accepted(xid), *outcome))
        self._put([whole])
        if entry is not None:
            entry.reply = whole
        return None

    def complete(self, pending: Pending, error: OSError | None, now: float) -> list[RpcConnection]:
        """A Job is done.

        Args:
            pending: it.
            error: what it raised.
            now: seconds.

        Returns:
            the connections that have something to send because of it; none where `pending` has another Job to run now.
        """
        body = pending.job.finish(error)
        if isinstance(body, Job):
            pending.job = body
            return []
        return self._answered(pending, body)

    def resume(self, pending: Pending) -> Pending | list[RpcConnection]:
        """What a Hold kept waiting is done now.

        Args:
            pending: it.

        Returns:
            it again where it became a Job to run, else the connections that have something to send because of it.
        """
        assert isinstance(pending.job, Hold)
        noted = pending.noted
        if noted is not None:
            noted.began()
        try:
            outcome = pending.job.proceed()
        except XdrError:
            return self._answered(pending, message.accepted(pending.xid, message.GARBAGE_ARGS))
        if isinstance(outcome, Job):
            pending.job = outcome
            return pending
        if noted is not None:
            noted.done()
        return self._answered(pending, outcome)

    def forget(self, pending: Pending) -> None:
        """A call will never be answered. It goes on counting as under way, so that a silent server takes no more than another."""
        if pending.entry is not None:
            self.server.replies.forget(pending.entry)

    def _answered(self, pending: Pending, outcome: Body | bytes) -> list[RpcConnection]:
        self._jobs -= 1
        if pending.noted is not None:
            pending.noted.responded()
        entry = pending.entry
        if entry is None:
            if isinstance(outcome, bytes):
                self._put([outcome])
            else:
                self._put_body(pending.xid, outcome)
            return [self]
        whole = outcome if isinstance(outcome, bytes) else b"".join((message.accepted(pending.xid), *outcome))
        entry.reply = whole
        told = [self, *(other for other in entry.waiting if isinstance(other, RpcConnection))]
        entry.waiting = []
        for connection in told:
            connection._put([whole])
        return told

    def _put(self, whole: Body) -> None:
        """Send a whole message."""
        size = sum(map(len, whole))
        self._replies += 1
        self._output += (_MARK.pack(LAST | size), *whole)
        self._unsent += size

    def _put_body(self, xid: int, body: Body) -> None:
        """Send a successful reply with these results, small ones in one buffer."""
        size = _HEAD_SIZE
        for part in body:
            size += len(part)
        head = _MARKED.pack(LAST | size, xid, message.REPLY, 0, 0, 0, message.SUCCESS)
        self._unsent += size
        self._replies += 1
        if body and len(body[0]) <= _SMALL:
            self._output.append(head + body[0])
            if len(body) > 1:
                self._output += body[1:]
        else:
            self._output.append(head)
            self._output += body

    def data_to_send(self) -> list[Buffer]:
        """The replies made since the last call, in order; they count as sent, so let `proceed` wait until they really are."""
        output, self._output, self._unsent, self._replies = self._output, [], 0, 0
        return output
