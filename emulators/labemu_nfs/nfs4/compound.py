"""COMPOUND (RFC 7530 16.2, RFC 8881 16.2): operations one after the other, until one fails.

Rules: an operation is a row of a table (Op). Its handler gets the COMPOUND under way and the arguments, and returns what follows NFS4_OK in
its results, as bytes or as several buffers. It raises Nfs4Error, OSError (turned into a status) or XdrError (BADXDR), and nothing else.
One that has to wait for the disk returns a Wait: the COMPOUND is suspended and goes on when that is done. One whose store must first fetch
what it needs (AbsentError) is asked again when that is here.
Whoever changes a node calls `changed`, since the attributes of the current and the saved node are remembered.
An operation may have a quick form too, which does the usual cases straight on the message: see Quick.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from struct import Struct
from struct import error as struct_error

from labemu_nfs.nfs4.constants import ILLEGAL, LAST_OPERATION, MAX_OPERATIONS, MAX_TAG, Number
from labemu_nfs.nfs4.context import Context4
from labemu_nfs.nfs4.node import Node
from labemu_nfs.nfs4.state.model import FileId, Session
from labemu_nfs.nfs4.state.slots import Slot
from labemu_nfs.nfs4.state.stateids import Stateid
from labemu_nfs.nfs4.status import Nfs4Error, Status, status_of
from labemu_nfs.rpc.auth import Credential
from labemu_nfs.rpc.message import ACCEPTED, Body
from labemu_nfs.rpc.program import Caller, Job
from labemu_nfs.xdr import FALSE, Decoder, XdrError, opaque
from labemu_store.errors import AbsentError

_TWO = Struct(">II")
_THREE = Struct(">III")
_U32 = Struct(">I")
_SMALL = 4096
"""Bytes up to which a result's buffer is joined with its neighbours rather than sent as a buffer of its own."""

_RESERVE = 8
"""Bytes of a result that is a status alone."""

AMPLE = 1024
"""Bytes that must be left in a reply for a quick form to be tried: none but READ and READDIR, which look themselves, has more results."""

NO_LIMIT = 1 << 62


class Wait:
    """An operation waits for the disk.

    Args:
        run: what blocks; it goes to a thread, and raises OSError and nothing else.
        finish: makes the results, back in the engine, from the error or None; it may raise as a handler does.
    """

    __slots__ = ("finish", "run")

    def __init__(self, run: Callable[[], object], finish: Callable[[OSError | None], bytes | Body]) -> None:
        self.run = run
        self.finish = finish


class Replay(Exception):  # noqa: N818 # not an error: the answer is known
    """SEQUENCE has found that this very COMPOUND was answered before (RFC 8881 2.10.6.1): `body` was its whole reply."""

    def __init__(self, body: Body) -> None:
        super().__init__("a repeated request")
        self.body = body


Result = bytes | Body | Wait
Handler = Callable[["Compound", Decoder], Result]

Quick = Callable[["Compound", memoryview, int], int]
"""The usual cases of an operation, straight from the message and into the reply.

It gets where the arguments begin, puts what the handler's results would be with `put`, and returns where the next operation begins; or 0,
having done nothing, for the handler to be asked. It raises what the handler would, or struct.error where the message ends too early, and
then too has done nothing.
"""

V40, V41, V42 = 0, 1, 2
ALL = (V40, V41, V42)
FROM_41 = (V41, V42)


@dataclass(frozen=True, slots=True, eq=False)
class Op:
    """One operation.

    Args:
        number: nfs_opnum4.
        handler: see the module.
        minors: the minor versions that have it.
        sessionless: it may be the only operation of a COMPOUND without a session (RFC 8881 2.10.2.2).
        once: doing it twice for one call would be wrong; in 4.0 its reply is kept (RFC 7530 3.1.1).
        failed: what follows the status of a failure, where the error itself has nothing to add.
        quick: asked before the handler.
    """

    number: Number
    handler: Handler
    minors: tuple[int, ...] = ALL
    sessionless: bool = False
    once: bool = False
    failed: bytes = b""
    quick: Quick | None = None
    name: str = field(init=False)
    succeeded: bytes = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.number.name)
        object.__setattr__(self, "succeeded", _TWO.pack(self.number, Status.OK))


Table = Mapping[int, Op]


def tables(rows: Iterable[Op]) -> tuple[Table, Table, Table]:
    """The operations of each minor version, by number."""
    every = tuple(rows)
    by_minor = [{int(op.number): op for op in every if minor in op.minors} for minor in ALL]
    return by_minor[0], by_minor[1], by_minor[2]


