"""RPC calls and replies of a connection, paired by XID, and handed to the program that they are of."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final, Protocol

from labctl.trace import command as model
from labctl.trace.command import Command, Endpoint, Message, Owner
from labctl.trace.limits import MAX_OPEN
from labctl.trace.naming import Names
from labctl.trace.protocols.exchange import Book, Exchange, Scope
from labctl.trace.protocols.rpc.paths import Paths, Place
from labctl.trace.protocols.rpc.records import Record, RecordFramer
from labctl.trace.protocols.rpc.xdr import Reader, ShortError

ACCEPTED: Final = (
    "Success",
    "PROG_UNAVAIL",
    "PROG_MISMATCH",
    "PROC_UNAVAIL",
    "GARBAGE_ARGS",
    "SYSTEM_ERR",
)  # RFC 5531 9
REJECTED: Final = ("RPC_MISMATCH", "AUTH_ERROR")
RPC_VERSION: Final = 2
_CALL: Final = struct.Struct(
    ">6I"
)  # behind XID and type: RPC version, program, version, procedure, credentials' flavor and length


class Call:
    """A call under way.

    Args:
        program: what it is for, or None where nobody knows that program.
        version: the program's.
        procedure: its number.
        parts: its exchanges: one, or of a COMPOUND one for each operation.
        details: what the program notes until the reply.
    """

    __slots__ = ("parts", "procedure", "program", "state", "version")

    def __init__(self, program: Program | None, version: int, procedure: int, parts: list[Exchange]) -> None:
        self.program = program
        self.version = version
        self.procedure = procedure
        self.parts = parts
        self.state: list[Place] = []


class Program(Protocol):
    """What is spoken over RPC."""

    protocol: model.Protocol

    def call(self, connection: RpcConnection, call: Call, reader: Reader) -> None:
        """Read a call's arguments into its exchange, which is there; a COMPOUND makes further ones by `connection.more`."""

    def reply(self, connection: RpcConnection, call: Call, reader: Reader) -> None:
        """Read a reply's results into the call's exchanges."""


