"""vMotion as an action on a VM: the checks before it, and the calls to its host that begin, show and cancel it.

The hosts do the work between them (labctl_server.hostd.migration), so that it goes on without labd. That a VM has moved is
learnt by looking (VmHandler.observe), whoever moved it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast
from uuid import uuid4

from labctl.agent.client import AgentUnreachableError
from labctl.errors import ConflictError, LabError, NotRunningError, UsageError
from labctl.model.address import Address
from labctl.model.json import Json, JsonObject
from labctl.model.quantity import format_bytes
from labctl.model.resource import Resource, Spec
from labctl.model.suggest import did_you_mean
from labctl.model.unit import RecordedUnit, UnitState
from labctl.plugin.api import Action, ActionContext, AgentCalls
from labctl_server.kinds.actions import host_of
from labctl_server.kinds.rule_spec import broken

CHECK_DEADLINE = 10.0
"""Seconds for a host to try each array; it gives each three."""

ASK_DEADLINE = 3.0
"""Seconds for a host to tell of a migration, which it does at once; one that is cut off is passed over."""

FOLLOW_INTERVAL = 0.5
"""Seconds between labd's own looks at a migration."""

UPLINK = "vmnic"
VSWITCH = "vSwitch"


_followers: set[asyncio.Task[None]] = set()
"""The event loop itself holds tasks weakly."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that a migration needs.

    Args:
        name: what was looked at.
        ok: whether it is as needed.
        detail: what was found.
    """

    name: str
    ok: bool
    detail: str


def migration_actions() -> Mapping[str, Action]:
    """The actions by name."""
    return {"migrate": migrate, "migration": migration, "cancel-migration": cancel, "check-migration": check}


async def migrate(context: ActionContext, resource: Resource[Any], arguments: JsonObject) -> Json:
    """Begin to migrate. `to`: the host; `bandwidth` (bytes a second), `downtime` (ms) and `encrypted` where wanted. Returns the task.

    Raises:
        ConflictError: a check failed; the message lists all that did.
    """
    plan = _Plan(context, resource, arguments)
    failed = [found for found in await plan.checks() if not found.ok]
    if failed:
        raise ConflictError(
            f"{resource.name} cannot be migrated to {plan.destination}: " + "; ".join(found.detail for found in failed),
            hint=f"see all checks: labctl vm migrate {resource.name} --to {plan.destination} --check",
        )
    limits = {key: arguments[key] for key in ("bandwidth", "downtime", "encrypted") if arguments.get(key) is not None}
    body: JsonObject = {**plan.order(), **limits}
    task = await plan.agent(plan.source).call("POST", f"/v1/vms/{resource.name}/migration", body)
    follower = asyncio.create_task(_follow(context, resource))
    _followers.add(follower)
    follower.add_done_callback(_followers.discard)
    return cast("Json", task)


async def _follow(context: ActionContext, resource: Resource[Any]) -> None:
    """Look at the VM once its migration is over, so that labd knows where it is though nobody asks."""
    state = "running"
    while state == "running":
        await asyncio.sleep(FOLLOW_INTERVAL)
        try:
            state = (await migration(context, resource, {}))["state"]
        except LabError:  # a host was restarted: whoever looks next finds where it is
            return
    for record in context.units(resource.address):
        if record.unit.type == "vm":
            await context.learn(record.unit.id, dict(record.facts))


async def check(context: ActionContext, resource: Resource[Any], arguments: JsonObject) -> Json:
    """Only look whether a migration can begin. `to`: the host. Returns `checks`: name, ok, detail of each."""
    plan = _Plan(context, resource, arguments)
    return {"checks": [dict(vars(found)) for found in await plan.checks()]}


async def migration(context: ActionContext, resource: Resource[Any], _arguments: JsonObject) -> dict[str, Any]:
    """The last migration as a task: the host that the VM left remembers it. No arguments.

    Raises:
        NotRunningError: no host knows of one.
    """
    path = f"/v1/vms/{resource.name}/migration"
    asked = [_ask(context.services.agent(host), path) for host in _hosts(context)]
    known = [task for task in await asyncio.gather(*asked) if task is not None]
    if not known:
        raise NotRunningError(
            f"no host knows of a migration of {resource.name}",
            hint=f"begin one: labctl vm migrate {resource.name} --to HOST",
        )
    return max(known, key=lambda task: task["started"])


