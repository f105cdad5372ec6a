"""Faults of a server that listens: set and cleared while sessions live, over loopback sockets."""

from __future__ import annotations

import asyncio
import time

import pytest

from labemu_faults.action import Action, ActionKind
from labemu_faults.errors import FaultError
from labemu_faults.rule import Rule
from labemu_scsi.command import Status
from labemu_store.block import MemoryBlockStore

from .live import TARGET


async def test_latency_is_on_one_lun_alone_and_goes_when_cleared(lab) -> None:
    client = await lab.session()
    fault = lab.order("latency", average=0.1, selectors={"lun": 1})
    begun = time.monotonic()
    assert (await client.read(1)).status == 0
    assert time.monotonic() - begun >= 0.1
    assert (await client.read(0)).status == 0
    assert [unit.faults is None for unit in lab.server.targets[TARGET].device.units.values()] == [True, False]
    lab.server.faults.table.clear(fault)
    assert all(unit.faults is None and not unit.guarded for unit in lab.server.targets[TARGET].device.units.values())


async def test_a_unit_that_comes_later_has_its_targets_faults_too(lab) -> None:
    lab.order("status", code=(Status.BUSY,), selectors={"target": TARGET})
    lab.server.add_lun(TARGET, 2, MemoryBlockStore(1 << 20))
    assert lab.server.targets[TARGET].device.units[2].faults is not None


async def test_paused_commands_are_answered_when_the_fault_is_cleared(lab) -> None:
    client = await lab.session()
    fault = lab.order("pause", selectors={"lun": 0})
    held = client.send()
    assert (await client.read(1)).status == 0
    assert held.status is None
    lab.server.faults.table.clear(fault)
    await client.until(lambda: held.status == 0)


async def test_a_silenced_command_is_never_answered_but_can_be_aborted(lab) -> None:
    client = await lab.session()
    fault = lab.order("silence", selectors={"lun": 0})
    client.send()
    tag = list(client.initiator.results)[-1]
    assert (await client.read(1)).status == 0
    lab.server.faults.table.clear(fault)
    assert (await client.read(0)).status == 0
    assert client.initiator.results[tag].status is None
    (session,) = lab.server.targets[TARGET].sessions
    assert tag in session.tasks
    client.initiator.manage(1, referenced_tag=tag)
    await client.until(lambda: tag not in session.tasks)


async def test_a_silent_target_takes_up_where_it_stopped(lab) -> None:
    client = await lab.session()
    fault = lab.order("silence")
    held = client.send()
    late = await lab.connect("iqn.2026-11.lab:i2")
    late.initiator.login()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await asyncio.gather(client.until(lambda: held.status == 0), late.until(lambda: late.initiator.logged_in))
    lab.server.faults.table.clear(fault)
    await client.until(lambda: held.status == 0)
    await late.until(lambda: late.initiator.logged_in)


async def test_a_target_goes_silent_for_one_initiator_alone_once_it_is_known(lab) -> None:
    fault = lab.order("silence", selectors={"clients": ("*:i2",)})
    assert (await (await lab.session()).read()).status == 0
    late = await lab.connect("iqn.2026-11.lab:i2")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await late.login()
    lab.server.faults.table.clear(fault)
    await late.until(lambda: late.initiator.logged_in)


async def test_new_connections_to_a_silent_target_can_be_reset(lab) -> None:
    lab.order("silence", reset=True)
    with pytest.raises((ConnectionResetError, EOFError)):
        await (await lab.connect()).login()


async def test_a_connection_is_dropped_and_the_next_one_works_when_the_count_is_used_up(lab) -> None:
    client = await lab.session()
    lab.order("drop", after=100, selectors={"count": 1})
    with pytest.raises((ConnectionResetError, EOFError)):
        await client.read()
    assert (await (await lab.session()).read()).status == 0


async def test_a_connection_that_received_so_much_is_dropped(lab) -> None:
    client = await lab.session()
    lab.order("drop", after=40, received=True, selectors={"count": 1})
    with pytest.raises((ConnectionResetError, EOFError)):
        await client.read()


async def test_responses_are_reordered_and_delayed_and_nothing_is_lost(lab) -> None:
    client = await lab.session()
    lab.order("reorder", selectors={"probability": 0.5, "seed": 1})
    slow = lab.order("latency", average=0.01, p99=0.03, selectors={"operations": ("data-in",), "seed": 1})
    results = [client.send() for _ in range(40)]
    lab.server.faults.table.clear(slow)
    await client.until(lambda: all(result.status == 0 for result in results))


async def test_a_login_is_refused_so_often_as_ordered(lab) -> None:
    lab.order("refuse", code=(3, 1), selectors={"count": 1, "target": TARGET})
    client = await lab.connect()
    await client.login()
    assert client.initiator.login_status == (3, 1)
    await lab.session()


@pytest.mark.parametrize(
    ("rule", "hint"),
    [
        ({"action": Action(kind=ActionKind.ERROR, code=(5,))}, "it can: corrupt, drop, latency"),
        ({"action": Action(kind=ActionKind.DROP), "lun": 1}, "select by target, initiator and portal"),
        ({"action": Action(kind=ActionKind.REORDER), "operations": ("data-inn",)}, 'did you mean "data-in"?'),
        ({"action": Action(kind=ActionKind.PAUSE), "path": "/x"}, "select by target and LUN"),
    ],
)
async def test_what_a_target_cannot_do_is_refused(lab, rule, hint) -> None:
    with pytest.raises(FaultError) as caught:
        lab.server.faults.add(Rule(id="", **rule))
    assert caught.value.hint.startswith(hint)
