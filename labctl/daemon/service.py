"""The lab behind labd's HTTP interface (labctl.daemon.backend.Backend): calls the runtime, answers in JSON."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from labctl.contracts.network import LABD_NODE
from labctl.daemon.cgroups import NodeCgroups
from labctl.daemon.operations import Report
from labctl.errors import NotRunningError
from labctl.linux.processes import ProcessId
from labctl.model.address import Address
from labctl.model.inventory import ManagedObject
from labctl.model.json import Json, JsonObject
from labctl.model.state import ResourceState
from labctl.model.suggest import did_you_mean
from labctl.runtime.agents.agents import Agents
from labctl.runtime.executor import Progress
from labctl.runtime.lab import Lab
from labctl.runtime.metrics import collect
from labctl.runtime.paths import LabPaths
from labctl.runtime.report import plan_to_json
from labctl.runtime.view import AGENT_TYPE, CONNECTED

_WHOLE = (str(ResourceState.RUNNING), str(ResourceState.NOT_RESPONDING))
"""What gives way to Connected: an agent that answers is news enough, unless a part is broken."""

_SETTLED = (*_WHOLE, str(ResourceState.BROKEN))
"""What gives way to Not responding: a cut link is why, and becomes the detail."""


class LabService:
    """One lab as JSON.

    Args:
        lab: the lab.
        agents: its agents.
        paths: its places.
        cgroups: its nodes' cgroups.
        holder: the process that holds its user namespace, or None as root.
    """

    def __init__(
        self, lab: Lab, agents: Agents, paths: LabPaths, cgroups: NodeCgroups, holder: ProcessId | None
    ) -> None:
        self._lab = lab
        self._agents = agents
        self._paths = paths
        self._cgroups = cgroups
        self._holder = holder

    def lab(self) -> JsonObject:
        """See Backend."""
        topology = self._lab.topology
        return {
            "name": self._lab.info.name,
            "directory": str(self._paths.directory),
            "rootless": self._lab.info.rootless,
            "topology": topology.file if topology else None,
        }

    async def up(self, topology: str, path: str, *, restart: bool, report: Report) -> JsonObject:
        """See Backend."""
        wanted = self._lab.load(topology, path)
        result = await self._lab.up(wanted, restart=restart, watcher=_watcher(report))
        self._cgroups.keep_only(
            {unit.partition(":")[2] for unit in self._lab.journal.units if unit.startswith("netns:")}
        )
        result.raise_failures()
        return {**result.to_json(), "warnings": [str(problem.message) for problem in wanted.warnings]}

    async def plan(self, topology: str, path: str, *, restart: bool) -> JsonObject:
        """See Backend."""
        return plan_to_json(await self._lab.plan(self._lab.load(topology, path), restart=restart))

    async def down(self, *, purge: bool, report: Report) -> JsonObject:
        """See Backend."""
        result = await self._lab.down(purge=purge, watcher=_watcher(report))
        result.raise_failures()
        return result.to_json()

    async def status(self, *, observe: bool) -> JsonObject:
        """See Backend."""
        if observe and not self._lab.changing:
            await self._lab.observe()
        objects = self._lab.view.inventory.objects()
        return {
            "lab": self.lab(),
            "resources": [self._resource(managed) for managed in objects if managed.type != AGENT_TYPE],
            "agents": [
                {
                    "node": managed.properties["node"],
                    "state": managed.properties["connection"],
                    "detail": managed.properties.get("detail", ""),
                }
                for managed in objects
                if managed.type == AGENT_TYPE
            ],
        }

    async def inspect(self, kind: str, name: str) -> JsonObject:
        """See Backend."""
        address = Address(kind, name)
        managed = self._lab.view.inventory.get(str(address))
        if managed is None:
            self._lab.resource(address)  # says which there are
            raise NotRunningError(f"{address} is not there yet", hint="`labctl up` makes it")
        units: list[Json] = [
            {
                "id": record.unit.id,
                "state": str(record.state),
                "spec": record.unit.spec,
                "needs": record.unit.needs,
                "facts": record.facts,
            }
            for record in self._lab.units(address)
        ]
        return {**self._resource(managed), "units": units}

    async def action(self, kind: str, name: str, action: str, arguments: JsonObject) -> Json:
        """See Backend."""
        return await self._lab.act(Address(kind, name), action, arguments)

    def inventory(self, since: int | None) -> JsonObject:
        """See Backend."""
        return self._lab.view.inventory.changes_since(since).to_json()

    async def metrics(self) -> JsonObject:
        """See Backend."""
        return await collect(self._lab.view.inventory, self._agents.link)

    async def events(self, since: int | None, *, follow: bool) -> AsyncGenerator[Json, None]:
        """See Backend."""
        begin = since if follow or since is not None else 0
        async with contextlib.aclosing(self._lab.events.follow(begin)) as stream:
            last = _sequence(await anext(stream))
            if not follow and last <= (begin or 0):
                return
            async for entry in stream:
                yield entry
                if not follow and _sequence(entry) >= last:
                    return

    def node(self, name: str) -> JsonObject:
        """See Backend."""
        self._known_node(name)
        cgroup = self._cgroups(name)
        return {
            "node": name,
            "network": str(self._lab.services.namespace(name)),
            "cgroup": str(cgroup) if cgroup else None,
            "holder": vars(self._holder) if self._holder else None,
        }

    def log_file(self, node: str) -> Path:
        """See Backend."""
        if node == LABD_NODE:
            return self._paths.log
        log = self._agents.files(node).log
        if not log.exists():
            self._known_node(node)
            raise NotRunningError(f"{node} has no agent, and so no log", hint="`labctl logs labd` shows labd's")
        return log

    def _resource(self, managed: ManagedObject) -> dict[str, Json]:
        """A resource; one with an agent of its own (a host, an array) is Connected or Not responding rather than running."""
        found: dict[str, Json] = {"kind": managed.type, **managed.properties}
        agent = self._lab.view.inventory.get(f"agent:{managed.properties.get('agent')}")
        if agent is None or found.get("agent") != found.get("name"):
            return found
        connected = agent.properties["connection"] == CONNECTED
        if found.get("state") in (_WHOLE if connected else _SETTLED):
            found["state"] = agent.properties["connection"]
            found["detail"] = "" if connected else found.get("detail") or agent.properties.get("detail", "")
        return found

    def _known_node(self, name: str) -> None:
        nodes = [unit.partition(":")[2] for unit in self._lab.journal.units if unit.startswith("netns:")]
        if name not in nodes:
            raise NotRunningError(
                f"lab {self._lab.info.name} has no node {name}", hint=did_you_mean(name, nodes, what="the nodes")
            )


def _watcher(report: Report) -> Any:
    def watch(progress: Progress) -> None:
        report(progress.to_json())

    return watch


def _sequence(entry: Json) -> int:
    number = entry.get("sequence") if isinstance(entry, dict) else None
    return number if isinstance(number, int) else 0
