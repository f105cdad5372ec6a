"""Whoever reads the stages switches their noting on; nobody, off."""

from __future__ import annotations

import pytest

from labemu_stages.feed import Stages

from .conftest import Array


async def test_a_reader_switches_it_on_and_gets_what_the_servers_noted(array: Array) -> None:
    assert array.unit().watch is None
    first = await array.call("GET", "/v1/stages")
    assert first == {"next": 0, "lost": 0, "stages": []}
    assert array.unit().watch is not None
    noted = Stages("iscsi", "10.0.0.2:40001", "10.0.0.1:3260", 7, {"queued": 1, "started": 2, "responded": 5})
    array.application._stages._feed.put(noted)
    second = await array.call("GET", f"/v1/stages?since={first['next']}")
    assert second["stages"] == [["iscsi", "10.0.0.2:40001", "10.0.0.1:3260", 7, 1, 2, None, None, 5]]
    assert (await array.call("GET", f"/v1/stages?since={second['next']}"))["stages"] == []


async def test_it_ends_when_nobody_reads_any_more(array: Array, monkeypatch: pytest.MonkeyPatch) -> None:
    await array.call("GET", "/v1/stages")
    routes = array.application._stages
    assert routes._checking is not None  # the next look is in the loop's calendar
    monkeypatch.setattr(routes._feed, "_now", lambda: float("inf"))
    routes._check()
    assert array.unit().watch is None
