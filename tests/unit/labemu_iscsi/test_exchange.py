"""A disk's store is exchanged between two commands, whatever is on a thread at that moment."""

from __future__ import annotations

import asyncio
import threading

import pytest

from labemu_iscsi.io.executor import WorkExecutor
from labemu_iscsi.io.server import IscsiServer
from labemu_scsi.command import Deferred, Response
from labemu_store.block import BlockStore, MemoryBlockStore

TARGET = "iqn.2026-11.lab:t1"


async def test_work_that_comes_while_nothing_may_run_waits_and_keeps_its_order() -> None:
    executor, done, order = WorkExecutor(asyncio.get_running_loop()), asyncio.Event(), list[str]()
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> Response:
        begun.set()
        go_on.wait(60)
        order.append("slow")
        return Response(0)

    def late(name: str) -> Response:
        order.append(name)
        return Response(0)

    def end(_response: Response) -> None:
        if len(order) == 4:
            done.set()

    executor(Deferred(slow), slow, end)
    await asyncio.to_thread(begun.wait, 60)
    asyncio.get_running_loop().call_soon(go_on.set)
    async with executor.idle():
        order.append("exchanged")
        for name in ("first", "second"):
            executor(Deferred(lambda: Response(0)), lambda name=name: late(name), end)  # type: ignore[misc]
        await asyncio.sleep(0)
        assert order == ["slow", "exchanged"]
    await asyncio.wait_for(done.wait(), 60)
    assert sorted(order[2:]) == ["first", "second"]
    await executor.drain()


async def test_the_unit_goes_on_with_the_other_store_and_what_it_can() -> None:
    server = IscsiServer([("127.0.0.1", 0)])
    server.add_target(TARGET)
    unit = server.add_lun(TARGET, 0, MemoryBlockStore(1 << 20))
    other = MemoryBlockStore(1 << 20)
    other.write(0, b"other")
    seen: list[BlockStore] = []

    def exchange(store: BlockStore) -> BlockStore:
        seen.append(store)
        return other

    await server.exchange_store(TARGET, 0, exchange)
    assert unit.store is other
    assert unit.vectored is other  # the fast lane's, which would else go on with the first
    assert seen != [other]
    with pytest.raises(KeyError):
        await server.exchange_store(TARGET, 7, exchange)
    await server.close()
