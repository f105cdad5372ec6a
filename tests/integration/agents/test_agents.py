"""Agents in real namespaces: started once, found again, restarted when they die, told of when they are cut off."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from labctl.agent.client import AgentClient
from labctl.contracts.agent import agent_unit
from labctl.errors import LabError
from labctl.linux import links, namespaces, syscalls
from labctl.linux.links import End, Veth
from labctl.linux.sockets import SocketPool
from labctl.model.address import Address
from labctl.model.json import Json
from labctl.model.unit import Change, Health, RecordedUnit, Unit, UnitState
from labctl.plugin.api import Removal, Services, UnitErrors
from labctl.runtime.agents.agents import Agents
from labctl.runtime.agents.handler import AgentHandler
from labctl.runtime.agents.monitor import AgentState
from labctl.runtime.journal import Journal
from labctl.testing.lab import services_in
from labctl.testing.waiting import wait_until

pytestmark = pytest.mark.needs("root")

MODULE = "labctl_test_agent"


class Bench:
    """A labd's worth of agents, over a node `labd` and a node `esx1` that a cable joins."""

    def __init__(self, home: Path, unique: str) -> None:
        self._stack = ExitStack()
        self.journal = self._stack.enter_context(Journal(_made(home / "labs" / unique) / "journal.db"))
        self.services = services_in(home, self.journal, name=unique)
        self.events: list[tuple[str, dict[str, Json]]] = []
        self.services.emit = self._emit  # type: ignore[method-assign]
        self.recorded: list[Any] = []
        self.answers: list[tuple[str, bool]] = []
        self.labd, self.esx1 = (self.services.namespace(node) for node in ("labd", "esx1"))
        assert namespaces.create_many([self.labd, self.esx1]) == {}
        self.cable(present=True)
        self.agents = self.another()

    def another(self) -> Agents:
        """A further labd's agents."""
        services: Services = self.services
        return Agents(
            services,
            record=self.recorded.append,
            answers=lambda node, connected, _detail: self.answers.append((node, connected)),
        )

    def cable(self, *, present: bool) -> None:
        with SocketPool() as pool:
            if present:
                near = End(namespace=self.labd, name="vmk0", addresses=("10.30.0.2/24",))
                far = End(namespace=self.esx1, name="vmk0", addresses=("10.30.0.11/24",))
                assert links.ensure_veths(pool, [Veth(local=near, peer=far)]) == {}
            else:
                links.set_up(pool, self.labd, "vmk0", up=False)

    def plug_in(self) -> None:
        with SocketPool() as pool:
            links.set_up(pool, self.labd, "vmk0", up=True)

    def close(self) -> None:
        namespaces.delete_many([self.labd, self.esx1])
        self._stack.close()

    def names(self) -> list[str]:
        return [name for name, _ in self.events]

    def _emit(self, event: str, *, resource: Address | None = None, message: str = "", **properties: Json) -> None:
        self.events.append((event, properties))


def unit(**config: Json) -> Unit:
    return agent_unit("esx1", module=MODULE, address="10.30.0.11", owner=Address("host", "esx1"), config=config)


def recorded(made: Unit) -> RecordedUnit:
    return RecordedUnit(unit=made, state=UnitState.CREATED)


