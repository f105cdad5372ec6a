"""All agents of a lab: started, adopted, watched, reached.

One lock a node: the executor that runs an `up` and the supervisor that restarts the dead never start an agent twice.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial

from labctl.agent.client import AgentUnreachableError
from labctl.agent.config import AgentConfig
from labctl.contracts.network import LABD_NODE
from labctl.errors import LabError, TimedOutError
from labctl.linux import namespaces
from labctl.linux.outside import threads_here
from labctl.linux.processes import ProcessId, alive
from labctl.model.json import Json, JsonObject
from labctl.model.unit import RecordedUnit, Unit
from labctl.plugin.api import Services
from labctl.runtime.agents import process
from labctl.runtime.agents.connections import AgentLink, Connections, OwnNode
from labctl.runtime.agents.files import AgentFiles, write_whole
from labctl.runtime.agents.monitor import AgentState, Monitor
from labctl.runtime.agents.supervisor import Supervisor, ended

START_DEADLINE = 20.0
"""Seconds for an agent's first answer; it takes half a second of CPU, and a lab starts many at once."""

FIRST_ATTEMPT, LONGEST_ATTEMPT = 0.05, 0.4
"""Seconds between attempts to reach an agent that is starting."""

LOG_LINES = 12
"""How much of the log an error shows."""

Record = Callable[[Mapping[str, JsonObject]], None]
"""Writes new facts of units into the journal (Journal.learnt)."""


Answers = Callable[[str, bool, str], None]
"""Takes a node, whether its agent answers, and why not."""


