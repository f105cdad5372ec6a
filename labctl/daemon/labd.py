"""labd: one process a lab, which holds the journal, does the work and tells what happens.

Life: it takes the lab's lock, opens the journal, serves, then takes up what a predecessor left (agents first). SIGTERM ends it and leaves
the lab running; a `down` that leaves nothing in the journal ends it too, and takes the lab's folder along, the journal last.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from labctl.agent.local import listening
from labctl.agent.serve import serve, stopped_by_signals
from labctl.daemon.app import build_app
from labctl.daemon.cgroups import NodeCgroups
from labctl.daemon.launcher import READY_VARIABLE
from labctl.daemon.operations import Operations
from labctl.daemon.service import LabService
from labctl.daemon.surroundings import Surroundings
from labctl.errors import LabError
from labctl.plugin.loader import Plugins, load_plugins
from labctl.runtime.agents.agents import Agents
from labctl.runtime.agents.handler import AgentHandler
from labctl.runtime.events import LabEvents
from labctl.runtime.journal import Journal
from labctl.runtime.lab import Lab
from labctl.runtime.paths import LabPaths
from labctl.runtime.services import LabServices
from labctl.runtime.tending import Tending

log = logging.getLogger(__name__)


class Daemon:
    """A lab, opened.

    Args:
        paths: the lab's places.
        rootless: whether it runs in a user namespace of its own.
        plugins: in place of the installed ones, for tests.
        journal: opens the journal; tests of crashes pass one that dies at a chosen record.
    """

    def __init__(
        self,
        paths: LabPaths,
        *,
        rootless: bool,
        plugins: Plugins | None = None,
        journal: Callable[[Path], Journal] = Journal,
    ) -> None:
        self._paths = paths
        self._journal = journal(paths.journal)
        self._events = LabEvents(paths.lab)
        self._cgroups = NodeCgroups(paths.lab)
        self._surroundings = Surroundings.recorded(paths, rootless=rootless)
        self._agents: Agents  # it needs the services, and they need it
        services = LabServices(
            paths=paths,
            lab=paths.info(rootless=rootless),
            journal=self._journal,
            events=self._events,
            agents=lambda node: self._agents.link(node),
            cgroups=self._cgroups,
        )
        self._agents = Agents(
            services, record=self._journal.learnt, answers=lambda *news: self._lab.agent_answers(*news)
        )
        self._lab = Lab(
            services=services,
            plugins=plugins or load_plugins(),
            journal=self._journal,
            events=self._events,
            handlers={AgentHandler.type: AgentHandler(self._agents)},
        )
        self._operations = Operations()
        self._gone = False

    async def run(self, stop: asyncio.Event | None = None) -> None:
        """Serve until SIGTERM, SIGINT or a finished `down`.

        Args:
            stop: ends it when set; the signals do where None.
        """
        stop = stop or stopped_by_signals()
        for failure in self._lab.plugins.failures:
            log.warning("%s", failure)
        try:
            self._lab.restore()
        except LabError as error:
            log.error("what the lab is cannot be read again: %s", error.message)
        service = LabService(self._lab, self._agents, self._paths, self._cgroups, self._surroundings.holder)

        def ended() -> None:
            self._gone = not self._journal.units and self._journal.topology is None
            if self._gone:
                stop.set()

        attaching = asyncio.ensure_future(self._attach())
        tending = asyncio.ensure_future(Tending(self._lab).run())
        try:
            with listening(self._paths.socket) as sock:
                app = build_app(service, self._operations, ended, stop.is_set)
                await serve(app, [(sock, None)], stop, stopping=self._events.close, serving=_tell_ready)
        finally:
            attaching.cancel()
            tending.cancel()
            await asyncio.gather(attaching, tending, return_exceptions=True)
            await self._operations.stop()
            await self._agents.close()
            self._journal.close()
        if self._gone:
            self._leave_nothing()

    async def _attach(self) -> None:
        try:
            await self._agents.attach(
                [record for record in self._journal.units.values() if record.unit.type == "agent"]
            )
        except Exception:
            log.exception("taking up the lab's agents")

    def _leave_nothing(self) -> None:
        self._cgroups.remove()
        self._surroundings.release()
        folder = self._paths.directory
        last = {self._paths.journal.name, "labd.lock", "launch.lock", "holder.json"}
        for entry in folder.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
            elif entry.name not in last and not entry.name.startswith(self._paths.journal.name):
                entry.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            folder.parent.rmdir()  # only where no other lab is left


def _tell_ready() -> None:
    """Tell whoever launched us that requests are taken; the pipe is not for anybody we start."""
    descriptor = os.environ.pop(READY_VARIABLE, "")
    if descriptor.isdigit():
        with contextlib.suppress(OSError):
            os.write(int(descriptor), b"1")
            os.close(int(descriptor))
