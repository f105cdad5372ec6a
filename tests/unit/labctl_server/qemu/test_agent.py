"""The client copes with what a virtio port can hold."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from labctl.errors import TimedOutError
from labctl_server.qemu.agent import AgentError, AgentGoneError, GuestAgent

Answer = Callable[[dict[str, Any]], bytes]


@asynccontextmanager
async def port(folder: Path, answer: Answer, greeting: bytes = b"") -> AsyncIterator[GuestAgent]:
    """An agent at the other end of a port in which `greeting` was left over."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        while line := await reader.readline():
            request = json.loads(line.lstrip(b"\xff"))
            if request["execute"] == "guest-sync-delimited":
                writer.write(b"\xff" + json.dumps({"return": request["arguments"]["id"]}).encode() + b"\n")
            else:
                writer.write(answer(request))
        writer.close()

    path = folder / "agent.sock"
    server = await asyncio.start_unix_server(serve, path)
    agent = GuestAgent(path, "web1")
    try:
        yield agent
    finally:
        await agent.close()
        server.close()
        await server.wait_closed()


def says(value: Any) -> Answer:
    return lambda request: json.dumps({"return": value}).encode() + b"\n"


@pytest.mark.parametrize(
    "stale",
    [
        b'{"return": "of an earlier call"}\n',
        b'{"ret',
        b'\xff{"return": 999999}\n',
        b"\xff\xff\n",
        b"\xffnonsense\n",
        b"\xff[]\n",
    ],
)
async def test_what_was_left_in_the_port_is_no_answer(tmp_path: Path, stale: bytes) -> None:
    async with port(tmp_path, says({"host-name": "web1"}), stale) as agent:
        assert await agent.host_name(timeout=5) == "web1"


async def test_a_late_answer_never_goes_to_the_next_question(tmp_path: Path) -> None:
    silent = True

    def answer(request: dict[str, Any]) -> bytes:
        return b"" if silent else says({"host-name": "right"})(request)

    async with port(tmp_path, answer) as agent:
        with pytest.raises(TimedOutError, match="web1 did not answer guest-ping"):
            await agent.ping(timeout=0.1)
        silent = False
        assert await agent.host_name() == "right"


async def test_the_agents_refusal_is_passed_on(tmp_path: Path) -> None:
    async with port(tmp_path, lambda _: b'{"error": {"class": "GenericError", "desc": "no such file"}}\n') as agent:
        with pytest.raises(AgentError, match="no such file"):
            await agent.exec(["nosuch"])


async def test_nonsense_is_an_error_and_not_a_crash(tmp_path: Path) -> None:
    async with port(tmp_path, lambda _: b"nonsense\n") as agent:
        with pytest.raises(AgentError, match="what is no answer"):
            await agent.ping()


async def test_no_socket_means_the_vm_does_not_run(tmp_path: Path) -> None:
    with pytest.raises(AgentGoneError, match="web1 is not running"):
        await GuestAgent(tmp_path / "nosuch", "web1").ping()