class Agents:
    """The agents of a lab.

    Args:
        services: the runtime's services.
        record: writes facts into the journal.
        answers: told whenever an agent begins or ceases to answer.
    """

    def __init__(self, services: Services, *, record: Record, answers: Answers) -> None:
        self._services = services
        self._record = record
        self._answers = answers
        self.connections = Connections(
            services.lab.name, services.lab.directory, OwnNode(services.namespace(LABD_NODE))
        )
        self._units: dict[str, Unit] = {}
        self._processes: dict[str, ProcessId] = {}
        self._restarts: dict[str, int] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._outside = threads_here(1)  # labd itself moves into its node
        self._supervisor = Supervisor(self._restart, self._died)
        self._monitor = Monitor(self)

    @property
    def states(self) -> Mapping[str, AgentState]:
        """Each agent's state, by node."""
        return self._monitor.states

    def link(self, node: str) -> AgentLink:
        """The connection to a node's agent.

        Raises:
            LabError: the node has no agent.
        """
        return self.connections.get(node)

    async def attach(self, records: Sequence[RecordedUnit]) -> None:
        """Take up what an earlier labd left: adopt living agents, restart dead ones, leave those whose node is gone to the next `up`."""

        async def one(record: RecordedUnit) -> None:
            node = node_of(record.unit)
            if not namespaces.exists(self._services.namespace(node)):
                return
            async with self._lock(node):
                running, found = self._adopt_or_spawn(record.unit)
                self._services.emit(
                    "agent.adopted" if found else "agent.restarted", resource=record.unit.resource, node=node
                )
                await self._look_after(record.unit, running)
                self._follow(node)

        for result in await asyncio.gather(*(one(record) for record in records), return_exceptions=True):
            if isinstance(result, BaseException) and not isinstance(result, (LabError, OSError)):
                raise result

    async def start(self, unit: Unit) -> JsonObject:
        """Make sure that a unit's agent runs as it says, and answers; returns its facts.

        Raises:
            LabError: it ended at once, with the end of its log.
            TimedOutError: it did not answer in time.
        """
        node = node_of(unit)
        async with self._lock(node):
            running, _ = self._adopt_or_spawn(unit)
            link = await self._look_after(unit, running)
            await self._first_answer(node, running, link)
            self._follow(node)
            return self._facts(node)

    async def reconfigure(self, unit: Unit) -> JsonObject:
        """Give an agent its new configuration; one that refuses it is restarted with it."""
        node = node_of(unit)
        async with self._lock(node):
            files = self.files(node)
            self._write_config(unit, files)
            self._units[node] = unit
            running = process.find(files)
            if running is not None:
                link = await self._look_after(unit, running)
                with suppress(LabError):
                    await link.call("PUT", "/v1/config", unit.spec["config"])
                    return self._facts(node)
                self._supervisor.forget(node)
                await process.stop(running)
        return await self.start(unit)

    async def remove(self, node: str) -> None:
        """End a node's agent and remove everything of it."""
        async with self._lock(node):
            self._supervisor.forget(node)
            await self._monitor.forget(node)
            await self.connections.forget(node)
            files = self.files(node)
            running = process.find(files)
            if running is not None:
                await process.stop(running)
            shutil.rmtree(files.root, ignore_errors=True)
            self._units.pop(node, None)
            self._processes.pop(node, None)

    def is_alive(self, node: str) -> bool:
        """Whether a node's agent has a living process."""
        known = self._processes.get(node)
        return (known is not None and alive(known)) or process.find(self.files(node)) is not None

    async def close(self) -> None:
        """Let go of everything; the agents run on."""
        self._supervisor.close()
        self._outside.shutdown()
        await self._monitor.close()
        await self.connections.close()

    def files(self, node: str) -> AgentFiles:
        """Where a node's agent has its files."""
        return AgentFiles.of(self._services.lab.directory, node)

    def state_changed(self, node: str, state: AgentState, reason: str) -> None:
        """See monitor.Listener."""
        connected = state is AgentState.CONNECTED
        self._answers(node, connected, reason)
        unit = self._units.get(node)
        self._services.emit(
            f"{unit.resource.kind if unit else 'agent'}.{'connected' if connected else 'disconnected'}",
            resource=unit.resource if unit else None,
            message=f"{node}: {state}",
            node=node,
            reason=reason,
        )

    def event(self, node: str, name: str, properties: Mapping[str, Json]) -> None:
        """See monitor.Listener."""
        unit = self._units.get(node)
        rest = {key: value for key, value in properties.items() if key not in ("event", "resource", "message", "node")}
        message = properties.get("message")
        self._services.emit(
            name,
            resource=unit.resource if unit else None,
            message=message if isinstance(message, str) else "",
            node=node,
            **rest,
        )

    def _lock(self, node: str) -> asyncio.Lock:
        return self._locks.setdefault(node, asyncio.Lock())

    def _adopt_or_spawn(self, unit: Unit) -> tuple[ProcessId, bool]:
        """The agent's process, and whether it ran already."""
        node = node_of(unit)
        files = self.files(node)
        files.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        files.token()
        running = process.find(files)
        found = running is not None
        if running is None:
            self._write_config(unit, files)
            spawn = partial(
                process.spawn,
                str(unit.spec["module"]),
                files,
                lab=self._services.lab.name,
                node=node,
                cgroup=self._services.cgroup(node),
            )
            if unit.spec.get("outside") is True:
                running = self._outside.submit(spawn, namespace=None).result()
            else:
                running = spawn(namespace=self._services.namespace(node))
        self._processes[node] = running
        return running, found

    def _write_config(self, unit: Unit, files: AgentFiles) -> None:
        spec = unit.spec
        node, address = node_of(unit), str(spec["address"])
        identity = self.connections.authority.issue(files.root, node, address, client=spec.get("calls") is True)
        config = AgentConfig.model_validate(
            {
                "lab": self._services.lab.name,
                "node": node,
                "address": address,
                "port": spec["port"],
                "certificate": identity.certificate,
                "key": identity.key,
                "authority": identity.authority,
                "directory": files.state,
                "socket": files.socket,
                "namespace": self._services.namespace(node) if spec.get("outside") is True else None,
                "config": spec["config"],
            }
        )
        write_whole(files.config, config.model_dump_json(indent=1).encode())

    async def _look_after(self, unit: Unit, running: ProcessId) -> AgentLink:
        node = node_of(unit)
        self._units[node] = unit
        self._supervisor.watch(node, running)
        port = unit.spec["port"]
        assert isinstance(port, int)
        return await self.connections.open(node, str(unit.spec["address"]), port)

    def _follow(self, node: str) -> None:
        self._monitor.follow(node, lambda: self.connections.get(node))

    async def _first_answer(self, node: str, running: ProcessId, link: AgentLink) -> None:
        """Wait until the agent answers; its death ends the waiting at once."""
        death = asyncio.ensure_future(ended(running))
        loop = asyncio.get_running_loop()
        deadline, pause = loop.time() + START_DEADLINE, FIRST_ATTEMPT
        try:
            while loop.time() < deadline:
                try:
                    await link.call("GET", "/v1/heartbeat", timeout=max(1.0, deadline - loop.time()))
                except AgentUnreachableError as error:
                    reason = error.message
                else:
                    return
                await asyncio.wait({death}, timeout=pause)
                pause = min(LONGEST_ATTEMPT, pause * 1.5)
                if death.done():
                    self._supervisor.forget(node)
                    raise LabError(f"the agent of {node} ended at once{self._log_end(node)}", hint="its log says why")
            raise TimedOutError(
                f"the agent of {node} did not answer within {START_DEADLINE:.0f} s: {reason}{self._log_end(node)}",
                hint=f"`labctl logs {node}` shows its log",
            )
        finally:
            death.cancel()

    def _log_end(self, node: str) -> str:
        try:
            lines = self.files(node).log.read_text("utf-8", "replace").splitlines()[-LOG_LINES:]
        except OSError:
            return ""
        return "".join(f"\n  | {line}" for line in lines)

    def _facts(self, node: str) -> JsonObject:
        running = self._processes[node]
        return {"pid": running.pid, "start_time": running.start_time, "restarts": self._restarts.get(node, 0)}

    def _died(self, node: str, dead: ProcessId) -> None:
        unit = self._units.get(node)
        self._services.emit(
            "agent.died",
            resource=unit.resource if unit else None,
            message=f"the agent of {node} died",
            node=node,
            pid=dead.pid,
        )

    async def _restart(self, node: str) -> ProcessId:
        """The supervisor's way to start an agent again."""
        async with self._lock(node):
            unit = self._units[node]
            running, found = self._adopt_or_spawn(unit)
            if not found:
                self._restarts[node] = self._restarts.get(node, 0) + 1
                self._record({unit.id: self._facts(node)})
                self._services.emit(
                    "agent.restarted",
                    resource=unit.resource,
                    message=f"the agent of {node} runs again",
                    node=node,
                    pid=running.pid,
                )
            return running


def node_of(unit: Unit) -> str:
    """The node that an agent's unit names."""
    return str(unit.spec["node"])
