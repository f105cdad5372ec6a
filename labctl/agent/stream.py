"""NDJSON streams that tell a quiet peer from a dead one.

A stream carries one JSON object a line, and a keep-alive line (`{}`) whenever a second went by without one, so that silence means
that the peer is gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

from labctl.agent.wire import line
from labctl.model.json import Json

KEEP_ALIVE_INTERVAL = 1.0
"""Seconds; three missed lines make a peer "not responding", so a cut network shows within about three seconds."""

KEEP_ALIVE_LINE = b"{}\n"


async def with_keep_alive(
    values: AsyncGenerator[Json, None], *, interval: float = KEEP_ALIVE_INTERVAL
) -> AsyncIterator[bytes]:
    """The lines of a stream, with a keep-alive line whenever `interval` seconds went by without one."""
    upcoming: asyncio.Task[Json] | None = None
    try:
        while True:
            upcoming = upcoming or asyncio.ensure_future(_next(values))
            done, _ = await asyncio.wait({upcoming}, timeout=interval)
            if not done:
                yield KEEP_ALIVE_LINE
                continue
            try:
                value = upcoming.result()
            except StopAsyncIteration:
                return
            finally:
                upcoming = None
            yield line(value)
    finally:
        if upcoming is not None:
            upcoming.cancel()
            await asyncio.wait({upcoming})
        await values.aclose()


async def _next(values: AsyncIterator[Json]) -> Json:
    return await anext(values)
