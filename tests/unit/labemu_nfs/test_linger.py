"""Whom an NFS server waits for a moment, and whom not."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from struct import pack

from labemu_io.linger import Linger
from labemu_nfs.io import connection
from labemu_nfs.io.connection import Connection
from labemu_nfs.io.disk import Disk
from labemu_nfs.rpc.program import Caller, Procedure, Program, null
from labemu_nfs.rpc.server import RpcConnection, RpcServer

from .conftest import record


class Counting(Linger):
    """Counts what it is told."""

    def __init__(self) -> None:
        super().__init__(cpus=2)
        self.finds = 0

    def found(self) -> None:
        super().found()
        self.finds += 1


def call(xid: int) -> bytes:
    return record(pack(">6I", xid, 0, 2, 100003, 3, 0) + bytes(16))


async def serve(client: Callable[[socket.socket], None], linger: Linger) -> None:
    """A connection of a server without exports, until its client, in a thread, has closed its end."""
    loop = asyncio.get_running_loop()
    near, far = socket.socketpair()
    near.setblocking(False)
    far.settimeout(60)
    over = loop.create_future()
    program = Program(100003, "nfs", {3: (Procedure("NULL", null),)})
    engine = RpcConnection(RpcServer((program,)), Caller("10.0.0.2"))
    Connection(loop, near, engine, disk=Disk(loop), linger=linger, tell=lambda _: None, closed=over.set_result)
    with far:
        await loop.run_in_executor(None, client, far)
    await asyncio.wait_for(over, 60)


def test_calls_one_by_one_are_found_without_going_to_sleep(monkeypatch) -> None:
    monkeypatch.setattr(connection, "MOMENT", 60.0)
    linger = Counting()

    def client(sock: socket.socket) -> None:
        for xid in range(100):
            sock.sendall(call(xid))
            assert sock.recv(100)[4:8] == pack(">I", xid)
        sock.shutdown(socket.SHUT_WR)

    asyncio.run(serve(client, linger))
    assert linger.finds > 60


def test_nobody_waits_for_a_client_with_several_calls_under_way(monkeypatch) -> None:
    monkeypatch.setattr(connection, "MOMENT", 60.0)
    linger = Counting()

    def client(sock: socket.socket) -> None:
        for _ in range(100):
            sock.sendall(call(1) + call(2))
            got = 0
            while got < 56:
                got += len(sock.recv(100))

    asyncio.run(serve(client, linger))
    assert not linger.finds