class Compound:
    """One COMPOUND under way; what `state.api.Asker` wants, and more.

    Attributes:
        current, saved: the nodes of the current and saved filehandles.
        stateid, saved_stateid: the current and saved stateid (RFC 8881 16.2.3.1.2).
        session, slot: SEQUENCE's, which sets them.
        max_reply, max_cached: bytes of the reply, its RPC head included, that the session allows and that it keeps; set by SEQUENCE.
        replied: SEQUENCE's, called once with the whole reply.
        size: bytes of the request.
        count: its operations.
        index: which of them is under way, from 0.
        now: seconds on a clock that never goes back.
    """

    current: Node | None = None
    saved: Node | None = None
    stateid: Stateid | None = None
    saved_stateid: Stateid | None = None
    session: Session | None = None
    slot: Slot | None = None
    replied: Callable[[Body], None] | None = None
    max_reply = max_cached = NO_LIMIT
    index = 0
    _ample = NO_LIMIT
    _large = False

    def __init__(self, context: Context4, caller: Caller, credential: Credential, arguments: Decoder) -> None:
        """Read the head of the arguments. Raises XdrError."""
        self.context = context
        self.caller = caller
        self.credential = credential
        self.size = len(arguments.view)
        try:
            size, self.minor, self.count = _THREE.unpack_from(arguments.view, arguments.at)
        except struct_error:
            raise XdrError("the message is too short") from None
        if size:
            self.tag = arguments.string(MAX_TAG)
            self.minor, self.count = arguments.unpack(_TWO)
        else:
            self.tag = b""
            arguments.at += _THREE.size
        self._arguments = arguments
        self._table: Table = {}
        self._parts: Body = []
        self._size = ACCEPTED.size + 12 + (len(self.tag) + 3 & ~3)
        self.now = context.clock()

    # -- what handlers use ---------------------------------------------------------------------------------------------

    @property
    def node(self) -> Node:
        """The current filehandle's. Raises Nfs4Error NOFILEHANDLE."""
        if self.current is None:
            raise Nfs4Error(Status.NOFILEHANDLE)
        return self.current

    @property
    def file(self) -> FileId:
        """Names the current filehandle's file. Raises Nfs4Error NOFILEHANDLE."""
        return self.node.file

    @property
    def saved_node(self) -> Node:
        """The saved filehandle's. Raises Nfs4Error NOFILEHANDLE."""
        if self.saved is None:
            raise Nfs4Error(Status.NOFILEHANDLE)
        return self.saved

    def go_to(self, node: Node) -> None:
        """Make a node the current one; no stateid goes with it (RFC 8881 16.2.3.1.2)."""
        self.current = node
        self.stateid = None

    def changed(self) -> None:
        """Something was changed: attributes that are remembered may be wrong now."""
        if self.current is not None:
            self.current.changed()
        if self.saved is not None:
            self.saved.changed()

    def put(self, results: bytes) -> None:
        """Put the whole results of a quick form, its number and status first."""
        self._parts.append(results)
        self._size += len(results)

    def put_large(self, results: Body) -> None:
        """As `put`, for results some of which may be large; the caller has asked `room`."""
        self._parts += results
        self._size += sum(map(len, results))
        self._large = True

    def limit(self, reply: int, cached: int) -> None:
        """Set max_reply and max_cached, which SEQUENCE knows."""
        self.max_reply, self.max_cached = reply, cached
        self._ample = min(reply, cached) - AMPLE

    @property
    def room(self) -> int:
        """Bytes that the results of the operation under way may have."""
        return min(self.max_reply, self.max_cached) - self._size - _RESERVE

    def durable(self, nodes: Iterable[Node], finish: Callable[[], bytes]) -> bytes | Wait:
        """Answer a change of names or attributes once it is on stable storage (RFC 8881 3.3.13, 18.30), where the export says `sync`."""
        changed = tuple(nodes)
        self.changed()
        if not changed[0].export.sync:
            return finish()
        syncs = [node.store.sync(node.key) for node in changed]

        def run() -> None:
            for sync in syncs:
                sync()

        def finished(error: OSError | None) -> bytes:
            if error is not None:
                raise error
            return finish()

        return Wait(run, finished)

    # -- the machine ---------------------------------------------------------------------------------------------------

    def run(self, by_minor: tuple[Table, Table, Table]) -> Body | Job:
        """Work on the operations with the table of their minor version."""
        if self.minor >= len(by_minor):  # RFC 7530 16.2.4: before anything else, with no results
            return self._reply(Status.MINOR_VERS_MISMATCH)
        if not self.tag.isascii():
            try:
                self.tag.decode()
            except UnicodeDecodeError:  # RFC 7530 16.2.4
                return self._reply(Status.INVAL)
        if self.count > MAX_OPERATIONS and not self.minor:
            return self._reply(Status.RESOURCE)  # RFC 7530 16.2.4
        self._table = by_minor[self.minor]
        return self._go()

    def _go(self) -> Body | Job:
        table, arguments, counts = self._table, self._arguments, self.context.operations
        view = arguments.view
        while self.index < self.count:
            try:
                number: int = _U32.unpack_from(view, arguments.at)[0]
            except struct_error:
                return self._reply(Status.BADXDR)
            arguments.at += 4
            op = table.get(number)
            if op is None or (self.minor and not self.index and number != Number.SEQUENCE):
                refused = self._refusal(number, op)
                if refused is not None:
                    return self._fail(*refused, b"" if op is None else op.failed)
            assert op is not None  # _refusal refuses what is not there
            counts[op.name] += 1
            at = arguments.at
            try:
                end = 0
                if op.quick is not None and self._size < self._ample:
                    try:
                        end = op.quick(self, view, arguments.at)
                    except struct_error:
                        end = 0
                if not end:
                    ended = self._generally(op)
                    if ended is not None:
                        return ended
                    continue
            except Replay as replay:
                return replay.body
            except AbsentError as absent:
                return self._fetch(op, absent, at)
            except (Nfs4Error, OSError, XdrError) as error:
                return self._fail_with(op, error)
            arguments.at = end
            self.index += 1
        return self._reply(Status.OK)

    def _generally(self, op: Op) -> Body | Job | None:
        """Let the handler do it; the reply where it is the last one that is done, or what it waits for. Raises as a handler does."""
        result = op.handler(self, self._arguments)
        if isinstance(result, Wait):
            return self._suspend(op, result)
        status = self._put(op, result)
        if status:
            return self._reply(status)
        self.index += 1
        return None

    def _refusal(self, number: int, op: Op | None) -> tuple[int, Status] | None:
        """Why an operation cannot be done here at all: the number to answer with, and the status."""
        if not Number.ACCESS <= number <= LAST_OPERATION[self.minor]:
            return ILLEGAL, Status.OP_ILLEGAL  # RFC 7530 16.14, RFC 8881 18.52
        if self.minor and not self.index and number != Number.SEQUENCE:
            if op is None or not op.sessionless:
                return number, Status.OP_NOT_IN_SESSION  # RFC 8881 15.1.3.5
            if self.count > 1:
                return number, Status.NOT_ONLY_OP  # RFC 8881 15.1.3.4
        return (number, Status.NOTSUPP) if op is None else None

    def _put(self, op: Op, result: bytes | Body) -> Status:
        """Keep an operation's results, unless they make the reply larger than the session allows (RFC 8881 15.1.1.4)."""
        size = self._size + 8 + (len(result) if isinstance(result, bytes) else sum(map(len, result)))
        if size > self.max_reply or size > self.max_cached:
            status = Status.REP_TOO_BIG if size > self.max_reply else Status.REP_TOO_BIG_TO_CACHE
            self._parts.append(_TWO.pack(op.number, status))
            self.index += 1
            return status
        self._size = size
        self._parts.append(op.succeeded)
        if isinstance(result, bytes):
            if result:
                self._parts.append(result)
                self._large |= len(result) > _SMALL
        else:
            self._parts += result
            self._large = True
        return Status.OK

    def _fail_with(self, op: Op, error: Nfs4Error | OSError | XdrError) -> Body:
        if isinstance(error, Nfs4Error):
            return self._fail(op.number, error.status, error.body or op.failed)
        status = status_of(error) if isinstance(error, OSError) else Status.BADXDR
        return self._fail(op.number, status, op.failed)

    def _fail(self, number: int, status: Status, body: bytes = b"") -> Body:
        self._parts.append(_TWO.pack(number, status) + body)
        self.index += 1
        return self._reply(status)

    def _suspend(self, op: Op, wait: Wait) -> Job:
        rest = self._arguments
        if self.index + 1 < self.count:  # the buffer that they came in is used again meanwhile
            self._arguments = Decoder(memoryview(bytes(rest.view[rest.at :])))

        def finish(error: OSError | None) -> Body | Job:
            self.changed()
            try:
                status = self._put(op, wait.finish(error))
            except (Nfs4Error, OSError) as failure:
                return self._fail_with(op, failure)
            if status:
                return self._reply(status)
            self.index += 1
            return self._go()

        return Job(wait.run, finish)

    def _fetch(self, op: Op, absent: AbsentError, at: int) -> Job:
        """Have what an operation needs fetched, and ask it again; its arguments begin at `at`."""
        self._arguments = Decoder(memoryview(bytes(self._arguments.view[at - _U32.size :])))
        self.context.operations[op.name] -= 1

        def finish(error: OSError | None) -> Body | Job:
            self.changed()
            return self._go() if error is None else self._fail_with(op, error)

        return Job(absent.fetch, finish)

    def _reply(self, status: Status) -> Body:
        """COMPOUND4res: status, tag, results; small ones in one buffer."""
        tag = self.tag
        named = opaque(tag) if tag else FALSE
        head = _U32.pack(status) + named + _U32.pack(self.index)
        body: Body = self._grouped(head) if self._large else [b"".join((head, *self._parts))]
        if self.replied is not None:
            self.replied(body)
        return body

    def _grouped(self, head: bytes) -> Body:
        """The results with large buffers left alone, so that they need not be copied."""
        body: Body = []
        run: list[bytes | memoryview] = [head]
        for part in self._parts:
            if len(part) <= _SMALL:
                run.append(part)
            else:
                body += (b"".join(run), part)
                run = []
        if run:
            body.append(b"".join(run))
        return body
