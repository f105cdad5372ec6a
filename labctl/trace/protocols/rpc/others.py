"""The programs around NFSv3: MOUNT (RFC 1813 appendix I), the port mapper (RFC 1833), NLM and NSM (Open Group, XNFS 3W)."""

from __future__ import annotations

from typing import Final

from labctl.trace.command import Protocol
from labctl.trace.protocols.rpc.connection import Call, RpcConnection
from labctl.trace.protocols.rpc.nfs3 import STATUS
from labctl.trace.protocols.rpc.xdr import Reader

_MOUNT: Final = ("NULL", "MNT", "DUMP", "UMNT", "UMNTALL", "EXPORT")
_PORTMAP: Final = ("NULL", "SET", "UNSET", "GETPORT", "DUMP", "CALLIT")
_RPCBIND: Final = (
    "NULL", "SET", "UNSET", "GETADDR", "DUMP", "BCAST", "GETTIME", "UADDR2TADDR", "TADDR2UADDR", "GETVERSADDR", "INDIRECT",
    "GETADDRLIST", "GETSTAT",
)  # fmt: skip
_NLM: Final = {
    0: "NULL", 1: "TEST", 2: "LOCK", 3: "CANCEL", 4: "UNLOCK", 5: "GRANTED", 6: "TEST_MSG", 7: "LOCK_MSG", 8: "CANCEL_MSG",
    9: "UNLOCK_MSG", 10: "GRANTED_MSG", 11: "TEST_RES", 12: "LOCK_RES", 13: "CANCEL_RES", 14: "UNLOCK_RES", 15: "GRANTED_RES",
    20: "SHARE", 21: "UNSHARE", 22: "NM_LOCK", 23: "FREE_ALL",
}  # fmt: skip
_NLM_STATUS: Final = (
    "NLM4_GRANTED", "NLM4_DENIED", "NLM4_DENIED_NOLOCKS", "NLM4_BLOCKED", "NLM4_DENIED_GRACE_PERIOD", "NLM4_DEADLCK", "NLM4_ROFS",
    "NLM4_STALE_FH", "NLM4_FBIG", "NLM4_FAILED",
)  # fmt: skip
_NSM: Final = ("NULL", "STAT", "MON", "UNMON", "UNMON_ALL", "SIMU_CRASH", "NOTIFY")
PROCEDURES: Final = frozenset((*_MOUNT, *_PORTMAP, *_RPCBIND, *_NLM.values(), *_NSM))
"""The names of all their procedures."""


def _name(names: tuple[str, ...], number: int) -> str:
    return names[number] if number < len(names) else f"procedure {number}"


class Mount:
    """MOUNT version 3 and 1."""

    protocol = Protocol.MOUNT

    def call(self, connection: RpcConnection, call: Call, reader: Reader) -> None:
        """The path, where there is one."""
        exchange = call.parts[0]
        exchange.operation = _name(_MOUNT, call.procedure)
        if exchange.operation in ("MNT", "UMNT"):
            exchange.target = reader.text()

    def reply(self, connection: RpcConnection, call: Call, reader: Reader) -> None:
        """MNT's root handle."""
        exchange = call.parts[0]
        exchange.status, exchange.good = "Success", True
        if exchange.operation != "MNT":
            return
        number = reader.uint()
        exchange.status = "MNT3_OK" if not number else STATUS.get(number, f"status {number}").replace("NFS3", "MNT3")
        exchange.good = not number
        if exchange.good and call.version == 3:
            exchange.unit = connection.paths.learn(reader.opaque(), None, exchange.target)


class Portmap:
    """Versions 2, 3 and 4."""

    protocol = Protocol.PORTMAP

    def call(self, connection: RpcConnection, call: Call, reader: Reader) -> None:
        """Which program is asked for."""
        exchange = call.parts[0]
        exchange.operation = _name(_PORTMAP if call.version == 2 else _RPCBIND, call.procedure)
        if exchange.operation in ("SET", "UNSET", "GETPORT", "GETADDR", "GETVERSADDR"):
            program, version = reader.uint(), reader.uint()
            exchange.details = {**(exchange.details or {}), "program": program, "version": version}
            exchange.target = f"{program}.{version}"

    def reply(self, connection: RpcConnection, call: Call, reader: Reader) -> None:
        """Where it is."""
        exchange = call.parts[0]
        exchange.status, exchange.good = "Success", True
        if exchange.operation == "GETPORT":
            exchange.details["port"] = reader.uint()
        elif exchange.operation in ("GETADDR", "GETVERSADDR"):
            exchange.details["address"] = reader.text()


class Nlm:
    """The lock manager, version 4."""

    protocol = Protocol.NLM

    def call(self, connection: RpcConnection, call: Call, reader: Reader) -> None:
        """Which file, and which bytes."""
        exchange = call.parts[0]
        exchange.operation = _NLM.get(call.procedure, f"procedure {call.procedure}")
        if call.procedure not in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 22):
            return
        reader.skip_opaque()  # the cookie
        details = exchange.details = exchange.details or {}
        if call.procedure in (2, 3, 7, 8, 22):
            details["block"] = bool(reader.uint())
        if call.procedure not in (4, 9):
            details["exclusive"] = bool(reader.uint())
        reader.skip_opaque()  # the caller's name
        exchange.unit = connection.paths.at(reader.opaque())
        reader.skip_opaque()  # the owner
        details["svid"] = reader.uint()
        exchange.offset, exchange.length = reader.hyper(), reader.hyper()

    def reply(self, connection: RpcConnection, call: Call, reader: Reader) -> None:
        """Granted or not."""
        exchange = call.parts[0]
        exchange.status, exchange.good = "Success", True
        if call.procedure in (1, 2, 3, 4, 5, 20, 21, 22):
            reader.skip_opaque()
            number = reader.uint()
            exchange.status = _NLM_STATUS[number] if number < len(_NLM_STATUS) else f"nlm4_stats {number}"
            exchange.good = number == 0


class Nsm:
    """The status monitor."""

    protocol = Protocol.NSM

    def call(self, connection: RpcConnection, call: Call, reader: Reader) -> None:
        """Whom it is about."""
        exchange = call.parts[0]
        exchange.operation = _name(_NSM, call.procedure)
        if exchange.operation in ("STAT", "MON", "UNMON", "NOTIFY"):
            exchange.target = reader.text()

    def reply(self, connection: RpcConnection, call: Call, reader: Reader) -> None:
        """It was heard."""
        exchange = call.parts[0]
        exchange.status, exchange.good = "Success", True
        if exchange.operation in ("STAT", "MON"):
            exchange.good = reader.uint() == 0
            exchange.status = "STAT_SUCC" if exchange.good else "STAT_FAIL"
