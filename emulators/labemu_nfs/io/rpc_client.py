"""Calls that the server itself makes: to a client's lock manager and status monitor, found through its port mapper.

They go only to addresses that have called us, from the address that they called.
"""

from __future__ import annotations

import asyncio
import itertools
from struct import Struct

from labemu_nfs.limits import MAX_CREDENTIAL
from labemu_nfs.portmap import PORTMAP_PORT, PORTMAP_PROGRAM
from labemu_nfs.rpc import message
from labemu_nfs.rpc.records import LAST
from labemu_nfs.xdr import Decoder, XdrError

_CALL = Struct(">6I")
_NO_AUTH = bytes(16)
_MARK = Struct(">I")
_GETPORT = Struct(">4I")
_TCP, _UDP = 6, 17
_MAX_REPLY = 65536
_RESEND = 1.0
"""Seconds after which a datagram that was not answered is sent again."""

_xids = itertools.count(1)


class CallFailedError(Exception):
    """The host did not answer, or not as it should."""


def _call_message(program: int, version: int, procedure: int, arguments: bytes) -> tuple[int, bytes]:
    xid = next(_xids) & 0xFFFFFFFF
    return xid, _CALL.pack(xid, message.CALL, message.RPC_VERSION, program, version, procedure) + _NO_AUTH + arguments


def _results(xid: int, reply: bytes) -> Decoder:
    """What follows the head of a reply that says success. Raises CallFailedError."""
    decoder = Decoder(memoryview(reply))
    try:
        answered, kind, denied = decoder.u32(), decoder.u32(), decoder.u32()
        if answered != xid or kind != message.REPLY or denied:
            raise CallFailedError("the reply is to no call of ours, or refuses it")
        decoder.u32()
        decoder.string(MAX_CREDENTIAL)
        if decoder.u32() != message.SUCCESS:
            raise CallFailedError("the call was not accepted")
    except XdrError as error:
        raise CallFailedError(str(error)) from error
    return decoder


async def call_tcp(address: tuple[str, int], program: tuple[int, int], procedure: int, arguments: bytes) -> Decoder:
    """Call over a connection of its own.

    Args:
        address: host and port.
        program: number and version.
        procedure: its number.
        arguments: encoded.

    Raises:
        CallFailedError: see there. OSError: it cannot be reached.
    """
    reader, writer = await asyncio.open_connection(*address, limit=_MAX_REPLY)
    try:
        xid, body = _call_message(*program, procedure, arguments)
        writer.write(_MARK.pack(LAST | len(body)) + body)
        await writer.drain()
        (mark,) = _MARK.unpack(await reader.readexactly(_MARK.size))
        if not mark & LAST or mark ^ LAST > _MAX_REPLY:
            raise CallFailedError("a reply too long, or in pieces")
        return _results(xid, await reader.readexactly(mark ^ LAST))
    except asyncio.IncompleteReadError as error:
        raise CallFailedError("the connection was closed before the reply") from error
    finally:
        writer.close()


class _Exchange(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: object) -> None:
        if not self.reply.done():
            self.reply.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self.reply.done():
            self.reply.set_exception(exc)


async def call_udp(address: tuple[str, int], program: tuple[int, int], procedure: int, arguments: bytes) -> Decoder:
    """Call by datagrams, sent again until an answer comes: put a time limit around it. As call_tcp."""
    loop = asyncio.get_running_loop()
    transport, exchange = await loop.create_datagram_endpoint(_Exchange, remote_addr=address)
    try:
        xid, body = _call_message(*program, procedure, arguments)
        while True:
            transport.sendto(body)
            done, _ = await asyncio.wait({exchange.reply}, timeout=_RESEND)
            if done:
                return _results(xid, exchange.reply.result())
    finally:
        transport.close()


async def find_port(host: str, program: tuple[int, int], *, transport: str) -> int:
    """Ask a host's port mapper (RFC 1833 3.2).

    Raises:
        CallFailedError: no such program there. OSError: no port mapper.
    """
    protocol = _TCP if transport == "tcp" else _UDP
    found = await call_udp((host, PORTMAP_PORT), (PORTMAP_PROGRAM, 2), 3, _GETPORT.pack(*program, protocol, 0))
    try:
        port = found.u32()
    except XdrError as error:
        raise CallFailedError(str(error)) from error
    if not 0 < port < 65536:
        raise CallFailedError(f"{host} has no program {program[0]} version {program[1]} over {transport}")
    return port
