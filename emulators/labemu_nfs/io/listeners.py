"""Listening sockets: TCP accepts into a callback, UDP answers one message with one."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from errno import EMFILE, ENFILE, ENOBUFS, ENOMEM
from ipaddress import IPv6Address, ip_address

from labemu_nfs.limits import LISTEN_BACKLOG, MAX_DATAGRAM
from labemu_nfs.rpc.program import Caller
from labemu_nfs.rpc.server import RpcServer

_EXHAUSTED = (EMFILE, ENFILE, ENOBUFS, ENOMEM)
_PAUSE = 0.1
"""Seconds until connections are accepted again after the process ran out of descriptors or memory."""


def _bound(kind: socket.SocketKind, address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if isinstance(ip_address(address), IPv6Address) else socket.AF_INET
    sock = socket.socket(family, kind)
    try:
        sock.setblocking(False)
        if kind is socket.SOCK_STREAM:
            # So that a server that was killed can be started on its ports at once.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((address, port))
    except BaseException:
        sock.close()
        raise
    return sock


class Listener:
    """Accepts TCP connections.

    Args:
        loop: the event loop.
        address: to listen at.
        port: 0 for any that is free.
        accepted: gets each socket, non-blocking, with the peer's IP address.

    Raises:
        OSError: the address is not here, or the port is taken.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, address: str, port: int, accepted: Callable[[socket.socket, str], None]
    ) -> None:
        self._loop = loop
        self._accepted = accepted
        self._socket = _bound(socket.SOCK_STREAM, address, port)
        self._socket.listen(LISTEN_BACKLOG)
        self.port: int = self._socket.getsockname()[1]
        loop.add_reader(self._socket, self._readable)

    def _readable(self) -> None:
        try:
            sock, peer = self._socket.accept()
        except OSError as error:
            if error.errno in _EXHAUSTED:  # it stays in the queue; asking on at once would only keep the processor busy
                self._loop.remove_reader(self._socket)
                self._loop.call_later(_PAUSE, self._listen_again)
            return
        sock.setblocking(False)
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._accepted(sock, str(peer[0]).partition("%")[0])

    def _listen_again(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.add_reader(self._socket, self._readable)

    def close(self) -> None:
        """Stop listening."""
        self._loop.remove_reader(self._socket)
        self._socket.close()


class DatagramPort:
    """Answers RPC over UDP.

    Args:
        loop: the event loop.
        address: to listen at.
        port: 0 for any that is free.
        server: answers.

    Raises:
        OSError: the address is not here, or the port is taken.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, address: str, port: int, server: RpcServer) -> None:
        self._loop = loop
        self._server = server
        self._socket = _bound(socket.SOCK_DGRAM, address, port)
        self.port: int = self._socket.getsockname()[1]
        loop.add_reader(self._socket, self._readable)

    def _readable(self) -> None:
        with suppress(OSError):  # what cannot be sent is lost, as datagrams are
            data, peer = self._socket.recvfrom(MAX_DATAGRAM)
            reply = self._server.datagram(data, Caller(str(peer[0]).partition("%")[0], "udp"))
            if reply is not None:
                self._socket.sendto(reply, peer)

    def close(self) -> None:
        """Stop answering."""
        self._loop.remove_reader(self._socket)
        self._socket.close()
