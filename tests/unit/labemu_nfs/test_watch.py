"""The stages of NFS calls, noted while somebody reads them: over loopback sockets, on a store in which every step is seen."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from struct import pack

import pytest

from labemu_nfs.exports import Export
from labemu_nfs.io.server import NfsServer
from labemu_nfs.xdr import opaque
from labemu_stages.feed import STAGES, Feed, Stages
from labemu_store.file import MemoryFileStore, Ownership

from .test_server_faults import CREATE, Client, Lab

COMMIT = pack(">QI", 0, 0)
COMMIT_PROCEDURE = 21


class Clock:
    """A nanosecond at each look."""

    def __init__(self) -> None:
        self._ticks = itertools.count(1)
        self.now = 0

    def __call__(self) -> int:
        self.now = next(self._ticks)
        return self.now


class SlowFiles(MemoryFileStore):
    """Its clock goes on by a thousand while something is made durable."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self.fails = False

    def sync(self, node) -> Callable[[], None]:  # type: ignore[no-untyped-def]
        def slowly() -> None:
            for _ in range(1000):
                self.clock()
            if self.fails:
                raise OSError(5, "the disk is gone")

        return slowly


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def feed(clock: Clock) -> Feed:
    return Feed(lambda: 0.0, clock)


@pytest.fixture
async def lab(clock: Clock) -> AsyncIterator[Lab]:
    export = Export(path="/gold", store=SlowFiles(clock))
    server = NfsServer("127.0.0.1", [export], nfs_port=0, portmap_port=None)
    await server.start()
    made = Lab(server, export)
    yield made
    for writer in made.writers:
        writer.close()
    await server.close()


def read(feed: Feed, since: int = 0) -> list[Stages]:
    return feed.read(since).stages


def address(client: Client) -> str:
    return "{}:{}".format(*client.writer.get_extra_info("sockname"))


async def test_a_call_passes_the_stages_in_their_order_and_is_told_from_others(lab: Lab, feed: Feed) -> None:
    early = await lab.connect()
    await early.ask()
    feed.read()
    lab.server.watch(feed)
    late = await lab.connect()
    for client in (early, late):
        await client.ask(2)
    seen = read(feed)
    assert [(each.protocol, each.client, each.tag) for each in seen] == [
        ("nfs", address(early), 2),
        ("nfs", address(early), 3),
        ("nfs", address(late), 1),
        ("nfs", address(late), 2),
    ]
    assert {each.server for each in seen} == {f"127.0.0.1:{lab.server.nfs_port}"}
    for each in seen:
        assert list(each.times) == list(STAGES)
        assert list(each.times.values()) == sorted(each.times.values())


async def test_without_a_reader_nothing_is_noted(lab: Lab, feed: Feed) -> None:
    client = await lab.connect()
    lab.server.watch(feed)
    await client.ask()
    lab.server.watch(None)
    await client.ask()
    await (await lab.connect()).ask()
    assert len(read(feed)) == 1


@pytest.mark.parametrize("fails", [False, True], ids=["done", "failed"])
async def test_what_waits_for_the_disk_is_at_the_store_while_it_does(lab: Lab, feed: Feed, fails: bool) -> None:
    client = await lab.connect()
    lab.server.watch(feed)
    store = lab.export.store
    store.fails = fails  # type: ignore[attr-defined]
    made = store.create(store.root, b"new", Ownership(mode=0o644, uid=0, gid=0))
    client.root = lab.server._context.handles.make(lab.export.fsid, made)
    sent = client.send(COMMIT_PROCEDURE, COMMIT)
    assert await client.reply_to(sent) == (5 if fails else 0)
    (call,) = read(feed)
    assert call.times["store-end"] - call.times["store-begin"] > 1000
    assert call.times["store-begin"] - call.times["queued"] < 10
    assert call.times["responded"] - call.times["store-end"] < 10


async def test_what_is_held_begins_at_the_store_only_then(lab: Lab, feed: Feed, clock: Clock) -> None:
    client = await lab.connect()
    lab.server.watch(feed)
    fault = lab.order("pause", selectors={"operations": ("create", "commit")})
    held = [client.send(CREATE, opaque(b"new") + bytes(28)), client.send(COMMIT_PROCEDURE, COMMIT)]
    await client.reply_to(client.send())
    before = clock.now
    lab.clear(fault)
    assert {(await client.reply())[0], (await client.reply())[0]} == set(held)
    calls = {call.tag: call.times for call in read(feed)}
    for xid in held:
        times = calls[xid]
        assert times["started"] < before < times["store-begin"] < times["store-end"] < times["responded"]


async def test_a_call_that_comes_twice_while_it_is_under_way_is_noted_once(lab: Lab, feed: Feed) -> None:
    client = await lab.connect()
    lab.server.watch(feed)
    fault = lab.order("pause", selectors={"operations": ("create",)})
    for _ in range(2):
        sent = client.send(CREATE, opaque(b"new") + bytes(28))
        client.xid -= 1
    client.xid += 1
    await client.reply_to(client.send())
    lab.clear(fault)
    assert (await client.reply())[0] == sent
    assert [call.tag for call in read(feed)].count(sent) == 1
