"""Faults of a server that listens: set and cleared while clients are connected, over loopback sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from struct import pack, unpack_from

import pytest

from labemu_faults.action import Action, ActionKind
from labemu_faults.rule import Rule
from labemu_nfs.exports import Export
from labemu_nfs.io.server import NfsServer
from labemu_nfs.xdr import opaque
from labemu_store.file import MemoryFileStore

from .conftest import auth_sys, record

GETATTR, CREATE = 1, 8
DEADLINE = 10.0


class Client:
    """Calls over one connection, answered in any order."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, root: bytes) -> None:
        self.reader, self.writer, self.root = reader, writer, root
        self.xid = 0

    def send(self, procedure: int = GETATTR, more: bytes = b"") -> int:
        self.xid += 1
        head = pack(">6I", self.xid, 0, 2, 100003, 3, procedure)
        self.writer.write(record(head + auth_sys(0, 0) + bytes(8) + opaque(self.root) + more))
        return self.xid

    async def reply(self, within: float = DEADLINE) -> tuple[int, int]:
        """The next reply's XID and nfsstat."""
        async with asyncio.timeout(within):
            size = unpack_from(">I", await self.reader.readexactly(4))[0] & 0x7FFFFFFF
            data = await self.reader.readexactly(size)
        return unpack_from(">I", data)[0], unpack_from(">I", data, 24)[0]

    async def ask(self, times: int = 1) -> None:
        """GETATTR, one after the other."""
        for _ in range(times):
            assert await self.reply_to(self.send()) == 0

    async def reply_to(self, xid: int) -> int:
        found, status = await self.reply()
        assert found == xid
        return status


class Lab:
    def __init__(self, server: NfsServer, export: Export) -> None:
        self.server, self.export = server, export
        self.writers: list[asyncio.StreamWriter] = []

    async def connect(self) -> Client:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.nfs_port)
        self.writers.append(writer)
        root = self.server._context.handles.make(self.export.fsid, self.export.store.root)
        return Client(reader, writer, root)

    def order(self, kind: str, *, selectors: dict[str, object] | None = None, **action: object) -> str:
        rule = Rule(id="", action=Action(kind=ActionKind(kind), **action), **(selectors or {}))  # type: ignore[arg-type]
        return self.server.faults.add(rule).rule.id

    def clear(self, fault: str) -> None:
        self.server.faults.table.clear(fault)


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    export = Export(path="/gold", store=MemoryFileStore())
    server = NfsServer("127.0.0.1", [export], nfs_port=0, portmap_port=None)
    await server.start()
    made = Lab(server, export)
    yield made
    for writer in made.writers:
        writer.close()
    await server.close()


async def test_a_delayed_call_lets_others_pass_and_clearing_takes_the_layer_away(lab) -> None:
    client = await lab.connect()
    plain = lab.server._rpc.programs[100003]
    fault = lab.order("latency", average=0.1, selectors={"count": 1})
    slow, quick = client.send(), client.send()
    assert [await client.reply(), await client.reply()] == [(quick, 0), (slow, 0)]
    lab.clear(fault)
    assert lab.server._rpc.programs[100003] is plain


async def test_paused_calls_are_done_when_the_fault_is_cleared(lab) -> None:
    client = await lab.connect()
    fault = lab.order("pause", selectors={"operations": ("create",)})
    held = client.send(CREATE, opaque(b"new") + bytes(28))
    seen = client.send()
    assert (await client.reply())[0] == seen
    lab.clear(fault)
    assert await client.reply() == (held, 0)


async def test_silence_ends_the_connection_when_cleared_so_that_the_client_asks_again(lab) -> None:
    client = await lab.connect()
    fault = lab.order("silence", selectors={"operations": ("create",)})
    client.send(CREATE, opaque(b"new") + bytes(28))
    seen = client.send()
    assert (await client.reply())[0] == seen
    lab.clear(fault)
    with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
        await client.reply()
    again = await lab.connect()
    sent = again.send(CREATE, opaque(b"new") + bytes(28))
    assert await again.reply() == (sent, 0)


async def test_a_silent_server_takes_up_where_it_stopped(lab) -> None:
    client = await lab.connect()
    client.send()
    await client.reply()
    fault = lab.order("silence")
    late = await lab.connect()
    sent, other = client.send(), late.send()
    for each in (client, late):
        with pytest.raises(TimeoutError):
            await each.reply(within=0.2)
    lab.clear(fault)
    assert await client.reply() == (sent, 0)
    assert await late.reply() == (other, 0)


async def test_new_connections_to_a_silent_server_can_be_reset(lab) -> None:
    lab.order("silence", reset=True)
    with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
        await (await lab.connect()).ask()


@pytest.mark.parametrize("received", [False, True])
async def test_a_connection_is_dropped_after_so_many_bytes_and_the_next_one_works(lab, received) -> None:
    client = await lab.connect()
    lab.order("drop", after=150, received=received, selectors={"count": 1})
    with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
        await client.ask(4)
    again = await lab.connect()
    assert (again.send(), 0) == await again.reply()
