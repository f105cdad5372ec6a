"""A running lab: brings it to what a topology says, removes it, looks at it, acts on it.

Rules:
- One change at a time; a second one waits.
- What the lab shall be is recorded before anything is done for it, so that after a crash the next `up` or `down` knows.
- `down` needs no topology: it removes what the journal lists.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from labctl.agent.client import AgentUnreachableError
from labctl.errors import LabError, NotRunningError
from labctl.model.address import Address
from labctl.model.graph import closure
from labctl.model.json import Json, JsonObject
from labctl.model.resource import Resource
from labctl.model.suggest import did_you_mean
from labctl.model.unit import Change, Health, Hold, Observation, RecordedUnit, Unit, UnitState
from labctl.plan.diff import make_plan, plan_removal
from labctl.plan.plan import Plan
from labctl.plugin.api import Description, Machine, Removal, UnitHandler
from labctl.plugin.loader import Plugins
from labctl.runtime.events import LabEvents
from labctl.runtime.executor import Executor, Outcome, Progress, Watcher
from labctl.runtime.journal import Journal, RecordedTopology
from labctl.runtime.metrics import collect
from labctl.runtime.report import Report
from labctl.runtime.services import LabServices
from labctl.runtime.view import LabView
from labctl.topology.compile import Compiled, compile_topology
from labctl.topology.load import load_text
from labctl.topology.topology import Topology

ROUNDS = 3
"""How often an `up` looks again: after agents are back, what was behind them can be seen; and once more for what that brings."""


class Handlers:
    """All handlers: the plugins' and the runtime's own (agents). Answers what a plan asks (labctl.plan.plan.Rules).

    Args:
        plugins: the plugins.
        own: the runtime's handlers, by type.
    """

    def __init__(self, plugins: Plugins, own: Mapping[str, UnitHandler]) -> None:
        self._plugins = plugins
        self._own = own

    def handler(self, unit_type: str) -> UnitHandler:
        """The handler of a type.

        Raises:
            LabError: nobody handles it.
        """
        return self._own[unit_type] if unit_type in self._own else self._plugins.handler(unit_type)

    def change(self, unit_type: str, old: JsonObject, new: JsonObject) -> Change:
        """See Rules."""
        return self.handler(unit_type).change(old, new)

    def hold(self, unit_type: str) -> Hold:
        """See Rules."""
        known = self._own.get(unit_type) or self._plugins.handlers.get(unit_type)
        return known.hold if known else Hold.REPLACED


class Lab:
    """One lab, open for as long as labd runs.

    Args:
        services: what handlers get; carries the lab's name and places.
        plugins: the plugins.
        journal: the lab's journal.
        events: the lab's events.
        handlers: the runtime's own handlers, by type.
        machine: in place of the machine that this runs on, for tests.
    """

    def __init__(
        self,
        *,
        services: LabServices,
        plugins: Plugins,
        journal: Journal,
        events: LabEvents,
        handlers: Mapping[str, UnitHandler] | None = None,
        machine: Machine | None = None,
    ) -> None:
        self.services = services
        self.info = services.lab
        self.plugins = plugins
        self.journal = journal
        self.events = events
        self.topology: Topology | None = None
        self._units: Sequence[Unit] = ()
        self.descriptions: Mapping[Address, Description] = {}
        self.observations: dict[str, Observation] = {}
        self.view = LabView(journal)
        self._handlers = Handlers(plugins, handlers or {})
        self._machine = machine
        self._change = asyncio.Lock()
        self._look = asyncio.Lock()  # one look at a time: each knows what the last one recorded

    @property
    def changing(self) -> bool:
        """Whether an `up` or a `down` is under way."""
        return self._change.locked()

    def load(self, text: str, path: str) -> Topology:
        """Read a topology for this lab.

        Raises:
            TopologyError: it has errors.
        """
        return load_text(text, path, self.plugins, name=self.info.name, machine=self._machine)

    def restore(self) -> None:
        """After a restart of labd: know again what the lab is, from the journal.

        Raises:
            LabError: the recorded topology can no longer be compiled (a plugin is gone); `down` works all the same.
        """
        recorded = self.journal.topology
        if recorded is not None:
            topology = self.load(recorded.text, recorded.path)
            self._know(topology, compile_topology(topology, self.info, self.journal.choices, self.plugins))
        self._show()

    async def plan(self, topology: Topology, *, restart: bool = False) -> Plan:
        """What `up` would do. Touches nothing.

        Raises:
            LabError: the topology cannot be compiled.
        """
        seen = await self.observe()  # first: it may find that something chosen has changed
        compiled = compile_topology(topology, self.info, self.journal.choices, self.plugins)
        return self._plan(compiled.units, seen, restart=restart)

    async def up(self, topology: Topology, *, restart: bool = False, watcher: Watcher | None = None) -> Report:
        """Bring the lab to what a topology says.

        Args:
            topology: what it shall be.
            restart: whether power-cycles are allowed.
            watcher: told of everything that happens.

        Raises:
            LabError: the topology cannot be compiled. Failures of units are in the report.
        """
        async with self._change:
            start = time.monotonic()
            compiled = compile_topology(topology, self.info, self.journal.choices, self.plugins)
            recorded = RecordedTopology(text=topology.text, path=topology.file, name=topology.name)
            self.journal.set_topology(recorded, compiled.choices)
            self._know(topology, compiled)
            report = Report()
            for _ in range(ROUNDS):
                seen = await self.observe()
                plan = self._plan(self._units, seen, restart=restart)
                outcome = await self._run(plan, watcher)
                report.add(plan, outcome)
                if plan.nothing_to_do or outcome.failed or not plan.unreachable:
                    break
            if not report.nothing_to_do:
                await self.observe()
            report.seconds = time.monotonic() - start
            return report

    async def down(self, *, purge: bool = False, watcher: Watcher | None = None) -> Report:
        """Remove everything that the journal lists, whatever state it is in; with `purge`, persistent data too.

        The lab's folder is left to the caller, who holds it open. Failures are in the report; what failed stays recorded.
        """
        async with self._change:
            start = time.monotonic()
            report = Report()
            removal = Removal(purge=purge)
            plan = plan_removal(self.journal.units)
            outcome = await self._run(plan, watcher, removal)
            report.add(plan, outcome)
            if outcome.failed:
                plan = plan_removal(self.journal.units)
                outcome = await self._run(plan, watcher, removal, insist=True)
                self._let_go_of_the_dead(outcome)
                report.add(plan, outcome)
            if not self.journal.units:
                self.journal.clear()
                self._forget()
                await asyncio.to_thread(_remove_data, self.info.data_directory, purge)
            self._show()
            report.seconds = time.monotonic() - start
            return report

    async def observe(self) -> Mapping[str, Observation]:
        """Look at everything that is recorded as made; whoever cannot be asked does not respond."""
        async with self._look:
            return await self._observe_all()

    async def _observe_all(self) -> Mapping[str, Observation]:
        by_type: dict[str, list[RecordedUnit]] = {}
        for record in self.journal.units.values():
            if record.state is UnitState.CREATED:
                by_type.setdefault(record.unit.type, []).append(record)
        found = await asyncio.gather(*(self._observe(unit_type, records) for unit_type, records in by_type.items()))
        self.observations = {unit_id: seen for observations in found for unit_id, seen in observations.items()}
        await self._settle()
        self._show()
        return self.observations

    def description(self, address: Address) -> Description:
        """A resource's description; see ActionContext."""
        return self.descriptions.get(address, Description())

    def units(self, address: Address) -> Sequence[RecordedUnit]:
        """The recorded units of a resource; see ActionContext."""
        return self.journal.units_of(address)

    def units_of_type(self, unit_type: str) -> Sequence[RecordedUnit]:
        """The recorded units of a type; see ActionContext."""
        return [record for record in self.journal.units.values() if record.unit.type == unit_type]

    async def learn(self, unit_id: str, facts: JsonObject) -> None:
        """Record facts of a unit and look at it again; see ActionContext."""
        self.journal.learnt({unit_id: facts})
        if (record := self.journal.units.get(unit_id)) is not None:
            await self._observe_again([record])

    async def metrics(self) -> JsonObject:
        """The lab's metrics; see ActionContext."""
        if not self.changing:
            await self.observe()
        return await collect(self.view.inventory, self.services.agent)

    def resource(self, address: Address) -> Resource[Any]:
        """A resource of the lab.

        Raises:
            NotRunningError: there is none of that name; suggests the nearest.
        """
        declared: Mapping[Address, Resource[Any]] = self.topology.declared if self.topology else {}
        if address in declared:
            return declared[address]
        names = [known.name for known in declared if known.kind == address.kind]
        hint = did_you_mean(address.name, names, what=f"the {address.kind}s")
        raise NotRunningError(f'lab {self.info.name} has no {address.kind} named "{address.name}"', hint=hint)

    async def act(self, address: Address, action: str, arguments: JsonObject) -> Json:
        """Do an action of a resource's kind (`stop`); then look at the resource again.

        Raises:
            LabError: there is no such resource or action, or it failed.
        """
        resource = self.resource(address)
        actions = self.plugins.kinds[address.kind].actions()
        if action not in actions:
            hint = did_you_mean(action, actions, what="the actions")
            raise LabError(f'a {address.kind} has no action "{action}"', hint=hint)
        try:
            return await actions[action](self, resource, arguments)
        finally:
            await self._observe_again(self.units(address))

    def agent_answers(self, node: str, connected: bool, detail: str = "") -> None:
        """Take note of whether a node's agent answers; called by whoever watches the agents."""
        if self.view.agent_answers(node, connected, detail):
            state = "connected" if connected else "lost"
            self.events.publish(
                f"agent.{state}", message=f"{node} is {'connected' if connected else 'not responding'}", node=node
            )

    def _plan(self, units: Sequence[Unit], seen: Mapping[str, Observation], *, restart: bool) -> Plan:
        return make_plan(units, self.journal.units, seen, self._handlers, restart=restart)

    async def _run(
        self, plan: Plan, watcher: Watcher | None, removal: Removal | None = None, *, insist: bool = False
    ) -> Outcome:
        started: dict[str, Progress] = {}

        def tell(progress: Progress) -> None:
            started[progress.unit] = progress
            self._show_one(progress.resource)
            if watcher is not None:
                watcher(progress)

        def told(unit_id: str, message: str) -> None:
            known = started.get(unit_id)
            if watcher is not None and known is not None:
                watcher(Progress(phase="at", verb=known.verb, unit=unit_id, resource=known.resource, message=message))

        self.services.told = told
        try:
            return await Executor(self._handlers.handler, self.services, self.journal, tell).run(
                plan, removal, insist=insist
            )
        finally:
            self.services.told = None

    def _let_go_of_the_dead(self, outcome: Outcome) -> None:
        """What lived inside a namespace that is gone, and whose agent can no longer be asked, went with it."""
        holders = {
            operation.unit.id
            for operation in outcome.done.values()
            if self._handlers.hold(operation.unit.type) is Hold.MISSING
        }
        needs = {operation.unit.id: operation.unit.needs for operation in outcome.done.values()}
        needs |= {operation.unit.id: operation.unit.needs for operation, _ in outcome.failed.values()}
        for key, (operation, error) in list(outcome.failed.items()):
            if isinstance(error, AgentUnreachableError) and closure([operation.unit.id], needs) & holders:
                self.journal.gone([operation.unit.id], "lost with its node")
                outcome.done[key] = operation
                del outcome.failed[key]

    async def _observe(self, unit_type: str, records: Sequence[RecordedUnit]) -> Mapping[str, Observation]:
        """Look at units; at those that became something else meanwhile once more, since the answer was about what they were."""
        try:
            seen = await self._handlers.handler(unit_type).observe(self.services, records)
        except Exception as error:
            lost = Observation(health=Health.UNREACHABLE, detail=str(error))
            seen = {record.unit.id: lost for record in records}
        now = ((record, self.journal.units.get(record.unit.id)) for record in records)
        others = [
            current
            for record, current in now
            if current is not None and current.unit is not record.unit and current.unit.spec != record.unit.spec
        ]
        return {**seen, **await self._observe(unit_type, others)} if others else seen

    async def _observe_again(self, records: Sequence[RecordedUnit]) -> None:
        async with self._look:
            units = self.journal.units
            current = [units[record.unit.id] for record in records if record.unit.id in units]
            for unit_type in {record.unit.type for record in current}:
                own = [record for record in current if record.unit.type == unit_type]
                self.observations |= await self._observe(unit_type, own)
            await self._settle()
        for address in {record.unit.resource for record in records}:
            self._show_one(address)

    async def _settle(self) -> None:
        """Record what units became by their agents' own doing, and the choices that go with it; then look at them again.

        The choices come first: a crash in between leaves units that are found as changed once more.
        """
        became = {
            unit_id: (record, seen)
            for unit_id, seen in self.observations.items()
            if seen.became is not None
            and (record := self.journal.units.get(unit_id)) is not None
            and record.state is UnitState.CREATED  # a step of ours that was begun is finished first
            and record.unit.spec != seen.became  # told already: the units that are looked at again may be others
        }
        recorded = self.journal.topology
        if not became or recorded is None:
            return
        chosen = {key: value for _, seen in became.values() for key, value in seen.chosen.items()}
        self.journal.set_topology(recorded, {**self.journal.choices, **chosen})
        if self.topology is not None:
            with contextlib.suppress(LabError):  # it no longer fits the topology: the next `up` says so
                self._know(
                    self.topology, compile_topology(self.topology, self.info, self.journal.choices, self.plugins)
                )
        wanted = {unit.id: unit for unit in self._units}
        for unit_id, (old, seen) in became.items():
            unit = replace(old.unit, spec=seen.became or {})
            if unit_id in wanted and wanted[unit_id].spec == unit.spec:
                unit = wanted[unit_id]  # with what it needs now
            self.journal.reown([unit])
            handler = self._handlers.handler(unit.type)
            await handler.settled(self.services, old, unit)
            self.observations |= await self._observe(unit.type, [self.journal.units[unit_id]])

    def _know(self, topology: Topology, compiled: Compiled) -> None:
        self.topology = topology
        self.descriptions = compiled.descriptions
        self._units = compiled.units

    def _forget(self) -> None:
        self.topology = None
        self._units = ()
        self.descriptions = {}
        self.observations = {}

    def _show(self) -> None:
        self.view.show_all(self.descriptions, self.observations)

    def _show_one(self, address: Address) -> None:
        self.view.show(address, self.descriptions.get(address), self.observations)


def _remove_data(folder: Path, purge: bool) -> None:
    """Leave nothing but persistent data, and not even that to a purge."""
    if purge:
        shutil.rmtree(folder, ignore_errors=True)
    for empty in (folder, folder.parent):
        with contextlib.suppress(OSError):  # a disk that persists, or another lab's
            empty.rmdir()
