"""An agent answers whoever the lab's authority vouches for, and nobody else."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import stat
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from labctl.agent.application import Publisher
from labctl.agent.client import AgentClient, AgentUnreachableError
from labctl.agent.config import AgentConfig
from labctl.agent.server import serve_agent
from labctl.errors import ConflictError, ExitCode, LabError
from labctl.runtime.agents.authority import Authority, Identity


class Application:
    """Echoes, fails on demand, publishes on demand."""

    def __init__(self, publish: Publisher) -> None:
        self.publish = publish
        self.life: list[str] = []

    def routes(self) -> Sequence[BaseRoute]:
        return [
            Route("/v1/echo", self.echo, methods=["POST"]),
            Route("/v1/conflict", self.conflict),
            Route("/v1/bug", self.bug),
        ]

    async def start(self) -> None:
        self.life.append("start")

    async def stop(self) -> None:
        self.life.append("stop")

    async def echo(self, request: Request) -> Response:
        body = await request.json()
        self.publish("echoed", body=body)
        return JSONResponse(body)

    async def conflict(self, _request: Request) -> Response:
        raise ConflictError("web1 is running", hint="stop it first")

    async def bug(self, _request: Request) -> Response:
        raise ZeroDivisionError("secret detail")


class Running:
    """A served agent and what a test needs to call it."""

    def __init__(self, config: AgentConfig, application: Application, ca: Path) -> None:
        self.config = config
        self.application = application
        self.ca = ca

    def client(self, identity: Identity) -> AgentClient:
        return AgentClient.with_certificate(
            "esx1",
            self.config.address,
            self.config.port,
            certificate=identity.certificate,
            key=identity.key,
            authority=self.ca,
        )


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[Running]:
    authority = Authority(tmp_path / "ca", "lab1")
    identity = authority.issue(tmp_path / "esx1", "esx1", "127.0.0.1", client=False)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = AgentConfig(
        lab="lab1",
        node="esx1",
        address="127.0.0.1",
        port=port,
        certificate=identity.certificate,
        key=identity.key,
        authority=identity.authority,
        directory=tmp_path,
        socket=tmp_path / "agent.sock",
        config={},
    )
    made: list[Application] = []

    def factory(_config: AgentConfig, publish: Publisher) -> Application:
        made.append(Application(publish))
        return made[0]

    stop = asyncio.Event()
    task = asyncio.ensure_future(serve_agent(config, factory, stop=stop))
    while not config.socket.exists():
        await asyncio.wait({task}, timeout=0.01)
        assert not task.done(), task.result()
    yield Running(config, made[0], authority.certificate)
    stop.set()
    await asyncio.wait_for(task, 10)
    assert made[0].life == ["start", "stop"]
    assert not config.socket.exists()


@pytest.fixture
async def client(agent: Running, tmp_path: Path) -> AsyncIterator[AgentClient]:
    labd = Authority(tmp_path / "ca", "lab1").issue(tmp_path / "labd", "labd", None, client=True)
    client = agent.client(labd)
    yield client
    await client.close()


async def test_heartbeat_names_lab_and_node(client: AgentClient) -> None:
    beat = await client.call("GET", "/v1/heartbeat")
    assert isinstance(beat, dict)
    assert (beat["lab"], beat["node"]) == ("lab1", "esx1")


async def test_applications_own_routes_take_and_give_json(client: AgentClient) -> None:
    assert await client.call("POST", "/v1/echo", {"a": [1, None]}) == {"a": [1, None]}


async def test_client_without_certificate_is_refused(agent: Running, tmp_path: Path) -> None:
    import ssl

    context = ssl.create_default_context(cafile=str(agent.ca))
    client = AgentClient("esx1", agent.config.address, agent.config.port, context=context)
    with pytest.raises(AgentUnreachableError):
        await client.call("GET", "/v1/heartbeat", timeout=5)
    await client.close()


async def test_certificate_of_another_lab_is_refused(agent: Running, tmp_path: Path) -> None:
    stranger = Authority(tmp_path / "other-ca", "lab2").issue(tmp_path / "stranger", "labd", None, client=True)
    client = agent.client(stranger)
    with pytest.raises(AgentUnreachableError):
        await client.call("GET", "/v1/heartbeat", timeout=5)
    await client.close()


async def test_certificate_that_may_not_call_is_refused(agent: Running, tmp_path: Path) -> None:
    array = Authority(tmp_path / "ca", "lab1").issue(tmp_path / "san1", "san1", "127.0.0.1", client=False)
    client = agent.client(array)
    with pytest.raises(AgentUnreachableError):
        await client.call("GET", "/v1/heartbeat", timeout=5)
    await client.close()


async def test_server_of_another_lab_is_refused_by_the_client(agent: Running, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other-ca", "lab2")
    identity = other.issue(tmp_path / "stranger", "labd", None, client=True)
    client = AgentClient.with_certificate(
        "esx1",
        "127.0.0.1",
        agent.config.port,
        certificate=identity.certificate,
        key=identity.key,
        authority=other.certificate,
    )
    with pytest.raises(AgentUnreachableError, match="certificate verify failed"):
        await client.call("GET", "/v1/heartbeat", timeout=5)
    await client.close()


async def test_refusal_comes_out_as_the_same_error(client: AgentClient) -> None:
    with pytest.raises(ConflictError, match="web1 is running") as caught:
        await client.call("GET", "/v1/conflict")
    assert caught.value.hint == "stop it first"


async def test_bug_is_told_by_identifier_only(client: AgentClient, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(LabError) as caught:
        await client.call("GET", "/v1/bug")
    assert caught.value.exit_code is ExitCode.BUG
    assert "secret detail" not in caught.value.message
    identifier = caught.value.message.split()[2]
    assert identifier in caplog.text
    assert "secret detail" in caplog.text


async def test_unknown_path_is_an_error_that_names_it(client: AgentClient) -> None:
    with pytest.raises(LabError, match="/v1/nothing"):
        await client.call("GET", "/v1/nothing")


async def test_local_socket_serves_the_same_and_is_private(agent: Running) -> None:
    assert stat.S_IMODE(agent.config.socket.stat().st_mode) == 0o600
    client = AgentClient("esx1", socket=agent.config.socket)
    beat = await client.call("GET", "/v1/heartbeat")
    await client.close()
    assert isinstance(beat, dict)
    assert beat["node"] == "esx1"


async def test_stream_tells_its_run_then_events_and_keeps_alive(agent: Running, client: AgentClient) -> None:
    seen = []
    async with contextlib.aclosing(client.events()) as events:
        first = await anext(events)
        assert first is not None
        assert first["source"] == "esx1"
        agent.application.publish("vm.stopped", vm="web1")
        seen = [await asyncio.wait_for(anext(events), 5) for _ in range(2)]
    assert seen[0] is not None
    assert (seen[0]["event"], seen[0]["properties"]) == ("vm.stopped", {"vm": "web1"})
    assert seen[1] is None, "a quiet stream carries a keep-alive line within a second or so"


async def test_stream_resumes_after_the_last_event_seen(agent: Running, client: AgentClient) -> None:
    async with contextlib.aclosing(client.events()) as events:
        first = await anext(events)
    assert first is not None
    for number in range(3):
        agent.application.publish("tick", number=number)
    async with contextlib.aclosing(client.events(instance=first["instance"], since=first["sequence"] + 1)) as events:
        await anext(events)
        numbers = [json.loads(json.dumps(await anext(events)))["properties"]["number"] for _ in range(2)]
    assert numbers == [1, 2]


async def drain(events: AsyncIterator[object]) -> None:
    async for _ in events:
        pass


async def test_end_of_the_agent_ends_the_stream_as_unreachable(
    agent: Running, client: AgentClient, tmp_path: Path
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = agent.config.model_copy(update={"port": port, "socket": tmp_path / "second.sock"})
    stop = asyncio.Event()
    task = asyncio.ensure_future(serve_agent(config, lambda _c, publish: Application(publish), stop=stop))
    while not config.socket.exists():
        await asyncio.wait({task}, timeout=0.01)
    second = AgentClient("esx1", socket=config.socket)
    async with contextlib.aclosing(second.events()) as events:
        await anext(events)
        stop.set()
        with pytest.raises(AgentUnreachableError, match="ended its event stream"):
            await asyncio.wait_for(drain(events), 5)
    await second.close()
    await asyncio.wait_for(task, 10)