@pytest.fixture
def _own_network() -> Iterator[None]:
    """Agents move the calling thread into labd's namespace; the test runner comes back."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    yield
    syscalls.setns(home, syscalls.CLONE_NEWNET)
    os.close(home)


@pytest.fixture
async def bench(
    _own_network: None, lab_home: Path, unique: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Bench]:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent / "modules"))
    bench = Bench(lab_home, unique)
    try:
        yield bench
        await bench.agents.remove("esx1")
        await bench.agents.close()
    finally:
        bench.close()


async def test_agent_starts_in_its_node_and_answers(bench: Bench) -> None:
    made = unit(colour="red")
    facts = await AgentHandler(bench.agents).create(bench.services, [made])
    shown = await bench.agents.link("esx1").call("GET", "/v1/config")
    assert isinstance(shown, dict)
    assert (shown["colour"], shown["lab"], shown["pid"]) == ("red", bench.services.lab.name, facts[made.id]["pid"])
    inside = namespace_of(shown["pid"])
    assert inside == bench.esx1.stat().st_ino


async def test_agent_answers_on_its_own_socket_too(bench: Bench) -> None:
    await bench.agents.start(unit())
    client = AgentClient("esx1", socket=bench.agents.files("esx1").socket)
    beat = await client.call("GET", "/v1/heartbeat")
    await client.close()
    assert isinstance(beat, dict)
    assert beat["node"] == "esx1"


async def test_agent_is_never_started_twice(bench: Bench) -> None:
    first = await bench.agents.start(unit())
    again = await bench.agents.start(unit())
    later = bench.another()
    adopted = await later.start(unit())
    await later.close()
    assert first["pid"] == again["pid"] == adopted["pid"]


async def test_later_labd_adopts_what_lives_and_restarts_what_died(bench: Bench) -> None:
    facts = await bench.agents.start(unit())
    await bench.agents.close()
    later = bench.another()
    await later.attach([recorded(unit())])
    await wait_until(lambda: _is(later.states.get("esx1") is AgentState.CONNECTED))
    assert "agent.adopted" in bench.names()
    await later.close()
    os.kill(int(str(facts["pid"])), signal.SIGKILL)
    last = bench.another()
    await last.attach([recorded(unit())])
    await wait_until(lambda: _is(last.states.get("esx1") is AgentState.CONNECTED))
    assert "agent.restarted" in bench.names()
    await last.close()


async def test_dead_agent_is_restarted_at_once_and_recorded(bench: Bench) -> None:
    facts = await bench.agents.start(unit(colour="red"))
    await wait_until(lambda: _is((("esx1", True)) in bench.answers))
    os.kill(int(str(facts["pid"])), signal.SIGKILL)
    await wait_until(lambda: _is("agent.restarted" in bench.names()))
    assert bench.names().index("agent.died") < bench.names().index("agent.restarted")
    (news,) = bench.recorded
    assert news["agent:esx1"]["pid"] != facts["pid"]
    assert news["agent:esx1"]["restarts"] == 1
    await wait_until(lambda: _is(bench.answers[-1] == ("esx1", True) and len(bench.answers) >= 3))
    assert bench.answers[1] == ("esx1", False)
    shown = await bench.agents.link("esx1").call("GET", "/v1/config")
    assert isinstance(shown, dict)
    assert shown["colour"] == "red"


async def test_agent_that_ends_at_once_shows_its_log(bench: Bench) -> None:
    with pytest.raises(UnitErrors) as caught:
        await AgentHandler(bench.agents).create(bench.services, [unit(crash=True)])
    error = caught.value.errors["agent:esx1"]
    assert isinstance(error, LabError)
    assert "ended at once" in error.message
    assert "RuntimeError: told to crash" in error.message


async def test_cut_management_network_shows_within_seconds_and_heals(bench: Bench) -> None:
    await bench.agents.start(unit())
    await wait_until(lambda: _is(bench.answers == [("esx1", True)]))
    bench.cable(present=False)
    await wait_until(lambda: _is(bench.answers[-1] == ("esx1", False)), 8)
    assert "host.disconnected" in bench.names()
    seen = await AgentHandler(bench.agents).observe(bench.services, [recorded(unit())])
    assert seen["agent:esx1"].health is Health.UNREACHABLE
    bench.plug_in()
    await wait_until(lambda: _is(bench.answers[-1] == ("esx1", True)), 15)


async def test_agents_events_reach_the_lab(bench: Bench) -> None:
    await bench.agents.start(unit())
    await wait_until(lambda: _is(bench.answers == [("esx1", True)]))
    await bench.agents.link("esx1").call("POST", "/v1/say", {"vm": "web1"})
    await wait_until(lambda: _is(("vm.started", {"node": "esx1", "vm": "web1"}) in bench.events))


async def test_new_configuration_reaches_the_running_agent(bench: Bench) -> None:
    handler = AgentHandler(bench.agents)
    old, new = unit(colour="red"), unit(colour="blue")
    assert handler.change(old.spec, new.spec) is Change.IN_PLACE
    before = await bench.agents.start(old)
    after = await handler.update(bench.services, recorded(old), new)
    shown = await bench.agents.link("esx1").call("GET", "/v1/config")
    assert isinstance(shown, dict)
    assert (shown["colour"], after["pid"]) == ("blue", before["pid"])


async def test_agent_that_refuses_a_configuration_is_restarted_with_it(bench: Bench) -> None:
    handler = AgentHandler(bench.agents)
    before = await bench.agents.start(unit())
    after = await handler.update(bench.services, recorded(unit()), unit(refuse=True))
    shown = await bench.agents.link("esx1").call("GET", "/v1/config")
    assert isinstance(shown, dict)
    assert shown["refuse"] is True
    assert after["pid"] != before["pid"]
    assert "agent.died" not in bench.names()


async def test_deleted_agent_leaves_nothing(bench: Bench) -> None:
    facts = await bench.agents.start(unit())
    await AgentHandler(bench.agents).delete(bench.services, [recorded(unit())], Removal())
    assert not exists(facts["pid"])
    assert not bench.agents.files("esx1").root.exists()


async def _is(holds: bool) -> bool:
    return holds


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


async def test_nothing_waits_for_a_dead_agent(bench: Bench) -> None:
    facts = await bench.agents.start(unit())
    await bench.agents.close()
    os.kill(int(str(facts["pid"])), signal.SIGKILL)
    async with asyncio.timeout(5):
        await bench.agents.remove("esx1")


def namespace_of(pid: object) -> int:
    return Path(f"/proc/{pid}/ns/net").stat().st_ino


def exists(pid: object) -> bool:
    return Path(f"/proc/{pid}").exists()
