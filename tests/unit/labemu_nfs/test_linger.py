"""When a server waits a moment for the next call, and when it does not."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from struct import pack

from labemu_nfs.io import connection
from labemu_nfs.io.connection import Connection
from labemu_nfs.io.disk import Disk
from labemu_nfs.io.linger import Linger
from labemu_nfs.rpc.program import Caller, Procedure, Program, null
from labemu_nfs.rpc.server import RpcConnection, RpcServer

from .conftest import record


def steps(linger: Linger, who: object, count: int, *, single: bool = True) -> list[bool]:
    return [linger.worthwhile(who, single=single) for _ in range(count)]


def test_a_connection_that_goes_step_by_step_is_waited_for() -> None:
    answers = steps(Linger(cpus=2), "a", 40)
    assert not any(answers[:16])
    assert all(answers[17:])


def test_nobody_waits_where_there_is_one_cpu() -> None:
    assert not any(steps(Linger(cpus=1), "a", 100))


def test_a_deeper_queue_is_not_torn_apart() -> None:
    assert not any(steps(Linger(cpus=2), "a", 100, single=False))


def test_nobody_waits_while_several_connections_are_busy() -> None:
    linger = Linger(cpus=2)
    steps(linger, "a", 40)
    assert not any(linger.worthwhile(who, single=True) for who in "ab" * 50)


def test_waiting_in_vain_is_given_up_for_twice_as_long_each_time() -> None:
    linger = Linger(cpus=2)
    steps(linger, "a", 40)
    pauses = []
    for _ in range(14):
        linger.missed()
        pauses.append(steps(linger, "a", 2000).index(True))
    assert pauses == [2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 1024, 1024, 1024, 1024]
    linger.found()
    linger.missed()
    assert steps(linger, "a", 10).index(True) == 2


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
