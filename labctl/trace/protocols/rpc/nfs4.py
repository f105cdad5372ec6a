"""NFSv4 (RFC 7530, RFC 8881, RFC 7862): COMPOUNDs, an operation at a time."""

from __future__ import annotations

from typing import Any, Final

from labctl.trace.command import Protocol
from labctl.trace.limits import MAX_OPERATIONS
from labctl.trace.protocols.exchange import Exchange
from labctl.trace.protocols.rpc import nfs4_args, nfs4_results
from labctl.trace.protocols.rpc.connection import Call, RpcConnection
from labctl.trace.protocols.rpc.nfs4_args import UnknownError
from labctl.trace.protocols.rpc.nfs4_words import OPERATIONS, STABLE, STATUS
from labctl.trace.protocols.rpc.paths import Place
from labctl.trace.protocols.rpc.xdr import Reader

_FIELDS: Final = ("offset", "length", "sent", "received")
_CHILDREN: Final = frozenset(("LOOKUP", "CREATE", "OPEN"))
"""After these the current filehandle is that of the name."""


class Nfs4:
    """The program."""

    protocol = Protocol.NFS4

    def call(self, connection: RpcConnection, call: Call, reader: Reader) -> None:
        """The operations and their arguments."""
        first = call.parts[0]
        if call.procedure != 1:
            first.operation = "NULL" if not call.procedure else f"procedure {call.procedure}"
            return
        first.operation = "COMPOUND"
        shared = dict(first.details or {})
        tag = reader.text()
        shared |= {"tag": tag} if tag else {}
        shared["minor"] = reader.uint()
        count = reader.uint()
        walk = _Walk(connection)
        for number in range(min(count, MAX_OPERATIONS)):
            opcode = reader.uint()
            name = OPERATIONS.get(opcode, f"operation {opcode}")
            exchange = first if not number else connection.more(call, name)
            exchange.operation = name
            exchange.details = dict(shared)
            try:
                walk.step(exchange, reader)
            except UnknownError:
                break
            finally:
                call.state.append(walk.current or Place())
        if not count:
            first.details = shared

    def reply(self, connection: RpcConnection, call: Call, reader: Reader) -> None:
        """Their results."""
        if call.procedure != 1:
            call.parts[0].status, call.parts[0].good = "Success", True
            return
        whole = reader.uint()
        reader.skip_opaque()  # the tag
        for number in range(min(reader.uint(), len(call.parts))):
            exchange = call.parts[number]
            reader.uint()
            status = reader.uint()
            _set_status(exchange, status)
            try:
                values = nfs4_results.read(exchange.operation, status, reader)
            except UnknownError:
                break
            handle = values.pop("handle", None)
            if handle is not None:
                if number < len(call.state):  # else its arguments were cut short
                    connection.paths.name(handle, call.state[number])
                exchange.unit = connection.paths.at(handle)
            _apply(exchange, values)
            if exchange.operation == "RENAME" and not status and len(call.state) > number:
                _renamed(connection, exchange)
        if call.parts[0].operation == "COMPOUND":
            _set_status(call.parts[0], whole)


class _Walk:
    """Follows the current and the saved filehandle through a COMPOUND."""

    def __init__(self, connection: RpcConnection) -> None:
        self._connection = connection
        self.current: Place | None = None
        self._saved: Place | None = None

    def step(self, exchange: Exchange, reader: Reader) -> None:
        """Read an operation's arguments, and note what it works upon."""
        name = exchange.operation
        if name == "PUTFH":
            self.current = self._connection.paths.at(reader.opaque())
            exchange.unit = self.current
            return
        values = nfs4_args.read(name, reader)
        if name in ("PUTROOTFH", "PUTPUBFH"):
            self.current = Place(name="")
        elif name == "SAVEFH":
            self._saved = self.current
        elif name == "RESTOREFH":
            self.current = self._saved
        elif name == "LOOKUPP":
            self.current = (self.current.parent if self.current else None) or Place()
        exchange.unit = self.current
        word = values.get("name")
        if word is not None and name not in ("GETXATTR", "SETXATTR", "REMOVEXATTR"):
            folder = self._saved if name == "RENAME" else self.current
            exchange.unit = Place(b"", folder, word)
            if name in _CHILDREN:
                self.current = exchange.unit
        if name == "RENAME":
            exchange.state = self._saved, self.current
        _apply(exchange, values)


def _apply(exchange: Exchange, values: dict[str, Any]) -> None:
    for field in _FIELDS:
        if field in values:
            setattr(exchange, field, values.pop(field))
    if exchange.operation == "WRITE" and exchange.length is None:
        exchange.length = exchange.sent
    for word in ("stable", "committed"):
        if isinstance(number := values.get(word), int) and number < len(STABLE):
            values[word] = STABLE[number]
    if values:
        exchange.details.update(values)


def _set_status(exchange: Exchange, status: int) -> None:
    exchange.status = STATUS.get(status, f"nfsstat4 {status}")
    exchange.good = not status


def _renamed(connection: RpcConnection, exchange: Exchange) -> None:
    old, new = exchange.state or (None, None)
    if isinstance(old, Place) and isinstance(new, Place):
        connection.paths.moved(old, exchange.details["name"], new, exchange.details["new_name"])
