"""The port mapper, version 2, and RPCBIND, versions 3 and 4 (RFC 1833): from a program to its port.

Rules: what is served is known beforehand, so SET and UNSET are refused. CALLIT and its kin are PROC_UNAVAIL: calls by proxy only help
to hide where an attack comes from.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from labemu_nfs.rpc.auth import Credential
from labemu_nfs.rpc.message import Body
from labemu_nfs.rpc.program import Caller, Procedure, Program, null
from labemu_nfs.xdr import FALSE, TRUE, Decoder, opaque, u32

PORTMAP_PROGRAM = 100000
PORTMAP_PORT = 111

_PROTOCOLS = {"tcp": 6, "udp": 17}
_MAX_STRING = 128
"""Bytes of a netid, an address or an owner in RFC 1833's structures: the longest address has 47."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mapping:
    """A program's version, where it is: `transport` is tcp or udp."""

    program: int
    version: int
    transport: str
    port: int


class Portmap:
    """The procedures of the port mapper.

    Args:
        address: the server's own, for universal addresses (RFC 5665 5.2.3.3).
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._mappings: tuple[Mapping, ...] = ()

    def publish(self, mappings: Iterable[Mapping]) -> None:
        """Replace what is told."""
        self._mappings = tuple(mappings)

    def _find(self, program: int, version: int, transport: str) -> Mapping | None:
        """The mapping asked for; of any version where that one is not there, as RFC 1833 3.2.2 and GETADDR have it."""
        nearest = None
        for mapping in self._mappings:
            if mapping.program == program and mapping.transport == transport:
                if mapping.version == version:
                    return mapping
                nearest = mapping
        return nearest

    def refuse(self, caller: Caller, credential: Credential, arguments: Decoder) -> Body:
        """SET and UNSET: false."""
        return [FALSE]

    def getport(self, caller: Caller, credential: Credential, arguments: Decoder) -> Body:
        """PMAPPROC_GETPORT: RFC 1833 3.2; 0 where there is none."""
        program, version, protocol, _ = (arguments.u32() for _ in range(4))
        transport = next((name for name, number in _PROTOCOLS.items() if number == protocol), "")
        found = self._find(program, version, transport)
        return [u32(found.port if found else 0)]

    def dump2(self, caller: Caller, credential: Credential, arguments: Decoder) -> Body:
        """PMAPPROC_DUMP."""
        parts = [
            TRUE + u32(m.program) + u32(m.version) + u32(_PROTOCOLS[m.transport]) + u32(m.port) for m in self._mappings
        ]
        return [b"".join((*parts, FALSE))]

    def _netid(self, transport: str) -> str:
        return transport + "6" if ":" in self._address else transport

    def _universal(self, port: int) -> bytes:
        return f"{self._address}.{port >> 8}.{port & 255}".encode()

    def getaddr(self, caller: Caller, credential: Credential, arguments: Decoder) -> Body:
        """RPCBPROC_GETADDR (and GETVERSADDR, which wants exactly the version): RFC 1833 2.2.1; empty where there is none."""
        program, version = arguments.u32(), arguments.u32()
        netid, _, _ = (arguments.string(_MAX_STRING) for _ in range(3))
        transport = netid.decode("ascii", "replace").rstrip("6") or caller.transport
        found = self._find(program, version, transport)
        return [opaque(self._universal(found.port) if found else b"")]

    def dump3(self, caller: Caller, credential: Credential, arguments: Decoder) -> Body:
        """RPCBPROC_DUMP."""
        parts = [
            TRUE
            + u32(m.program)
            + u32(m.version)
            + opaque(self._netid(m.transport).encode())
            + opaque(self._universal(m.port))
            + opaque(b"superuser")
            for m in self._mappings
        ]
        return [b"".join((*parts, FALSE))]

    def program(self) -> Program:
        """The port mapper as a table."""
        nothing, refuse = Procedure("NULL", null), self.refuse
        set_, unset = Procedure("SET", refuse), Procedure("UNSET", refuse)
        getaddr, dump = Procedure("GETADDR", self.getaddr), Procedure("DUMP", self.dump3)
        version3 = (nothing, set_, unset, getaddr, dump)
        return Program(
            PORTMAP_PROGRAM,
            "portmapper",
            {
                2: (nothing, set_, unset, Procedure("GETPORT", self.getport), Procedure("DUMP", self.dump2)),
                3: version3,
                4: (*version3, None, None, None, None, Procedure("GETVERSADDR", self.getaddr)),
            },
        )