async def carry(context: ActionContext, name: str, host: str) -> str:
    """Migrate a VM if every check says so, and wait for the end; why it did not go, or nothing."""
    vm = Resource(address=Address("vm", name), spec=Spec(), table=("vm", name))
    try:
        found = cast("dict[str, Any]", await check(context, vm, {"to": host}))
        failed = [str(each["detail"]) for each in found["checks"] if not each["ok"]]
        if failed:
            return failed[0]
        task = cast("dict[str, Any]", await migrate(context, vm, {"to": host}))
        while task["state"] == "running":
            await asyncio.sleep(FOLLOW_INTERVAL)
            task = await migration(context, vm, {})
    except LabError as error:  # also a host that was slow to answer
        return error.message
    return "" if task["state"] == "completed" else str(task["message"])


async def cancel(context: ActionContext, resource: Resource[Any], _arguments: JsonObject) -> Json:
    """Cancel the migration that is under way; returns the task. No arguments."""
    agent = context.services.agent(host_of(context, resource))
    return await agent.call("DELETE", f"/v1/vms/{resource.name}/migration")


async def _ask(agent: AgentCalls, path: str) -> dict[str, Any] | None:
    try:
        return cast("dict[str, Any]", await agent.call("GET", path, timeout=ASK_DEADLINE))
    except (AgentUnreachableError, NotRunningError):
        return None


def _hosts(context: ActionContext) -> Mapping[str, JsonObject]:
    """The hosts' agents by host."""
    return {
        str(record.unit.spec["node"]): record.unit.spec
        for record in context.units_of_type("agent")
        if record.unit.resource.kind == "host"
    }


