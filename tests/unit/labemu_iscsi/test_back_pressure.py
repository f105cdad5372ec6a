"""The fast lane over a socket whose peer does not read: what it gave out stays what it was until it is sent."""

from __future__ import annotations

import asyncio
import socket
import struct

from labemu_io.linger import Linger
from labemu_iscsi.io.connection import SocketConnection
from labemu_iscsi.io.executor import WorkExecutor
from labemu_iscsi.limits import LANE_BUFFER
from labemu_iscsi.negotiation import format_text
from labemu_iscsi.node import Node
from labemu_iscsi.pdu import LoginRequest
from labemu_iscsi.session import Target
from labemu_scsi.unit import LogicalUnit
from labemu_store.block import MemoryBlockStore

TARGET = "iqn.2026-11.lab:t1"
BLOCK = 512
COUNT = 256  # blocks of a read
SIZE = COUNT * BLOCK
READS = 60
KEYS = {"InitiatorName": "iqn.2026-11.lab:i", "TargetName": TARGET, "MaxRecvDataSegmentLength": "262144"}


def read10(number: int) -> bytes:
    head = struct.pack(">BBxxI8sIIII", 1, 0xC1, 0, bytes(8), number, SIZE, number, 0)
    return head + struct.pack(">BxIxHx6x", 0x28, number * COUNT, COUNT)


async def receive(loop: asyncio.AbstractEventLoop, sock: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        part = await loop.sock_recv(sock, count - len(data))
        assert part
        data += part
    return bytes(data)


async def test_replies_of_the_fast_lane_wait_for_a_slow_reader_unharmed() -> None:
    loop = asyncio.get_running_loop()
    store = MemoryBlockStore((READS + 1) * SIZE)
    for number in range(READS + 1):
        store.write(number * SIZE, bytes((number,)) * SIZE)
    node = Node(entropy=bytes)
    target = Target(name=TARGET)
    unit = LogicalUnit(store, serial="unit0")
    target.device.add_unit(0, unit)
    node.targets[TARGET] = target
    ours, peer = socket.socketpair()
    for sock in (ours, peer):
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 << 10)
    ended = asyncio.Event()
    executor = WorkExecutor(loop)
    connection = SocketConnection(
        loop,
        ours,
        node=node,
        executor=executor,
        linger=Linger(),
        peer="peer:1",
        portal="portal:1",
        closed=lambda _: ended.set(),
    )
    login = LoginRequest(immediate=True, flags=0x87, lun=b"\x80\0\0\0\0\x01\0\0", cmd_sn=1)
    await loop.sock_sendall(peer, login.encode(format_text(list(KEYS.items()))))
    header = await receive(loop, peer, 48)
    length = int.from_bytes(header[5:8], "big")
    await receive(loop, peer, -(-length // 4) * 4)
    session = connection.target.session
    assert session is not None
    assert session.nexus is not None
    unit.attentions.meet(session.nexus)
    unit.attentions.take(session.nexus)

    await loop.sock_sendall(peer, b"".join(read10(number) for number in range(1, READS + 1)))
    assert READS * SIZE > 4 * LANE_BUFFER
    for number in range(1, READS + 1):
        header = await receive(loop, peer, 48)
        assert header[:2] == b"\x25\x81"
        assert int.from_bytes(header[16:20], "big") == number
        assert await receive(loop, peer, SIZE) == bytes((number,)) * SIZE
        assert connection.engine.pending <= LANE_BUFFER

    peer.close()
    await asyncio.wait_for(ended.wait(), 10)
    await executor.close()
    store.close()
