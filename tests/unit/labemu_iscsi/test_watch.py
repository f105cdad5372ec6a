"""The stages of commands, noted while somebody reads them."""

from __future__ import annotations

import itertools

import pytest

from labemu_stages.feed import STAGES, Feed, Stages
from labemu_store.block import MemoryBlockStore
from labemu_store.block.filters.delay import DelayFilter

from .live import TARGET, Client, Lab

WRITE10 = bytes.fromhex("2a000000000000000100")
SYNCHRONIZE = bytes.fromhex("35000000000000000000")


@pytest.fixture
def feed() -> Feed:
    return Feed(lambda: 0.0, itertools.count(1).__next__)


async def command(client: Client, cdb: bytes, **more: object) -> None:
    result = client.initiator.command(cdb, lun=0, **more)  # type: ignore[arg-type]
    await client.until(lambda: result.status is not None)


def read(feed: Feed, since: int = 0) -> list[Stages]:
    return feed.read(since).stages


async def test_a_command_passes_the_stages_in_their_order_and_is_told_from_others(lab: Lab, feed: Feed) -> None:
    client = await lab.session()
    feed.read()
    lab.server.watch(feed)
    late = await lab.session("iqn.2026-11.lab:late")
    for each in (client, late):
        await command(each, WRITE10, data=bytes(512))
        await command(each, SYNCHRONIZE)
    seen = read(feed)[-4:]
    first = [stages for stages in seen if stages.client == "{}:{}".format(*client.writer.get_extra_info("sockname"))]
    assert [stages.server for stages in first] == ["{}:{}".format(*lab.server.portals[0])] * 2
    for stages in seen:
        assert list(stages.times) == list(STAGES)
        assert list(stages.times.values()) == sorted(stages.times.values())
    assert len({(stages.client, stages.tag) for stages in seen}) == 4


async def test_without_a_reader_nothing_is_noted_and_the_fast_lane_is_open(lab: Lab, feed: Feed) -> None:
    client = await lab.session()
    unit = lab.server.targets[TARGET].device.units[0]
    assert unit.plain
    lab.server.watch(feed)
    assert not unit.plain
    lab.server.watch(None)
    assert unit.plain
    await command(client, WRITE10, data=bytes(512))
    assert read(feed) == []


async def test_what_a_fault_delays_is_answered_late_though_the_store_was_quick(lab: Lab, feed: Feed) -> None:
    feed.read()
    lab.server.watch(feed)
    client = await lab.session()
    lab.order("latency", average=0.05)
    before = len(read(feed))
    await command(client, WRITE10, data=bytes(512))
    (stages,) = read(feed, before)
    assert list(stages.times) == list(STAGES)


async def test_a_command_that_is_refused_has_no_store(lab: Lab, feed: Feed) -> None:
    feed.read()
    lab.server.watch(feed)
    client = await lab.session()
    lab.order("sense", code=(3, 0x11, 0))
    before = len(read(feed))
    await command(client, WRITE10, data=bytes(512))
    (stages,) = read(feed, before)
    assert list(stages.times) == ["queued", "responded"]


async def test_units_that_come_later_are_watched_and_deferred_work_is_timed_where_it_is_done(
    lab: Lab, feed: Feed
) -> None:
    feed.read()
    lab.server.watch(feed)
    slow = MemoryBlockStore(1 << 20)
    lab.server.add_lun(TARGET, 2, DelayFilter(slow, average=0.001))
    client = await lab.session()
    await client.attention(2)
    before = len(read(feed))
    assert (await client.read(2)).status == 0
    (stages,) = read(feed, before)
    assert list(stages.times) == list(STAGES)