class _Plan:
    """A migration that is to be."""

    def __init__(self, context: ActionContext, resource: Resource[Any], arguments: JsonObject) -> None:
        self._context = context
        self._vm = resource
        self._record = _vm_record(context, resource)
        self._machine = cast("dict[str, Any]", self._record.unit.spec["machine"])
        self._hosts = _hosts(context)
        self.source = str(self._record.unit.spec["host"])
        self.destination = self._destination(arguments)

    def agent(self, host: str) -> Any:
        return self._context.services.agent(host)

    def order(self) -> JsonObject:
        """What the source's agent is told (labctl_server.hostd.store.Order)."""
        there = self._hosts[self.destination]
        vswitches = self._vswitches(self.destination)
        nics = [{**nic, "vswitch": vswitches[nic["network"]]} for nic in self._machine["nics"]]
        return {
            "id": uuid4().hex[:12],
            "host": self.destination,
            "address": there["address"],
            "port": there["port"],
            "listen": self._listen(),
            "machine": {**self._machine, "nics": nics},
        }

    async def checks(self) -> Sequence[Check]:
        """Every check, whether or not another failed."""
        return [
            await self._check_running(),
            self._check_place(),
            *self._check_rules(),
            self._check_memory(),
            self._check_networks(),
            *await self._check_reach(),
        ]

    async def _check_running(self) -> Check:
        try:
            state = await self.agent(self.source).call("GET", f"/v1/vms/{self._vm.name}")
        except AgentUnreachableError:
            return Check(name="VM", ok=False, detail=f"host {self.source} does not respond")
        except LabError as error:
            return Check(name="VM", ok=False, detail=error.message)
        name = self._vm.name
        if state["state"] != "running":
            return Check(name="VM", ok=False, detail=f"{name} is powered off, and only a running VM is live-migrated")
        if state.get("migrating_to"):
            return Check(name="VM", ok=False, detail=f"{name} is being migrated to {state['migrating_to']} already")
        if state["pending"]:
            return Check(name="VM", ok=False, detail=f"{name} waits for a power-cycle that changes its hardware")
        return Check(name="VM", ok=True, detail=f"{name} runs on {self.source}")

    def _check_place(self) -> Check:
        allowed = self._context.description(self._vm.address).properties.get("hosts")
        hosts = allowed if isinstance(allowed, list) else []
        if self.destination == self.source:
            return Check(name="cluster", ok=False, detail=f"it runs on {self.destination} already")
        if self.destination in hosts:
            return Check(name="cluster", ok=True, detail=f"{self.destination} is one of its hosts")
        if len(hosts) == 1:
            return Check(name="cluster", ok=False, detail=f"the topology binds it to host {hosts[0]}")
        return Check(name="cluster", ok=False, detail=f"{self.destination} is not in its cluster")

    def _check_rules(self) -> Sequence[Check]:
        told = self._context.description(self._vm.address).properties.get("rules")
        rules = cast("list[dict[str, Any]]", told) if isinstance(told, list) else []
        places = {
            record.unit.resource.name: str(record.unit.spec["host"]) for record in self._context.units_of_type("vm")
        }
        found = []
        for rule in rules:
            why = broken(rule, self._vm.name, self.destination, places)
            words = why or f'rule "{rule["name"]}" is kept'
            detail = f"{words}, and is a wish only" if why and rule["should"] else words
            found.append(Check(name="affinity", ok=why is None or bool(rule["should"]), detail=detail))
        return found

    def _check_memory(self) -> Check:
        described: Mapping[str, Any] = self._context.description(Address("host", self.destination)).properties
        size = int(described.get("memory", 0))
        taken = sum(
            int(cast("dict[str, Any]", record.unit.spec["machine"])["memory"])
            for record in self._context.units_of_type("vm")
            if record.unit.spec["host"] == self.destination and record.unit.id != self._record.unit.id
        )
        needed = int(self._machine["memory"])
        free = format_bytes(max(size - taken, 0))
        if needed > size - taken:
            detail = f"{self.destination} has {free} of memory free, and it needs {format_bytes(needed)}"
            return Check(name="memory", ok=False, detail=detail)
        return Check(name="memory", ok=True, detail=f"{self.destination} has {free} free")

    def _check_networks(self) -> Check:
        there = self._vswitches(self.destination)
        missing = [nic["network"] for nic in self._machine["nics"] if nic["network"] not in there]
        if missing:
            detail = f"{self.destination} has no uplink to network {', '.join(missing)}"
            return Check(name="network", ok=False, detail=detail)
        return Check(name="network", ok=True, detail=f"{self.destination} has its networks")

    async def _check_reach(self) -> Sequence[Check]:
        """What only the destination can tell: that it is there, and what it reaches."""
        try:
            there = await self._reach(self.destination, self._machine)
        except AgentUnreachableError:
            return [Check(name="host", ok=False, detail=f"host {self.destination} does not respond")]
        maintained = there.get("maintenance", "off") != "off"
        words = "is in, or entering, maintenance mode" if maintained else "responds"
        found = [Check(name="host", ok=not maintained, detail=f"{self.destination} {words}")]
        with suppress(AgentUnreachableError):  # the check of the VM says so
            here = await self._reach(self.source, {**self._machine, "disks": []})
            words = f"{self.source} runs guests by {here['accelerator']}, {self.destination} by {there['accelerator']}"
            found.append(Check(name="processor", ok=there["accelerator"] == here["accelerator"], detail=words))
        found += [
            Check(name="datastore", ok=False, detail=f"from {self.destination}, {why}") for why in there["missing"]
        ]
        if not there["missing"]:
            found.append(Check(name="datastore", ok=True, detail=f"{self.destination} reaches its disks"))
        return found

    async def _reach(self, host: str, machine: JsonObject) -> dict[str, Any]:
        answer = await self.agent(host).call("POST", "/v1/reach", {"machine": machine}, timeout=CHECK_DEADLINE)
        return cast("dict[str, Any]", answer)

    def _destination(self, arguments: JsonObject) -> str:
        wanted = arguments.get("to")
        if not isinstance(wanted, str) or not wanted:
            raise UsageError("migrate needs a host", hint=f"for example: labctl vm migrate {self._vm.name} --to esx2")
        if wanted not in self._hosts:
            hint = did_you_mean(wanted, list(self._hosts), what="the hosts")
            raise NotRunningError(f'there is no host named "{wanted}"', hint=hint)
        return wanted

    def _vswitches(self, host: str) -> Mapping[str, str]:
        """Each network that a host has an uplink to, with the vSwitch that leads there."""
        links = self._context.description(Address("host", host)).links
        return {
            address.name: f"{VSWITCH}{port.removeprefix(UPLINK)}"
            for address, port in links.items()
            if port.startswith(UPLINK)
        }

    def _listen(self) -> str:
        """Where the destination listens for the stream: on the network for vMotion where both hosts name the same."""
        here, there = (self._context.description(Address("host", host)) for host in (self.source, self.destination))
        network = there.properties.get("vmotion")
        if isinstance(network, str) and network == here.properties.get("vmotion") and network in there.addresses:
            return there.addresses[network]
        return str(self._hosts[self.destination]["address"])


def _vm_record(context: ActionContext, resource: Resource[Any]) -> RecordedUnit:
    for record in context.units(resource.address):
        if record.unit.type == "vm" and record.state is UnitState.CREATED:
            return record
    raise NotRunningError(f"{resource.name} is not there yet", hint="bring it up: labctl up")
