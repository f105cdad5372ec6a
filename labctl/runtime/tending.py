"""What labd does by itself for a lab that is up: each resource is looked after by its kind (labctl.plugin.api.Kind.tend)."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Protocol

from labctl.model.address import Address
from labctl.plugin.api import ActionContext
from labctl.plugin.loader import Plugins
from labctl.topology.topology import Topology

log = logging.getLogger(__name__)

INTERVAL = 0.5
"""Seconds between two looks at whose time has come."""

AFTER_FAILURE = 60.0
"""Seconds until a resource is looked after again whose kind failed."""


class TendedLab(ActionContext, Protocol):
    """What is needed of a lab (labctl.runtime.lab.Lab)."""

    plugins: Plugins
    topology: Topology | None

    @property
    def changing(self) -> bool:
        """Whether an `up` or a `down` is under way."""


class Tending:
    """Looks after a lab's resources, each by itself, none twice at a time.

    Args:
        lab: the lab.
    """

    def __init__(self, lab: TendedLab) -> None:
        self._lab = lab
        self._topology: Topology | None = None
        self._due: dict[Address, float] = {}
        self._tasks: dict[Address, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Until it is cancelled."""
        try:
            while True:
                self._begin_due()
                await asyncio.sleep(INTERVAL)
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _begin_due(self) -> None:
        if self._lab.changing or self._lab.topology is None:
            return
        if self._lab.topology is not self._topology:
            self._topology = self._lab.topology
            self._due = dict.fromkeys(self._topology.declared, 0.0)
        now = time.monotonic()
        for address in [each for each, due in self._due.items() if due <= now and each not in self._tasks]:
            del self._due[address]
            self._tasks[address] = asyncio.create_task(self._tend(address, self._topology))

    async def _tend(self, address: Address, topology: Topology) -> None:
        seconds: float | None = AFTER_FAILURE
        try:
            seconds = await self._lab.plugins.kinds[address.kind].tend(self._lab, topology.declared[address])
        except Exception:
            log.exception("looking after %s", address)
        finally:
            del self._tasks[address]
        if seconds is not None and topology is self._topology:
            self._due[address] = time.monotonic() + seconds