class RpcConnection(Scope):
    """A connection, or all datagrams between two addresses.

    Args:
        client: who asks.
        server: who answers.
        book: takes commands that are done, and problems.
        programs: by number and version.
        paths: of the server.
    """

    def __init__(
        self,
        client: Endpoint,
        server: Endpoint,
        book: Book,
        programs: Mapping[tuple[int, int], Program],
        paths: Paths,
    ) -> None:
        super().__init__(client, server)
        self.book = book
        self.paths = paths
        self.requests = RecordFramer(self.record, self._lost)
        self.responses = RecordFramer(self.record, self._lost)
        self.last: list[Exchange | None] = [None, None]
        """Of each direction's last record."""
        self._repeated = [0, 0]  # segments of the records that are not whole yet
        self.programs = programs
        self.open: dict[int, Call] = {}
        """By XID."""
        self._owners: dict[str, Owner] = {}
        self._owned: Names | None = None
        self._credentials: tuple[int, bytes] = 0, b""  # of the last call, and what they say
        self._who: dict[str, object] = {}
        self._name = Scope.name(self)

    def record(self, record: Record) -> None:
        """Take a record of either direction; one without sense is left out."""
        reader = Reader(record.buffer, record.at, record.end)
        try:
            xid, kind = reader.uint(), reader.uint()
            if kind == 0:
                self._call(xid, record, reader)
            elif kind == 1:
                self._reply(xid, record, reader)
        except ShortError:
            self.book.problem("an RPC message that ends too early", frame=record.frame, rule="RFC 5531 9")

    def _lost(self, frame: int) -> None:
        """Bytes are missing: calls without a reply are given up when they are old."""

    def name(self) -> str:
        """The connection's ends."""
        return self._name

    def repeated(self, count: int, *, towards_server: bool) -> None:
        """So many segments were seen again: of the record that is coming in, or of the last one."""
        side = 0 if towards_server else 1
        last = self.last[side]
        if (self.requests if towards_server else self.responses).busy or last is None:
            self._repeated[side] += count
        else:
            last.retransmissions += count

    @property
    def settled(self) -> bool:
        """Whether no segments wait to be counted, and no messages are to be kept."""
        return self._repeated == [0, 0] and not self.book.wanted

    def who(self, flavor: int, credential: bytes) -> dict[str, object]:
        """Who the client says it is."""
        if (flavor, credential) != self._credentials:
            self._credentials, self._who = (flavor, credential), _credentials(flavor, credential)
        return self._who

    def more(self, call: Call, operation: str) -> Exchange:
        """A further operation of a COMPOUND."""
        first = call.parts[0]
        exchange = Exchange(
            self.book.next(), first.protocol, operation, self, first.tag, first.start, first.first, first.depth
        )
        exchange.last, exchange.part = first.last, len(call.parts)
        call.parts.append(exchange)
        return exchange

    def _call(self, xid: int, record: Record, reader: Reader) -> None:
        at = reader.at
        if reader.end - at < _CALL.size:
            raise ShortError
        version_of_rpc, number, version, procedure, flavor, size = _CALL.unpack_from(reader.buffer, at)
        if version_of_rpc != RPC_VERSION:
            return
        reader.at = at + _CALL.size
        body = reader.fixed(size)
        who = self.who(flavor, body)
        reader.uint()
        reader.skip_opaque()  # the verifier
        program = self.programs.get((number, version))
        protocol = model.Protocol.RPC if program is None else program.protocol
        exchange = Exchange(
            self.book.next(),
            protocol,
            f"{number}.{version}/{procedure}",
            self,
            xid,
            record.time,
            record.frame,
            len(self.open),
        )
        exchange.last = record.last
        exchange.details = dict(who)
        call = Call(program, version, procedure, [exchange])
        self.last[0] = exchange
        exchange.retransmissions += self._repeated[0]
        self._repeated[0] = 0
        old = self.open.pop(xid, None)
        if old is not None:  # sent again, or the XID is used again: RFC 5531 9 lets a client do both
            exchange.retransmissions += 1
            self._give_up(old)
        elif len(self.open) >= MAX_OPEN:
            self._give_up(self.open.pop(next(iter(self.open))))
        self.open[xid] = call
        if program is not None:
            try:
                program.call(self, call, reader)
            except ShortError:
                self._cut(record, exchange)
        self._keep(record, call, towards_server=True)

    def _reply(self, xid: int, record: Record, reader: Reader) -> None:
        call = self.open.pop(xid, None)
        if call is None:
            return  # the capture began between call and reply, or this one was answered before
        status = reader.uint()
        for exchange in call.parts:
            exchange.end, exchange.last = record.last_time, record.last
        self.last[1] = call.parts[0]
        call.parts[0].retransmissions += self._repeated[1]
        self._repeated[1] = 0
        if status:
            reason = reader.uint() if reader.left >= 4 else len(REJECTED)
            call.parts[0].status = REJECTED[reason] if reason < len(REJECTED) else "MSG_DENIED"
        else:
            reader.uint()
            reader.skip_opaque()  # the verifier
            accepted = reader.uint()
            if accepted or call.program is None:
                call.parts[0].status = ACCEPTED[accepted] if accepted < len(ACCEPTED) else f"status {accepted}"
                call.parts[0].good = accepted == 0
            else:
                try:
                    call.program.reply(self, call, reader)
                except ShortError:
                    self._cut(record, call.parts[0])
        self._keep(record, call, towards_server=False)
        self.book.done.extend(call.parts)

    def _cut(self, record: Record, exchange: Exchange) -> None:
        if record.missing or record.end - record.at < record.size:
            exchange.details = {**(exchange.details or {}), "cut": True}
        else:
            self.book.problem(
                f"{exchange.operation}: its XDR ends too early",
                frame=record.frame,
                command=exchange.id,
                rule="RFC 4506",
            )

    def _keep(self, record: Record, call: Call, *, towards_server: bool) -> None:
        wanted = self.book.wanted
        if wanted and any(part.id == wanted for part in call.parts):
            self.book.messages.append(
                Message(
                    time=record.time,
                    last=record.last_time,
                    frames=(record.frame, record.last),
                    towards_server=towards_server,
                    kind="CALL" if towards_server else "REPLY",
                    data=bytes(record.buffer[record.at : record.end]),
                    missing=record.missing + record.size - (record.end - record.at),
                )
            )

    def _give_up(self, call: Call) -> None:
        self.book.done.extend(call.parts)

    def expire(self, before: int) -> None:
        """Give up what began before a time."""
        while self.open:
            key = next(iter(self.open))
            if self.open[key].parts[0].start >= before:
                break
            self._give_up(self.open.pop(key))

    def command(self, exchange: Exchange, names: Names) -> Command:
        """The finished command."""
        place = exchange.unit
        path = place.path() if isinstance(place, Place) else "/"
        return Command(
            id=exchange.id,
            protocol=exchange.protocol,
            operation=exchange.operation,
            client=self.client,
            server=self.server,
            start=exchange.start,
            end=exchange.end,
            frames=(exchange.first, exchange.last),
            session=self._name,
            tag=exchange.tag,
            part=exchange.part,
            target=exchange.target or (path or place.words() if isinstance(place, Place) else ""),
            offset=exchange.offset,
            length=exchange.length,
            sent=exchange.sent,
            received=exchange.received,
            status=exchange.status,
            good=exchange.good,
            depth=exchange.depth,
            retransmissions=exchange.retransmissions,
            owner=self.owner(path, names),
            details=dict(exchange.details or {}),
        )

    def owner(self, path: str, names: Names) -> Owner:
        """Whose a file is; asked once, as long as the names stay the same."""
        if self._owned is not names:
            self._owned = names
            self._owners.clear()
        owner = self._owners.get(path)
        if owner is None:
            if len(self._owners) >= MAX_OPEN:
                self._owners.clear()
            owner = self._owners[path] = names.of_path(self.client.address, self.server.address, path)
        return owner


def _credentials(flavor: int, body: bytes) -> dict[str, object]:
    """AUTH_SYS (RFC 5531 appendix A): who the client says it is."""
    if flavor != 1:
        return {}
    reader = Reader(body, 0, len(body))
    try:
        reader.uint()
        reader.skip_opaque()
        return {"uid": reader.uint(), "gid": reader.uint()}
    except ShortError:
        return {}
