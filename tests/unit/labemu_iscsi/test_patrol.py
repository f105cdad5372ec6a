"""A server finds out that a peer is dead, over loopback sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from labemu_iscsi.initiator import Initiator
from labemu_iscsi.io import IscsiServer
from labemu_iscsi.pdu import NopIn
from labemu_store.block import MemoryBlockStore

TARGET = "iqn.2026-11.lab:t1"


@pytest.fixture
async def server() -> AsyncIterator[IscsiServer]:
    server = IscsiServer([("127.0.0.1", 0)], ping_after=0.2, ping_timeout=0.4)
    server.add_target(TARGET)
    server.add_lun(TARGET, 0, MemoryBlockStore(1 << 20))
    await server.start()
    yield server
    await server.close()


async def _pings(server: IscsiServer, *, answer: bool, wanted: int) -> int:
    """Log in and listen; how many pings came until there were as many as wanted, or the server hung up."""
    reader, writer = await asyncio.open_connection(*server.portals[0])
    initiator = Initiator(target=TARGET)
    initiator.login()
    seen = 0
    async with asyncio.timeout(10):
        while seen < wanted:
            output = [bytes(each) for each in initiator.data_to_send()]
            if answer or not seen:
                writer.write(b"".join(output))
            data = await reader.read(1 << 16)
            if not data:
                break
            initiator.receive_data(data)
            seen = sum(isinstance(pdu, NopIn) for pdu, _ in initiator.received)
    writer.close()
    return seen


async def test_one_that_answers_pings_stays(server: IscsiServer) -> None:
    assert await _pings(server, answer=True, wanted=4) == 4


async def test_one_that_does_not_is_dropped_with_its_session(server: IscsiServer) -> None:
    assert await _pings(server, answer=False, wanted=4) == 1
    assert not server.sessions()


async def test_a_target_that_is_removed_says_so(server: IscsiServer) -> None:
    reader, writer = await asyncio.open_connection(*server.portals[0])
    initiator = Initiator(target=TARGET)
    initiator.login()
    writer.write(b"".join(map(bytes, initiator.data_to_send())))
    async with asyncio.timeout(10):
        while not initiator.logged_in:
            initiator.receive_data(await reader.read(1 << 16))
        await server.remove_target(TARGET)
        while data := await reader.read(1 << 16):
            initiator.receive_data(data)
    message, _ = initiator.received[-1]
    assert getattr(message, "event", None) == 3
    assert not server.sessions()
    writer.close()
