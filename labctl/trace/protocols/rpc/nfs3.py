"""NFSv3 (RFC 1813)."""

from __future__ import annotations

from typing import Final

from labctl.trace.command import Protocol
from labctl.trace.protocols.exchange import Exchange
from labctl.trace.protocols.rpc.connection import Call, RpcConnection
from labctl.trace.protocols.rpc.paths import Place
from labctl.trace.protocols.rpc.xdr import Reader

PROCEDURES: Final = (
    "NULL", "GETATTR", "SETATTR", "LOOKUP", "ACCESS", "READLINK", "READ", "WRITE", "CREATE", "MKDIR", "SYMLINK", "MKNOD", "REMOVE",
    "RMDIR", "RENAME", "LINK", "READDIR", "READDIRPLUS", "FSSTAT", "FSINFO", "PATHCONF", "COMMIT",
)  # fmt: skip
STATUS: Final = {
    0: "NFS3_OK", 1: "NFS3ERR_PERM", 2: "NFS3ERR_NOENT", 5: "NFS3ERR_IO", 6: "NFS3ERR_NXIO", 13: "NFS3ERR_ACCES", 17: "NFS3ERR_EXIST",
    18: "NFS3ERR_XDEV", 19: "NFS3ERR_NODEV", 20: "NFS3ERR_NOTDIR", 21: "NFS3ERR_ISDIR", 22: "NFS3ERR_INVAL", 27: "NFS3ERR_FBIG",
    28: "NFS3ERR_NOSPC", 30: "NFS3ERR_ROFS", 31: "NFS3ERR_MLINK", 63: "NFS3ERR_NAMETOOLONG", 66: "NFS3ERR_NOTEMPTY", 69: "NFS3ERR_DQUOT",
    70: "NFS3ERR_STALE", 71: "NFS3ERR_REMOTE", 10001: "NFS3ERR_BADHANDLE", 10002: "NFS3ERR_NOT_SYNC", 10003: "NFS3ERR_BAD_COOKIE",
    10004: "NFS3ERR_NOTSUPP", 10005: "NFS3ERR_TOOSMALL", 10006: "NFS3ERR_SERVERFAULT", 10007: "NFS3ERR_BADTYPE", 10008: "NFS3ERR_JUKEBOX",
}  # fmt: skip
STABLE: Final = ("UNSTABLE", "DATA_SYNC", "FILE_SYNC")
_NAMED: Final = frozenset(("LOOKUP", "CREATE", "MKDIR", "SYMLINK", "MKNOD", "REMOVE", "RMDIR"))
_MAKING: Final = frozenset(("CREATE", "MKDIR", "SYMLINK", "MKNOD"))
_FINDING: Final = _MAKING | {"LOOKUP", "RENAME"}
_FATTR: Final = 84  # RFC 1813 2.5
_WCC: Final = 24


class Nfs3:
    """The program."""

    protocol = Protocol.NFS3

    def call(self, connection: RpcConnection, call: Call, reader: Reader) -> None:
        """Read the arguments (RFC 1813 3.3)."""
        exchange = call.parts[0]
        name = exchange.operation = (
            PROCEDURES[call.procedure] if call.procedure < len(PROCEDURES) else f"procedure {call.procedure}"
        )
        if not call.procedure or call.procedure >= len(PROCEDURES):
            return
        folder = connection.paths.at(reader.opaque())
        exchange.unit = folder
        details = exchange.details = exchange.details or {}
        if name in _NAMED:
            details["name"] = word = reader.text()
            call.state = [folder]
            exchange.unit = Place(b"", folder, word)
        elif name == "READ":
            exchange.offset, exchange.length = reader.hyper(), reader.uint()
        elif name == "WRITE":
            exchange.offset, exchange.length = reader.hyper(), reader.uint()
            stable = reader.uint()
            details["stable"] = STABLE[stable] if stable < 3 else stable
            exchange.sent = reader.uint()
        elif name == "COMMIT":
            exchange.offset, exchange.length = reader.hyper(), reader.uint()
        elif name == "RENAME":
            details["name"] = reader.text()
            other = connection.paths.at(reader.opaque())
            details["new_name"] = reader.text()
            call.state = [folder, other]
            exchange.unit = Place(b"", folder, str(details["name"]))
        elif name == "LINK":
            other = connection.paths.at(reader.opaque())
            details["name"] = reader.text()
            call.state = [other]
        elif name in ("READDIR", "READDIRPLUS"):
            details["cookie"] = reader.hyper()
            reader.skip(8)
            details["count"] = reader.uint()
        elif name == "ACCESS":
            details["access"] = reader.uint()

    def reply(self, connection: RpcConnection, call: Call, reader: Reader) -> None:
        """Read the results."""
        exchange = call.parts[0]
        name = exchange.operation
        if name == "NULL":
            exchange.status, exchange.good = "Success", True
            return
        number = reader.uint()
        exchange.status = STATUS.get(number, f"nfsstat3 {number}")
        exchange.good = number == 0
        if number:
            return
        if name == "READ":
            _post(reader)
            exchange.received = reader.uint()
            if reader.uint():
                exchange.details["eof"] = True
        elif name == "WRITE":
            _wcc(reader)
            exchange.length = reader.uint()
            committed = reader.uint()
            exchange.details["committed"] = STABLE[committed] if committed < 3 else committed
        elif name in _FINDING and not call.state:
            return  # its arguments were cut short, so nothing is known of what it was about
        elif name == "LOOKUP":
            self._found(connection, call, reader.opaque())
        elif name in _MAKING:
            if reader.uint():
                self._found(connection, call, reader.opaque())
        elif name == "RENAME":
            details = exchange.details
            connection.paths.moved(call.state[0], details["name"], call.state[1], details["new_name"])
        elif name in ("READDIR", "READDIRPLUS"):
            self._entries(connection, exchange, reader)

    @staticmethod
    def _found(connection: RpcConnection, call: Call, handle: bytes) -> None:
        exchange = call.parts[0]
        exchange.unit = connection.paths.learn(handle, call.state[0], str(exchange.details["name"]))

    @staticmethod
    def _entries(connection: RpcConnection, exchange: Exchange, reader: Reader) -> None:
        plus = exchange.operation == "READDIRPLUS"
        _post(reader)
        reader.skip(8)
        count, begin = 0, reader.at
        while reader.uint():
            reader.skip(8)
            name = reader.text()
            reader.skip(8)
            count += 1
            if plus:
                _post(reader)
                if reader.uint():
                    connection.paths.learn(reader.opaque(), exchange.unit, name)
        exchange.details["entries"] = count
        exchange.details["eof"] = bool(reader.uint())
        exchange.received = reader.at - begin


def _post(reader: Reader) -> None:
    """post_op_attr (RFC 1813 2.6)."""
    if reader.uint():
        reader.skip(_FATTR)


def _wcc(reader: Reader) -> None:
    """wcc_data."""
    if reader.uint():
        reader.skip(_WCC)
    _post(reader)
