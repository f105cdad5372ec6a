"""Initiators that are asked to log out, and what becomes of those that do not."""

from __future__ import annotations

import asyncio

import pytest

from labemu_iscsi.pdu import AsyncMessage

from .live import TARGET, Lab


async def test_who_ignores_the_request_is_dropped_when_its_time_is_over(lab: Lab) -> None:
    stays, goes = await lab.session("iqn.2026-11.lab:i1"), await lab.session("iqn.2026-11.lab:i2")
    lab.server.request_logout(TARGET, 1)
    for client in (stays, goes):
        asked = client.initiator.received
        await client.until(lambda asked=asked: any(isinstance(pdu, AsyncMessage) for pdu, _ in asked))
        (message,) = [pdu for pdu, _ in asked if isinstance(pdu, AsyncMessage)]
        assert (message.event, message.parameter3) == (1, 1)
    goes.initiator.logout()
    with pytest.raises(EOFError):
        await goes.until(lambda: False)
    assert [session.initiator for session in lab.server.sessions()] == ["iqn.2026-11.lab:i1"]
    with pytest.raises(EOFError):
        await stays.until(lambda: False)
    assert lab.server.sessions() == []
    again = await lab.session("iqn.2026-11.lab:i1")
    await asyncio.sleep(0)
    assert (await again.read()).status == 0
